"""Who asks is told why a prompt was missed in the cache: which part, where, and what to do."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.api.live import Live, start
from tests.api.openai.test_chat import events
from tests.api.tools import BASH, PICK

RULES = "Read a file before you change it. Run the tests when you are done. " * 12
PREVIOUS = {"comparison_response_id": "previous"}
GREP: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "grep",
        "description": "Search the files of a folder",
        "parameters": {
            "type": "object",
            "properties": {"pattern": {"type": "string"}, "folder": {"type": "string"}},
            "required": ["pattern"],
        },
    },
}


@pytest.fixture(scope="module")
def smollm2(default_model: Path) -> Iterator[Live]:
    with start(default_model, engine__kv_cache_memory_mb=256) as server:
        yield server


def message(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def history(system: str = "") -> list[dict[str, Any]]:
    """Some turns that no other test has."""
    return [
        message("system", f"{system}{RULES}"),
        message("user", f"Mend the parser of {uuid4()}."),
        message("assistant", f"I look at the parser first, {uuid4()}, and then at its tests. \n"),
        message("user", f"Do so with {uuid4()}."),
    ]


def post(server: Live, messages: list[dict[str, Any]], **fields: Any) -> Any:
    body = {"messages": messages, "max_tokens": 4, "temperature": 0, **fields}
    response = server.post("/v1/chat/completions", body)
    assert response.status_code == 200, response.text
    return response.json()


def diagnosed(server: Live, messages: list[dict[str, Any]], **fields: Any) -> Any:
    """What is told of a request. No less is missed than usage says."""
    answer = post(server, messages, **{"prompt_cache_options": PREVIOUS, **fields})
    told = answer["prompt_cache_diagnostics"]
    usage = answer["usage"]
    if told["type"] == "cache_miss":
        found = usage["prompt_tokens_details"]["cached_tokens"]
        most = min(told["comparison_reusable_tokens"], usage["prompt_tokens"] - 1)
        assert told["cache_missed_tokens"] >= most - found > 0
    return told


def missed(server: Live, cause: str) -> float:
    """Tokens that were missed for a reason so far."""
    return server.metrics()[f'cierzo_missed_tokens_total{{reason="{cause}"}}']


def test_a_session_that_goes_on_is_a_hit(smollm2: Live) -> None:
    turns = history()
    first = post(smollm2, turns)
    assert "prompt_cache_diagnostics" not in first
    said = first["choices"][0]["message"]["content"]
    turns += [message("assistant", said), message("user", "And now?")]
    told = diagnosed(smollm2, turns)
    assert told["type"] == "cache_hit"
    assert told["comparison_response_id"] == first["id"]
    usage = first["usage"]
    assert told["comparison_reusable_tokens"] == usage["total_tokens"] - 1


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ("It is 2026-11-25 10:00:01. ", "It is 2026-11-25 10:00:07. ", "time"),
        ("Today is Wed Nov 25 2026. ", "Today is Thu Nov 26 2026. ", "time"),
        ("now=1795655163 ", "now=1795655264 ", "time"),
        (
            "x-anthropic-billing-header: cc_version=2.1.42; cch=a1b2c; ",
            "x-anthropic-billing-header: cc_version=2.1.42; cch=a97f0; ",
            "identifier",
        ),
        ("Step 7 of many. ", "Step 8 of many. ", "number"),
        ("Be brief. ", "Be brief.  ", "white_space"),
        ("Be brief. ", "Be thorough. ", "text"),
    ],
)
def test_what_changes_in_a_system_prompt_is_found(
    smollm2: Live, before: str, now: str, change: str
) -> None:
    rest = f"{uuid4()}. {RULES}"  # which no other test has
    before, now = before + rest, now + rest
    pairs = zip(before, now, strict=False)
    character = next(at for at, (old, new) in enumerate(pairs) if old != new)
    turns = history()[1:]
    first = post(smollm2, [message("system", before), *turns])
    counted = missed(smollm2, "system_changed")
    told = diagnosed(smollm2, [message("system", now), *turns])
    assert (told["type"], told["reason"]) == ("cache_miss", "input_changed")
    assert told["cause"] == "system_changed"
    assert (told["param"], told["character"]) == ("messages[0].content", character)
    assert told["change"] == change
    assert told["comparison_response_id"] == first["id"]
    assert now[:character].endswith(told["shared"])
    assert now[character:].startswith(told["now"])
    assert before[character:].startswith(told["before"])
    assert f"messages[0].content differs from character {character} on" in told["advice"]
    assert missed(smollm2, "system_changed") - counted == told["cache_missed_tokens"]


def with_changed_schema(change: Any) -> dict[str, Any]:
    tool = copy.deepcopy(GREP)
    change(tool["function"])
    return tool


def _reorder(function: dict[str, Any]) -> None:
    properties = function["parameters"]["properties"]
    function["parameters"]["properties"] = dict(reversed(properties.items()))


@pytest.mark.parametrize(
    ("now", "change", "param", "advice"),
    [
        ([BASH, PICK, GREP], "moved", "tools[1]", "tools[1] and tools[2] changed places"),
        ([BASH, GREP], "removed", "tools[2]", "tools[2]: a tool is gone"),
        ([GREP, PICK], "removed", "tools[0]", "tools[0]: a tool is gone"),
        (
            [BASH, GREP, PICK, with_changed_schema(lambda f: f.update(name="find"))],
            "added",
            "tools[3]",
            "tools[3] is new",
        ),
        (
            [BASH, with_changed_schema(lambda f: f.update(description="Search")), PICK],
            "text",
            "tools[1].function.description",
            "tools[1].function.description differs",
        ),
        (
            [BASH, with_changed_schema(_reorder), PICK],
            "key_order",
            "tools[1].function.parameters",
            "tools[1].function.parameters has its keys in another order",
        ),
    ],
)
def test_what_changes_in_tools_is_found(
    smollm2: Live, now: list[Any], change: str, param: str, advice: str
) -> None:
    turns = history()
    post(smollm2, turns, tools=[BASH, GREP, PICK], tool_choice="none")
    told = diagnosed(smollm2, turns, tools=now, tool_choice="none")
    assert told["reason"] == told["cause"] == "tools_changed"
    assert (told["change"], told["param"]) == (change, param)
    assert told["advice"].startswith(advice)


def called(arguments: str) -> dict[str, Any]:
    function = {"name": "grep", "arguments": arguments}
    return message(
        "assistant", "", tool_calls=[{"id": "abc", "type": "function", "function": function}]
    )


def test_json_that_is_written_anew_is_a_hit_and_in_another_order_is_not(smollm2: Live) -> None:
    turns = history()
    result = message("tool", "parser.py", tool_call_id="abc")
    before = called('{"pattern": "parse", "folder": "src"}')
    respelled = called('{"pattern":"parse",\n"folder":"src"}')
    reordered = called('{"folder": "src", "pattern": "parse"}')
    fields = {"tools": [GREP], "tool_choice": "none"}
    post(smollm2, [*turns, before, result], **fields)
    assert diagnosed(smollm2, [*turns, respelled, result], **fields)["type"] == "cache_hit"
    told = diagnosed(smollm2, [*turns, reordered, result], **fields)
    assert told["cause"] == "messages_changed"
    assert told["param"] == "messages[4].tool_calls[0].function.arguments"
    assert told["character"] == 2


@pytest.mark.parametrize("path", ["/v1", "/api/v1"])
def test_a_loop_of_calls_misses_nothing(smollm2: Live, path: str) -> None:
    """Although the client spells their JSON in its own way."""
    turns, expected = history(), "comparison_response_not_found"
    for _ in range(3):
        body = {
            "messages": turns,
            "tools": [BASH, PICK],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "temperature": 0,
            "prompt_cache_options": PREVIOUS,
        }
        answer = smollm2.post(f"{path}/chat/completions", body).json()
        assert answer["prompt_cache_diagnostics"]["type"] == expected
        said, expected = answer["choices"][0]["message"], "cache_hit"
        (call,) = said["tool_calls"]
        arguments = json.loads(call["function"]["arguments"])
        call["function"]["arguments"] = json.dumps(arguments, separators=(",", ":"))
        result = message("tool", "It is done.", tool_call_id=call["id"])
        turns += [{"role": "assistant", "tool_calls": [call]}, result]


def test_white_space_that_a_client_takes_away_is_found(smollm2: Live) -> None:
    turns = history()
    post(smollm2, turns)
    trimmed = [*turns[:2], message("assistant", turns[2]["content"].strip()), *turns[3:]]
    told = diagnosed(smollm2, trimmed)
    assert (told["cause"], told["change"]) == ("messages_changed", "white_space")
    assert told["param"] == "messages[2].content"
    assert told["character"] == len(trimmed[2]["content"])
    assert told["now"] == ""


@pytest.mark.parametrize("form", ["text", "part"])
def test_an_answer_that_comes_back_otherwise_is_found(smollm2: Live, form: str) -> None:
    turns = history()
    answer = post(smollm2, turns, max_tokens=24)
    said = answer["choices"][0]["message"]["content"]
    changed = said[:9] + "~" + said[10:]
    content: Any = changed if form == "text" else [{"type": "text", "text": changed}]
    turns += [message("assistant", content), message("user", "And?")]
    told = diagnosed(smollm2, turns)
    assert told["cause"] == "messages_changed"
    place = "messages[4].content" if form == "text" else "messages[4].content[0].text"
    assert (told["param"], told["character"]) == (place, 9)


def test_an_answer_that_does_not_come_back_is_missed(smollm2: Live) -> None:
    turns = history()
    post(smollm2, turns, max_tokens=24)
    told = diagnosed(smollm2, [*turns, message("user", "Do it now.")])
    assert (told["cause"], told["change"]) == ("messages_changed", "removed")
    assert told["param"] == "messages[4]"
    assert "is not the answer of the earlier request" in told["advice"]


def test_the_same_words_in_other_tokens_are_nobodys_fault(smollm2: Live) -> None:
    turns = history()
    (token,) = smollm2.post("/tokenize", {"prompt": "e"}).json()["tokens"]
    answer = post(smollm2, turns, max_tokens=40, logit_bias={str(token): 100})
    said = answer["choices"][0]["message"]["content"]
    assert said == "e" * 40
    told = diagnosed(smollm2, [*turns, message("assistant", said), message("user", "What?")])
    assert told["cause"] == "answer_retokenized"
    assert told["param"] == "messages[4].content"


def test_a_conversation_that_was_shortened_is_told(smollm2: Live) -> None:
    turns = history()
    post(smollm2, [*turns, message("assistant", "I did."), message("user", "More.")])
    summary = message("user", "So far: the parser was mended. Go on with its tests.")
    told = diagnosed(smollm2, [*turns[:2], summary])
    assert told["reason"] == told["cause"] == "context_compacted"
    assert told["param"] == "messages[2]"  # where the user says what the assistant had said


def test_a_session_is_found_by_its_name_where_little_else_is_the_same(smollm2: Live) -> None:
    turns = history()
    name = str(uuid4())
    first = post(smollm2, turns, session_id=name)
    # Its last message alone is still there, in another place.
    shortened = [turns[0], message("user", f"Sum {uuid4()} up."), turns[-1]]
    assert diagnosed(smollm2, shortened)["type"] == "comparison_response_not_found"
    shortened[1] = message("user", f"Sum {uuid4()} up.")
    told = diagnosed(smollm2, shortened, prompt_cache_key=name)
    assert told["comparison_response_id"] == first["id"]
    assert told["cause"] == "context_compacted"


def test_the_name_may_stand_in_the_header(smollm2: Live) -> None:
    turns = history()
    headers = {"x-session-id": str(uuid4())}
    body = {"messages": turns, "max_tokens": 1, "prompt_cache_options": PREVIOUS}
    first = smollm2.post("/v1/chat/completions", body, headers=headers).json()
    body["messages"] = [turns[0], message("user", f"Sum {uuid4()} up."), turns[-1]]
    told = smollm2.post("/v1/chat/completions", body, headers=headers).json()
    assert told["prompt_cache_diagnostics"]["comparison_response_id"] == first["id"]


def test_another_question_to_the_same_history_is_a_hit(smollm2: Live) -> None:
    turns = history()
    first = post(smollm2, turns)
    others = [*turns[:-1], message("user", "Rather mend the printer, and tell me how it went.")]
    assert diagnosed(smollm2, others)["type"] == "cache_hit"
    options = {"comparison_response_id": first["id"]}
    told = post(smollm2, others, prompt_cache_options=options)["prompt_cache_diagnostics"]
    assert (told["cause"], told["param"]) == ("messages_changed", "messages[3].content")


def test_another_conversation_is_nothing_to_compare_with(smollm2: Live) -> None:
    """A new session has the same instructions, a question for a title its own."""
    turns = history()
    post(smollm2, turns)
    told = diagnosed(smollm2, history())
    assert told == {"type": "comparison_response_not_found"}
    title = [message("system", "Write a title of three words."), turns[1]]
    assert diagnosed(smollm2, title) == {"type": "comparison_response_not_found"}


def test_an_answer_is_compared_with_by_its_id(smollm2: Live) -> None:
    turns = history("It is 10:00. ")
    first = post(smollm2, turns)
    again = [message("system", f"It is 10:05. {RULES}"), *turns[1:]]
    post(smollm2, again)
    told = post(smollm2, again, prompt_cache_options={"comparison_response_id": first["id"]})
    told = told["prompt_cache_diagnostics"]
    assert told["comparison_response_id"] == first["id"]
    assert (told["type"], told["cause"]) == ("cache_miss", "system_changed")


@pytest.mark.parametrize("id", ["gen-1-none", 5, {"a": []}, "x" * 100_000])
def test_an_id_that_is_not_known_is_not_found(smollm2: Live, id: Any) -> None:
    told = post(smollm2, history(), prompt_cache_options={"comparison_response_id": id})
    assert told["prompt_cache_diagnostics"] == {"type": "comparison_response_not_found"}


@pytest.mark.parametrize(
    "options", [None, {}, [], 7, "previous", {"comparison_response_id": None, "ttl": "30m"}]
)
def test_who_does_not_ask_is_told_nothing(smollm2: Live, options: Any) -> None:
    answer = post(smollm2, history(), prompt_cache_options=options)
    assert "prompt_cache_diagnostics" not in answer


@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"response_format": {"type": "json_object"}}])
@pytest.mark.parametrize("with_usage", [True, False])
def test_a_stream_ends_with_it(smollm2: Live, fields: dict[str, Any], with_usage: bool) -> None:
    turns = history("It is 10:00. ")
    post(smollm2, turns, **fields)
    body = {
        "messages": [message("system", f"It is 10:05. {RULES}"), *turns[1:]],
        "max_tokens": 30,
        "stream": True,
        "stream_options": {"include_usage": with_usage},
        "prompt_cache_options": PREVIOUS,
        **fields,
    }
    chunks = events(smollm2.post("/v1/chat/completions", body).text)
    assert all("prompt_cache_diagnostics" not in chunk for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert ("usage" in chunks[-1]) is with_usage
    assert chunks[-1]["prompt_cache_diagnostics"]["cause"] == "system_changed"


@pytest.mark.parametrize("choice", [0, 1, 2])
def test_any_of_several_answers_may_come_back(smollm2: Live, choice: int) -> None:
    turns = history()
    answers = post(smollm2, turns, n=3, max_tokens=16, temperature=1.5, seed=7)["choices"]
    assert len({answer["message"]["content"] for answer in answers}) == 3
    said = answers[choice]["message"]["content"]
    turns += [message("assistant", said), message("user", "And?")]
    told = diagnosed(smollm2, turns)
    assert told["type"] == "cache_hit" or told["cause"] == "answer_retokenized"


@pytest.mark.parametrize("stream", [False, True])
def test_texts_are_compared_too(smollm2: Live, stream: bool) -> None:
    name = str(uuid4())

    def complete(prompt: Any, **fields: Any) -> Any:
        body = {"prompt": prompt, "max_tokens": 2, "prompt_cache_options": PREVIOUS}
        body |= {"session_id": name, **fields}
        response = smollm2.post("/v1/completions", body)
        assert response.status_code == 200, response.text
        answer = events(response.text)[-1] if fields.get("stream") else response.json()
        return answer["prompt_cache_diagnostics"]

    text = f"{name}. {RULES}"
    assert complete(text)["type"] == "comparison_response_not_found"
    assert complete(text, stream=stream)["type"] == "cache_hit"
    told = complete(text[:-9] + "changed.", stream=stream)
    assert (told["cause"], told["param"]) == ("prompt_changed", "prompt")
    assert told["character"] == len(text) - 9
    assert complete([text, text]) == {"type": "unavailable"}
    assert complete(text, session_id=None) == {"type": "comparison_response_not_found"}


def test_what_was_asked_with_zdr_is_not_there_to_compare_with(smollm2: Live) -> None:
    turns = history()
    first = post(smollm2, turns, provider={"zdr": True})
    told = diagnosed(smollm2, turns, provider={"zdr": True})
    assert told == {"type": "comparison_response_not_found"}
    options = {"comparison_response_id": first["id"]}
    told = post(smollm2, turns, prompt_cache_options=options)["prompt_cache_diagnostics"]
    assert told == {"type": "comparison_response_not_found"}


def test_the_log_says_where_and_not_what(smollm2: Live) -> None:
    secret = "Cassiopeia"
    turns = history()
    post(smollm2, [message("system", f"{secret} at 10:00. {RULES}"), *turns[1:]])
    answer = post(smollm2, [message("system", f"{secret} at 10:05. {RULES}"), *turns[1:]])

    def lines() -> list[str]:
        return [line for line in smollm2.lines if answer["id"] in line and "missed" in line]

    smollm2.until("told", lines)
    (line,) = lines()
    assert "reason=system_changed" in line
    assert "messages[0].content differs from character " in line
    assert "a date or a time" in line
    assert all(secret not in line and RULES[:20] not in line for line in smollm2.lines)
