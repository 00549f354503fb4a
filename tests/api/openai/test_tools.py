"""Tool calls over HTTP: on a model with Mistral's format, and on one that has none of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.api.live import HELLO, Live, start
from tests.api.openrouter import conforms
from tests.api.tools import BASH, NOW, PICK, TOOLS, check_calls, joined, stream
from tests.support.checkpoints import write_mistral
from tests.support.tiny_model import tekken_model

TOOL_CALLS = "9"  # the token that begins calls, in Tekken
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Tekken v13, as Devstral Small 1.1 has it."""
    path = write_mistral(
        tmp_path_factory.mktemp("mistral") / "tiny", tekken_model(max_position_embeddings=8_192)
    )
    with start(path) as server:
        yield server


@pytest.fixture(params=["mistral", "text"])
def either(request: pytest.FixtureRequest, server: Live, mistral: Live) -> Live:
    return mistral if request.param == "mistral" else server


def ask(server: Live, **fields: Any) -> dict[str, Any]:
    """The first choice of an answer."""
    body = {"messages": HELLO, "tools": TOOLS, "max_tokens": 600, **fields}
    response = server.post(CHAT, body)
    assert response.status_code == 200, response.text
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


@pytest.mark.parametrize("seed", range(4))
def test_required_always_gives_valid_calls(either: Live, seed: int) -> None:
    choice = ask(either, tool_choice="required", seed=seed, parallel_tool_calls=False)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["native_finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert len(check_calls(choice["message"])) == 1


@pytest.mark.parametrize(
    "named",
    [
        {"type": "function", "function": {"name": "pick"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "pick"}}],
            },
        },
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "pick"}],
        },
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_named_function_is_the_one_called(either: Live, named: dict[str, Any], seed: int) -> None:
    calls = check_calls(ask(either, tool_choice=named, seed=seed)["message"])
    assert {name for name, _ in calls} == {"pick"}


def test_who_names_a_function_gets_one_call(either: Live) -> None:
    named = {"type": "function", "function": {"name": "pick"}}
    bodies = {"messages": HELLO, "tools": TOOLS, "max_tokens": 600, "n": 8, "seed": 1}
    for choice in either.post(CHAT, {**bodies, "tool_choice": named}).json()["choices"]:
        assert choice["finish_reason"] == "tool_calls"
        assert len(check_calls(choice["message"])) == 1


def test_several_calls_in_a_row_are_told_apart(either: Live) -> None:
    found = [ask(either, tool_choice="required", seed=seed, n=8) for seed in range(2)]
    bodies = {"messages": HELLO, "tools": TOOLS, "max_tokens": 600, "n": 8}
    answer = either.post(CHAT, {**bodies, "tool_choice": "required", "seed": 1}).json()
    counts = [
        len(check_calls(c["message"])) for c in answer["choices"] if c["finish_reason"] != "length"
    ]
    assert found
    assert max(counts) > 1
    for choice in answer["choices"]:
        ids = [call["id"] for call in choice["message"].get("tool_calls", [])]
        assert len(ids) == len(set(ids))


def test_auto_leaves_it_to_the_model(mistral: Live) -> None:
    """With a push towards the token that begins calls there is a call, without it text."""
    fields: dict[str, Any] = {"seed": 5, "parallel_tool_calls": False}
    pushed = ask(mistral, logit_bias={TOOL_CALLS: 100}, **fields)
    assert len(check_calls(pushed["message"])) == 1
    assert pushed["finish_reason"] == "tool_calls"
    held = ask(mistral, logit_bias={TOOL_CALLS: -100}, **fields)
    assert "tool_calls" not in held["message"]
    assert held["message"]["content"] is not None
    assert held["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": "none"},
        {"tools": []},
        {"tools": None},
        {"tools": None, "tool_choice": "auto"},
    ],
)
def test_none_forbids_calls(mistral: Live, fields: dict[str, Any]) -> None:
    """The token of calls cannot be sampled, however much is pushed."""
    choice = ask(mistral, logit_bias={TOOL_CALLS: 100}, seed=5, **{"max_tokens": 60, **fields})
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_adds_up_to_the_whole_answer(either: Live, seed: int) -> None:
    body = {"messages": HELLO, "tools": TOOLS, "tool_choice": "required", "seed": seed}
    body |= {"max_tokens": 600, "n": 2}
    whole = either.post(CHAT, body).json()["choices"]
    chunks = stream(either, body, "/api/v1")
    for chunk in chunks:
        conforms("ChatStreamChunk", chunk)
    for index, choice in enumerate(whole):
        put = joined(chunks, index)
        assert put["finish_reason"] == choice["finish_reason"]
        assert put["message"].get("tool_calls") == choice["message"].get("tool_calls")
        assert (put["message"]["content"] or None) == choice["message"]["content"]


def test_whole_answers_with_calls_are_as_the_schema_says(either: Live) -> None:
    body = {"messages": HELLO, "tools": TOOLS, "tool_choice": "required", "max_tokens": 600}
    conforms("ChatRequest", body)
    conforms("ChatResult", either.post("/api" + CHAT, body).json())


