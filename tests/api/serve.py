"""Runs the real server for tests: `python -m tests.api.serve PATH '{"server.port": 0, ...}'`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cierzo.api.lifecycle import run_server
from cierzo.model.fetch.registry import ModelEntry
from cierzo.settings import load_settings

if __name__ == "__main__":
    settings, _ = load_settings(json.loads(sys.argv[2]), environment={}, files=())
    entry = ModelEntry(
        "tiny",
        aliases=("author/tiny",),
        prompt_price=0.10e-6,
        completion_price=0.30e-6,
        sampling={"temperature": 0.9},
    )
    sys.exit(run_server(settings, Path(sys.argv[1]), entry))
