"""mini-swe-agent, through litellm's OpenRouter provider: whole answers, one tool, words too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.agents import scratch
from tests.agents.scripted_model import MAX_MODEL_LEN, write_scripted_model
from tests.agents.session import Turn
from tests.api.live import start

pytestmark = [pytest.mark.agents, pytest.mark.slow]

SESSION = [
    Turn("The test first.", "bash", {"command": "python -m pytest -q 2>&1 | tail -3"}),
    Turn("Now the code.", "bash", {"command": "cat clock.py"}),
    Turn("An hour has 60 minutes.", "bash", {"command": r"sed -i 's/\* 100/* 60/' clock.py"}),
    Turn("Does it hold?", "bash", {"command": "python -m pytest -q"}),
    Turn(None, "bash", {"command": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}),
]


def test_mini_swe_agent_mends_a_repository(tmp_path: Path) -> None:
    mini = scratch.installed("mini-swe-agent", "mini")
    repository = scratch.write_repository(tmp_path / "repository")
    assert not scratch.passes(repository)
    write_scripted_model(tmp_path / "model", SESSION)
    trajectory = tmp_path / "trajectory.json"

    with start(tmp_path / "model", engine__max_model_len=MAX_MODEL_LEN) as server:
        settings = {
            "model.model_class": "litellm",
            "model.cost_tracking": "ignore_errors",  # litellm has no price for this model
            "model.model_kwargs.api_base": f"{server.url}/api/v1",
            "model.model_kwargs.api_key": "none",
            "model.model_kwargs.temperature": "0",
        }
        command: list[str | Path] = [mini, "--yolo", "--exit-immediately", "--task", scratch.TASK]
        command += ["--model", "openrouter/author/tiny", "--output", trajectory]
        command += ["--config", "mini.yaml"]
        for key, value in settings.items():
            command += ["--config", f"{key}={value}"]
        ended = scratch.run_agent(
            command,
            repository,
            tmp_path / "home",
            {
                "MSWEA_CONFIGURED": "true",  # no questions about keys
                "MSWEA_GLOBAL_CONFIG_DIR": str(tmp_path / "home"),
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # fetches no table of prices
            },
        )
        metrics = server.metrics()

    assert ended.returncode == 0, ended.stdout
    said = json.loads(trajectory.read_text(encoding="utf-8"))
    assert said["info"]["exit_status"] == "Submitted"
    answers = [message for message in said["messages"] if message["role"] == "assistant"]
    calls = [answer["tool_calls"][0]["function"] for answer in answers]
    assert [answer["content"] for answer in answers] == [turn.text for turn in SESSION]
    assert [json.loads(call["arguments"]) for call in calls] == [t.arguments for t in SESSION]
    assert metrics['cierzo_http_responses_total{status="200"}'] >= len(SESSION)
    assert metrics["cierzo_generated_tokens_total"] > 100

    assert scratch.changed_files(repository) == ["clock.py"]
    assert (repository / "clock.py").read_text(encoding="utf-8") == scratch.MENDED
    assert scratch.passes(repository)