def test_call_ids_follow_from_the_seed_and_the_place(either: Live) -> None:
    def ids(messages: list[Any], seed: int) -> list[str]:
        fields: dict[str, Any] = {"messages": messages, "seed": seed, "tool_choice": "required"}
        return [call["id"] for call in ask(either, **fields)["message"]["tool_calls"]]

    assert ids(HELLO, 1) == ids(HELLO, 1)
    assert set(ids(HELLO, 1)).isdisjoint(ids(HELLO, 2))
    longer = [*HELLO, {"role": "assistant", "content": "Hi"}, *HELLO]
    assert set(ids(HELLO, 1)).isdisjoint(ids(longer, 1))


def test_length_wins_over_calls(either: Live) -> None:
    choice = ask(either, tool_choice="required", max_tokens=5, seed=0)
    assert choice["finish_reason"] == "length"


def test_logprobs_cover_the_tokens_of_calls(mistral: Live) -> None:
    fields: dict[str, Any] = {"tool_choice": "required", "seed": 2, "parallel_tool_calls": False}
    body = {"messages": HELLO, "tools": TOOLS, "max_tokens": 600, "logprobs": True, **fields}
    answer = mistral.post(CHAT, body).json()
    (choice,) = answer["choices"]
    spelled = "".join(token["token"] for token in choice["logprobs"]["content"])
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] in spelled
    assert len(choice["logprobs"]["content"]) >= answer["usage"]["completion_tokens"] - 1


def test_how_a_client_spells_a_call_that_comes_back_changes_nothing(mistral: Live) -> None:
    """The prompt has the tokens that were generated, so the answer that follows is the same."""
    body: dict[str, Any] = {"messages": HELLO, "tools": TOOLS, "max_tokens": 600, "seed": 3}
    body |= {"tool_choice": {"type": "function", "function": {"name": "bash"}}}
    body |= {"parallel_tool_calls": False}
    message = mistral.post(CHAT, body).json()["choices"][0]["message"]
    (call,) = message["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    answers = set()
    for spelled in (
        call["function"]["arguments"],
        json.dumps(arguments, indent=2),
        json.dumps(arguments, separators=(",", ":")),
    ):
        again = {**call, "function": {"name": "bash", "arguments": spelled}}
        for content in ({"content": None}, {"content": ""}, {}):
            said = {"role": "assistant", "tool_calls": [again], **content}
            result = {"role": "tool", "tool_call_id": call["id"], "content": "done"}
            asked = {"messages": [*HELLO, said, result], "seed": 1, "max_tokens": 12}
            answer = mistral.post(CHAT, {**asked, "tools": TOOLS}).json()
            text = answer["choices"][0]["message"]["content"]
            answers.add((answer["usage"]["prompt_tokens"], text))
    assert len(answers) == 1


CALL = {"id": "call_abc123XYZ", "type": "function", "function": {"name": "now", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_abc123XYZ", "content": "noon"}


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "assistant", "tool_calls": [CALL]}, RESULT],
        [{"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT, *HELLO],
        [{"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}, RESULT],
        [{"role": "assistant", "content": [], "tool_calls": [CALL]}, RESULT],
        [
            {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
            RESULT,
            {
                **RESULT,
                "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
            },
            {"role": "system", "content": "be brief"},
        ],
        [
            {"role": "assistant", "tool_calls": [{**CALL, "id": "1"}]},
            {**RESULT, "tool_call_id": "1"},
        ],
        [{"role": "assistant", "tool_calls": [CALL]}, {**RESULT, "name": "now", "content": None}],
        [{"role": "assistant", "tool_calls": [CALL]}, *HELLO],
        [{"role": "tool", "content": "no call"}],
        [
            {"role": "assistant", "function_call": {"name": "now", "arguments": "{}"}},
            {"role": "function", "name": "now", "content": "noon"},
        ],
        [{"role": "assistant", "content": None, "tool_calls": [], "provider_specific_fields": {}}],
    ],
)
def test_turns_that_real_agents_send(either: Live, turns: list[Any]) -> None:
    for tools in (TOOLS, None):
        body = {"messages": [*HELLO, *turns], "tools": tools, "max_tokens": 1}
        response = either.post(CHAT, body)
        assert response.status_code == 200, response.text


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **fields}}


def takes(schema: Any) -> dict[str, Any]:
    return function(parameters={"type": "object", "properties": {"a": schema}})


def strict(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {**tool["function"], "strict": True}}


A = "tools[0].function.parameters.properties.a"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "openrouter:datetime"}]}, "tools[0].type"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [BASH, {"type": "function"}]}, "tools[1].function"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "tools[0].type"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tools": [None]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": "f"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [function(), function(description="2")]}, "tools[1].function.name"),
        ({"tools": [function(), {"name": "f", "input_schema": {"a": 1}}]}, "tools[1].name"),
        ({"tools": [function(name="")]}, "tools[0].function.name"),
        ({"tools": [function(name=" ")]}, "tools[0].function.name"),
        ({"tools": [function(name=7)]}, "tools[0].function.name"),
        ({"tools": [function(name="two\nlines")]}, "tools[0].function.name"),
        ({"tools": [function(name="n" * 257)]}, "tools[0].function.name"),
        ({"tools": [function(paramters={})]}, "tools[0].function.paramters"),
        ({"tools": [function(properties={})]}, "tools[0].function.properties"),
        ({"tools": [BASH] * 200}, "tools"),
        ({"tools": [function(description="d" * 1_000_000)]}, "tools"),
        ({"tools": [takes({"enum": list(range(100_000))})]}, f"{A}.enum"),
        ({"tools": [strict(takes({"type": "string", "pattern": "(a"}))]}, f"{A}.pattern"),
        ({"tools": [strict(takes({"type": "nothing"}))]}, f"{A}.type"),
        ({"tools": [strict(takes({"$ref": "#/nowhere"}))]}, A),
        ({"tools": [strict(function(parameters=7))]}, "tools[0].function.parameters"),
        (
            {"tools": [strict(function(parameters={"type": "array"}))]},
            "tools[0].function.parameters.type",
        ),
        ({"tool_choice": "maybe", "tools": TOOLS}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}, "tools": TOOLS}, "tool_choice.type"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": TOOLS},
            "tool_choice",
        ),
        ({"tool_choice": {"type": "function"}, "tools": TOOLS}, "tool_choice.function"),
        ({"tool_choice": {"name": "f"}, "tools": TOOLS}, "tool_choice"),
        ({"tool_choice": {}, "tools": TOOLS}, "tool_choice.type"),
        ({"tool_choice": 1, "tools": TOOLS}, "tool_choice"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}, "tools": TOOLS}, "tool_choice.allowed_tools"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
    ],
)
def test_tools_that_cannot_be_called_are_named(
    either: Live, fields: dict[str, Any], param: str
) -> None:
    for stream_it in (False, True):
        response = either.post(CHAT, {"messages": HELLO, "stream": stream_it, **fields})
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        shown = error["param"]
        assert shown == param or (param == A and shown.startswith(A))
        assert "\n" not in error["message"]


