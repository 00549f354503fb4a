"""Writes RESULTS.md from what compare.py, quality.py and startup.py left in the work folder.

python -m benchmarks.report --work-folder build/benchmarks
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Json = Mapping[str, Any]

OURS = "cierzo"


def write_report(folder: Path, target: Path) -> None:
    """Writes `target` from the measurements that `folder` holds; parts not measured are left out.

    What stands there by hand, from `_BY_HAND` on, stays.
    """
    parts = ["# Results", _INTRODUCTION]
    speed = _load(folder / "speed.json")
    quality = _load(folder / "quality.json")
    if speed:
        parts += [_machine(speed["machine"]), "## Speed", _summary(speed)]
        parts += [_row(row, speed["machine"]) for row in speed["rows"].values()]
    if quality:
        parts += ["## Quality", _quality(quality)]
    _, found, by_hand = target.read_text().partition(_BY_HAND) if target.exists() else ("", "", "")
    if found:
        parts.append(found + by_hand.rstrip())
    target.write_text("\n\n".join(parts) + "\n")


_BY_HAND = "## Constrained output"


_INTRODUCTION = """Written by `python -m benchmarks.report` down to "Constrained output"; do not
edit that part. How to measure again stands in [README.md](README.md). Speeds are medians over
rounds in tokens a second, with the lowest and highest; in a round everyone runs once, in turn.
Ratios are medians of the ratio within a round: machines are noisy, so a claim is a ratio, never a
figure."""


def _load(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _machine(machine: Json) -> str:
    rows = [
        [
            str(peak["threads"]),
            f"{peak['plain_gbs']:.1f}",
            f"{peak['prefetched_gbs']:.1f}",
            f"{peak['int8_gops']:,.0f}",
        ]
        for peak in machine["peaks"]
    ]
    text = (
        f"## The machine\n\n{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB; {machine['system']}. "
        f"int8 peak with {machine['peaks'][0]['int8_with']}.\n\n"
    )
    header = ["threads", "read, plain loop, GB/s", "read, prefetched, GB/s", "int8, GOP/s"]
    return text + _table(header, rows)


def _summary(speed: Json) -> str:
    """One line a row: us, the fastest peer, the ratio."""
    rows = []
    for row in speed["rows"].values():
        samples = row["samples"]
        peers = {name: values for name, values in samples.items() if name != OURS}
        best = max(peers, key=lambda name: median(peers[name]), default=None)
        rows.append(
            [
                row["title"],
                _figure(samples[OURS]) if OURS in samples else "not measured",
                f"{_figure(peers[best])} ({best})" if best else "",
                _ratio(samples[OURS], peers[best]) if best and OURS in samples else "",
            ]
        )
    return _table(["work", OURS, "fastest peer", "ratio"], rows)


def _row(row: Json, machine: Json) -> str:
    ours = row["samples"].get(OURS)
    lines = []
    for name, values in sorted(row["samples"].items(), key=lambda item: -median(item[1])):
        line = [
            name,
            row["files"][name],
            f"{_figure(values)} ({min(values):.1f} to {max(values):.1f})",
        ]
        line.append(_ratio(ours, values) if ours and name != OURS else "")
        line.append(_share_of_peak(row, values, machine))
        if row["idle"]:
            line.append(
                f"{median(b / i for b, i in zip(values, row['idle'][name], strict=True)):.0%}"
            )
        lines.append(line)
    bound = "of int8 peak" if row["part"] == "prefill" else "of read bandwidth"
    header = ["", "file", "tokens/s (lowest to highest)", "cierzo is", bound]
    if row["idle"]:
        header.append("of its idle speed")
    about = f"{row['date']}, rounds: {_rounds(row)}, {row['busy_cores']:.1f} cores busy otherwise."
    if row["busy_cores"] > 0.3:
        about += " **Other work was running: these figures and ratios claim nothing.**"
    parts = [f"### {row['title']}", about, _table(header, lines)]
    parts += [f"- {name} did not run: {reason}" for name, reason in row["failures"].items()]
    extra = row["extra"].get(OURS)
    if extra:
        shown = ", ".join(f"{key} {value:,.1f}" for key, value in sorted(extra.items()))
        parts.append(f"cierzo also printed: {shown}.")
    commands = "\n".join(row["commands"].values())
    parts.append(f"<details><summary>commands</summary>\n\n```\n{commands}\n```\n\n</details>")
    return "\n\n".join(parts)


def _rounds(row: Json) -> int:
    return max((len(values) for values in row["samples"].values()), default=0)


def _figure(values: Sequence[float]) -> str:
    middle = median(values)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.1f}"


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    ratios = [a / b for a, b in zip(ours, theirs, strict=False) if b]
    if not ratios:
        return ""
    return f"{median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


def _share_of_peak(row: Json, values: Sequence[float], machine: Json) -> str:
    """The share of the machine's bound.

    For decoding that is memory's; small weights stay in the cache and may exceed it.
    """
    peak = machine["peaks"][-1]
    if row["key"].startswith("best"):
        return ""  # each runs another file, with other bytes
    if row["part"] == "prefill":
        bound, done = peak["int8_gops"] * 1e9, row["prefill_ops"] * median(values)
    else:
        bound = max(peak["plain_gbs"], peak["prefetched_gbs"]) * 1e9
        done = row["decode_bytes"] * median(values)
    return f"{done / bound:.0%}" if bound else ""


def _quality(quality: Json) -> str:
    """The table of divergences from the float32 reference."""
    lines = [
        [
            name,
            f"{one['mean_kl']:.5f}",
            f"{one['median_kl']:.5f}",
            f"{one['p99_kl']:.4f}",
            f"{one['top1_equal']:.2%}",
            f"{one['perplexity']:.4f}",
            f"{one['perplexity'] / quality['reference_perplexity'] - 1:+.2%}",
        ]
        for name, one in quality["engines"].items()
    ]
    about = (
        f"{quality['date']}. {quality['file']} against transformers in float32 on the same file's "
        f"dequantised weights: {quality['tokens']:,} tokens of code and prose from the standard "
        f"library (Python {quality['python']}), "
        f"reference perplexity {quality['reference_perplexity']:.4f}."
    )
    header = [
        "",
        "mean KL",
        "median KL",
        "99% KL",
        "top token equal",
        "perplexity",
        "against float32",
    ]
    return f"{about}\n\n{_table(header, lines)}"


def main() -> None:
    """Writes the report again from measurements already made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work-folder", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    arguments = parser.parse_args()
    write_report(arguments.work_folder, arguments.results)


if __name__ == "__main__":
    main()
