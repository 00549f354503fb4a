"""The command line is a promise: it changes only together with `command_line.txt`.

python -m tests.cli.test_command_line    writes the file anew
"""

from __future__ import annotations

from pathlib import Path

from cierzo.settings import declared
from tests.cli.describe import describe, options
from tests.cli.run import cierzo

FROZEN = Path(__file__).with_name("command_line.txt")


def test_the_command_line_is_as_it_was() -> None:
    assert describe() == FROZEN.read_text()


def test_serve_has_an_option_for_every_setting_but_the_limits() -> None:
    expected = {s.flag for s in declared() if s.section in ("engine", "server")}
    assert expected <= options()["cierzo serve"]


def test_help_names_the_unit_of_a_setting(tmp_path: Path) -> None:
    shown = cierzo("serve", "--help", cwd=tmp_path).stdout
    for option in ("--kv-cache-disk-gb GB", "--kv-cache-memory-mb MB", "--threads N"):
        assert f"  {option} " in shown
    assert "--grace-seconds SECONDS" in shown


def test_version(tmp_path: Path) -> None:
    done = cierzo("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("cierzo 0.")


def test_without_a_command_there_is_help(tmp_path: Path) -> None:
    done = cierzo(cwd=tmp_path)
    for command in ("serve", "chat", "pull", "models", "bench", "config"):
        assert f"\n  {command} " in done.stdout + done.stderr


def test_wrong_options_are_usage_errors(tmp_path: Path) -> None:
    for arguments in (["serve", "--prot", "1"], ["nonesuch"], ["serve", "--port", "x"]):
        done = cierzo(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_errors_are_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "half.gguf"
    broken.write_bytes(b"GGUF\x03\0\0\0")
    for arguments, said in (
        (["pull", "no-such-model"], "no-such-model: neither a known model"),
        (["serve", str(tmp_path / "nothing")], "nothing: no such file or folder"),
        (["bench", "latency", str(broken)], "half.gguf"),
        (["chat", str(broken)], "half.gguf"),
        (["chat", "--url", "ftp://x"], "expected a URL such as"),
        (["chat", "--url", "localhost:1"], "nothing listens there; start `cierzo serve`"),
    ):
        done = cierzo(*arguments, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("cierzo: error: ")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


if __name__ == "__main__":
    FROZEN.write_text(describe())
