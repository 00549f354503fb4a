"""Thousands of requests made from the app's own description: answered as it says, or refused so."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.live import Live, start

CASES = 2_000  # at least
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@pytest.fixture(scope="module")
def brief(model: Path) -> Iterator[Live]:
    """Its context is so short that no answer takes long."""
    with start(model, engine__max_model_len=128) as server:
        yield server


@pytest.mark.slow
def test_no_request_finds_a_defect_or_an_undocumented_status(brief: Live, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{brief.url}/openapi.json"),
            *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", "100", "--seed", "1", "--generation-database", "none"),
            *("--continue-on-failure", "--request-timeout", "240", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    counted = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert counted, done.stdout[-2000:]
    assert int(counted[1]) >= CASES
    assert brief.health() == (200, "ready")
    assert [line for line in brief.lines if "Traceback" in line] == []
