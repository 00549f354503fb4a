"""Mistral Vibe, in its headless mode: streamed answers, ten tools and a very long prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import scratch
from tests.agents.scripted_model import MAX_MODEL_LEN, write_scripted_model
from tests.agents.session import Turn
from tests.api.live import start

pytestmark = [pytest.mark.agents, pytest.mark.slow]

CLOSING = "Mended: an hour has 60 minutes, not 100. The test passes."
SESSION = [
    Turn("The test first.", "bash", {"command": "python -m pytest -q 2>&1 | tail -3"}),
    Turn("Now the code.", "read_file", {"path": "clock.py"}),
    Turn(
        "An hour has 60 minutes.",
        "edit",
        {
            "file_path": "clock.py",
            "old_string": "int(hours) * 100 +",
            "new_string": "int(hours) * 60 +",
        },
    ),
    Turn("Does it hold?", "bash", {"command": "python -m pytest -q"}),
    Turn(CLOSING),
]

# Nothing but the model is asked: no telemetry, no updates, no experiments, no titles for sessions.
CONFIG = """
active_model = "cierzo"
enable_telemetry = false
enable_update_checks = false
enable_connectors = false
enable_mcp = false

[session_logging]
generate_titles = false

[experiments]
enable = false

[[providers]]
name = "cierzo"
api_base = "{url}/v1"

[[models]]
name = "author/tiny"
provider = "cierzo"
alias = "cierzo"
temperature = 0.0
"""


def test_mistral_vibe_mends_a_repository(tmp_path: Path) -> None:
    vibe = scratch.installed("mistral-vibe", "vibe")
    repository = scratch.write_repository(tmp_path / "repository")
    assert not scratch.passes(repository)
    write_scripted_model(tmp_path / "model", SESSION)
    settings = tmp_path / "vibe"
    settings.mkdir()

    with start(tmp_path / "model", engine__max_model_len=MAX_MODEL_LEN) as server:
        config = CONFIG.format(url=server.url)
        (settings / "config.toml").write_text(config, encoding="utf-8")
        ended = scratch.run_agent(
            [vibe, "--auto-approve", "--trust", "--output", "text", "--prompt", scratch.TASK],
            repository,
            tmp_path / "home",
            {"VIBE_HOME": str(settings)},
        )
        metrics = server.metrics()

    assert ended.returncode == 0, ended.stdout
    assert CLOSING in ended.stdout
    assert metrics['cierzo_http_responses_total{status="200"}'] >= len(SESSION)
    assert metrics["cierzo_generated_tokens_total"] > 100

    assert scratch.changed_files(repository) == ["clock.py"]
    assert (repository / "clock.py").read_text(encoding="utf-8") == scratch.MENDED
    assert scratch.passes(repository)