def test_the_official_client_runs_a_loop(either: Live) -> None:
    with openai.OpenAI(base_url=f"{either.url}/v1", api_key="none", max_retries=0) as client:
        messages: list[Any] = list(HELLO)
        both: list[Any] = [NOW, PICK]
        for turn in range(2):
            answer = client.chat.completions.create(
                model="tiny",
                messages=messages,
                tools=both,
                tool_choice="required",
                parallel_tool_calls=False,
                seed=turn,
                max_tokens=600,
            )
            message = answer.choices[0].message
            assert message.tool_calls
            messages.append(message.model_dump())
            messages += [
                {"role": "tool", "tool_call_id": call.id, "content": "ok"}
                for call in message.tool_calls
            ]
        closing = client.chat.completions.create(model="tiny", messages=messages, max_tokens=1)
        assert closing.choices[0].finish_reason in ("stop", "length")


def test_a_search_turns_to_another_tool_where_one_has_no_valid_arguments(mistral: Live) -> None:
    """Arguments that nothing fits are an error only if nothing else could be called."""
    hopeless = function(
        name="hopeless",
        parameters={
            "type": "object",
            "properties": {
                "some": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0, "maximum": 99_999},
                    "minItems": 3,
                    "maxItems": 3,
                    "not": {"items": {"maximum": 100_000}},
                }
            },
            "required": ["some"],
            "additionalProperties": False,
        },
    )
    found = 0
    for seed in range(6):
        body = {"messages": HELLO, "tools": [PICK, hopeless], "tool_choice": "required"}
        response = mistral.post(CHAT, {**body, "seed": seed, "max_tokens": 2_000})
        assert response.status_code in (200, 422), response.text
        if response.status_code == 200:
            found += 1
            message = response.json()["choices"][0]["message"]
            assert {name for name, _ in check_calls(message)} == {"pick"}
    assert found


@pytest.mark.parametrize("version", ["v3", "v7", "v11"])
def test_the_older_versions_of_mistral_s_format(tmp_path: Path, version: str) -> None:
    """v3 and v7 write a JSON list, v11 an id before the arguments: clients see no difference."""
    path = write_mistral(tmp_path / "tiny", tekken_model(max_position_embeddings=8_192))
    tokenizer = path / "tekken.json"
    data = json.loads(tokenizer.read_text())
    data["config"]["version"] = version
    tokenizer.write_text(json.dumps(data))
    with start(path) as server:
        body = {"messages": HELLO, "tools": TOOLS, "tool_choice": "required", "seed": 3}
        body |= {"max_tokens": 800, "parallel_tool_calls": False}
        (choice,) = server.post(CHAT, body).json()["choices"]
        assert len(check_calls(choice["message"])) == 1
        put = joined(stream(server, body))
        assert put["message"]["tool_calls"] == choice["message"]["tool_calls"]
        (call,) = choice["message"]["tool_calls"]
        result = {"role": "tool", "tool_call_id": call["id"], "content": "done"}
        again = {**body, "messages": [*HELLO, choice["message"], result], "max_tokens": 1}
        assert server.post(CHAT, again).status_code == 200
