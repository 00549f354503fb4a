"""The table against other servers: every cell has its source, and every row its test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
SOURCES = dict(re.findall(r"^\[(\w+)\]: (\S+)", PAGE, re.MULTILINE))
COLUMNS = ["Cierzo", "OpenRouter", "vLLM", "llama-server", "Ollama", "test"]
_HEADS = ("|---", "| parameter", "| what", "| refused")
_TABLES = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(_HEADS)
]
REFUSED = [row for row in _TABLES if len(row) == 3]  # what, why, and its test
ROWS = [row for row in _TABLES if row not in REFUSED]


def test_there_are_rows() -> None:
    headers = re.findall(r"^\| (?:parameter|what) \| (.+) \|$", PAGE, re.MULTILINE)
    assert [header.split(" | ") for header in headers] == [COLUMNS] * 3
    assert len(ROWS) > 40
    assert "| refused | because | test |" in PAGE
    assert len(REFUSED) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_cell_has_its_source(row: list[str]) -> None:
    assert len(row) == 1 + len(COLUMNS)
    for letter, cell in zip("RVLO", row[2:6], strict=True):
        cited = re.findall(r"\[([A-Z]\d)\]", cell)
        assert (cell == "not found") != bool(cited), cell
        assert all(name in SOURCES and name.startswith(letter) for name in cited), cell


@pytest.mark.parametrize("row", ROWS + REFUSED, ids=lambda row: row[0])
def test_every_row_has_its_test(row: list[str]) -> None:
    match = re.fullmatch(r"`([\w/]+\.py): (test_\w+)`", row[-1])
    assert match, row[-1]
    source = (ROOT / "tests" / match[1]).read_text(encoding="utf-8")
    assert re.search(rf"^(?:async )?def {match[2]}\(", source, re.MULTILINE), match[2]


def test_every_source_is_used_and_outside() -> None:
    assert set(re.findall(r"\[([A-Z]\d)\](?!:)", PAGE)) == set(SOURCES)
    assert all(url.startswith("https://") for url in SOURCES.values())
