"""`cierzo config show`."""

from __future__ import annotations

import json
from pathlib import Path

from cierzo.settings import OTHER_VARIABLES, declared
from tests.cli.run import cierzo


def test_every_setting_is_shown_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "cierzo.toml").write_text("[limits]\nchoices = 3\n")
    done = cierzo("config", "show", cwd=tmp_path, CIERZO_PORT="9001")
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line[:1].isalpha()}
    for setting in declared():
        assert setting.allowed in rows[setting.key]
    assert rows["server.port"].split()[1:3] == ["9001", "CIERZO_PORT"]
    assert rows["limits.choices"].split()[1:3] == ["3", str(tmp_path / "cierzo.toml")]
    assert rows["engine.threads"].split()[1:3] == ["0", "default"]
    for name in OTHER_VARIABLES:
        assert name in done.stdout


def test_json_says_the_same(tmp_path: Path) -> None:
    done = cierzo("config", "show", "--json", cwd=tmp_path, CIERZO_GRACE_SECONDS="1.5")
    table = json.loads(done.stdout)
    assert table.keys() == {s.key for s in declared()}
    grace = table["server.grace_seconds"]
    assert (grace["value"], grace["default"], grace["from"]) == (1.5, 30.0, "CIERZO_GRACE_SECONDS")
    assert (grace["low"], grace["high"]) == (0, 3600)


def test_keys_are_never_shown(tmp_path: Path) -> None:
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        done = cierzo(*arguments, cwd=tmp_path, CIERZO_API_KEY="hush-1,hush-2")
        assert "hush" not in done.stdout + done.stderr
        assert "2 set, not shown" in done.stdout


def test_a_wrong_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cierzo.toml").write_text("[engine]\nthread = 2\n")
    done = cierzo("config", "show", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no setting named engine.thread" in done.stderr
    assert done.stderr.count("\n") == 1
