"""`cierzo bench beside`: several servers' runs in one table and one picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import cierzo

PNG = b"\x89PNG"


def write_result(path: Path, scale: float = 1.0, **changed: Any) -> str:
    def row(turn: int) -> dict[str, Any]:
        return {
            "turn": turn,
            "cached_share": 0.5,
            "ttft_s": {"p50": 0.25 * scale * turn},
            "tokens_per_s": {"p50": 100.0 / scale},
            "wall_s": {"p50": 4.0 * scale * turn},
        }

    result = {
        "command": "agent",
        "sessions": 1,
        "options": {"characters": 18_000, "seed": round(scale)},
        "turns": [row(1), row(2)],
        "total": row(3),
    }
    path.write_text(json.dumps(result | changed))
    return str(path)


def test_each_server_is_a_line_and_the_first_is_what_others_are_held_to(tmp_path: Path) -> None:
    ours, theirs = write_result(tmp_path / "a.json"), write_result(tmp_path / "b.json", 2.5)
    done = cierzo("bench", "beside", f"ours={ours}", f"theirs={theirs}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["ours", "50%", "0.750", "100", "12.0", "1.00x"],
        ["theirs", "50%", "1.875", "40", "30.0", "2.50x"],
    ]


def test_they_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ours, theirs = write_result(tmp_path / "a.json"), write_result(tmp_path / "b.json", 2.5)
    done = cierzo(
        "bench", "beside", f"ours={ours}", f"theirs={theirs}", "--png", "out.png", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"options": {"characters": 9}}, "did not do the same"),
        ({"sessions": 4}, "did not do the same"),
        ({"command": "serve"}, "not what `cierzo bench agent --json` writes"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    ours = write_result(tmp_path / "a.json")
    theirs = write_result(tmp_path / "b.json", **changed)
    done = cierzo("bench", "beside", f"ours={ours}", f"theirs={theirs}", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_not_there_and_a_name_that_lacks(tmp_path: Path) -> None:
    gone = cierzo("bench", "beside", f"ours={tmp_path / 'gone.json'}", cwd=tmp_path)
    assert gone.returncode == 2
    assert "No such file" in gone.stderr
    nameless = cierzo("bench", "beside", write_result(tmp_path / "a.json"), cwd=tmp_path)
    assert nameless.returncode == 2
    assert "NAME=FILE" in nameless.stderr
