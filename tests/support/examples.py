"""Runs the examples of a page of the documentation against a server, in the order they stand in."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from tests.api.live import ROOT

DOCUMENTED = "http://127.0.0.1:8000"  # the server that the documentation speaks of


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of `docs/<page>.md` in a language."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run_python(page: str, url: str) -> dict[str, Any]:
    """Runs all Python of a page as one program, and returns its names."""
    names: dict[str, Any] = {"__name__": "example"}
    source = "\n".join(blocks(page, "python"))
    where = str(Path("docs") / f"{page}.md")
    code = compile(source.replace(DOCUMENTED, url), where, "exec", dont_inherit=True)
    exec(code, names)
    return names


def run_shell(command: str, url: str) -> str:
    """Runs one block as bash and returns what it prints."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace(DOCUMENTED, url)],
        capture_output=True,
        check=True,
        text=True,
        timeout=500,
    )
    return done.stdout
