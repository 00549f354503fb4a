"""The scripted model says its session after any prompt, in any company, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from cierzo.llm import LLM
from tests.agents.scripted_model import OPENER, Rule, rules_of, write_scripted_model
from tests.agents.session import Turn

SESSION = [
    Turn("Look.", "bash", {"command": "cat 'a\\b.txt'"}),
    Turn("Look.", "bash", {"command": "cat 'a\\b.txt'"}),  # the same again
    Turn(None, "edit", {"old": "int(hours) * 100 +", "new": "int(hours) * 60 +"}),
    Turn("Done."),
]
WORDS = "\n".join(topics[name] for name in sorted(topics))
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": WORDS[:400],
            "parameters": {"type": "object", "properties": {n: {"type": "string"} for n in names}},
        },
    }
    for name, names in (("bash", ["command"]), ("edit", ["old", "new"]))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scripted")
    write_scripted_model(path, SESSION)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> LLM:
    return LLM(str(folder))


def said(answer: Any) -> Turn:
    """What an answer says, as a turn."""
    if not answer.tool_calls:
        return Turn(answer.text)
    (call,) = answer.tool_calls
    return Turn(answer.text or None, call.name, json.loads(call.arguments))


@pytest.mark.parametrize("characters", [0, 300, 20_000])
def test_every_turn_follows_whatever_people_and_tools_say(model: LLM, characters: int) -> None:
    chat: list[dict[str, Any]] = [{"role": "user", "content": "Begin."}]
    if characters:
        chat.insert(0, {"role": "system", "content": WORDS[-characters:]})
    greedy = model.advised(temperature=0.0, max_tokens=100)
    for i, turn in enumerate(SESSION):
        assert said(model.chat(chat, greedy, tools=TOOLS)) == turn
        if turn.tool is None:
            break
        arguments = json.dumps(turn.arguments)
        function = {"name": turn.tool, "arguments": arguments}
        call = {"id": f"call{i:05}", "type": "function", "function": function}
        quoted = f"{WORDS[1_000 * i : 1_000 * i + 300]}{turn.text} {arguments}"
        chat.append({"role": "assistant", "content": turn.text, "tool_calls": [call]})
        chat.append({"role": "tool", "tool_call_id": call["id"], "content": quoted})


def test_rules_look_as_far_behind_as_it_takes_to_tell_two_places_apart() -> None:
    rules = rules_of([[1, 2, 3, 1, 2, 4, 0]])
    assert rules[0] == Rule(0, {0: OPENER}, 1)
    assert {rule.token for rule in rules if rule.behind[0] == 2} == {3, 4}
    assert {distance for rule in rules for distance in rule.behind} == {0, 2}


def test_turns_that_no_rules_can_tell_are_refused() -> None:
    with pytest.raises(ValueError, match="repeat themselves"):
        rules_of([[*[1] * 30, 0]])
