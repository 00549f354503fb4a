"""Tools and choices in the forms of other APIs and of sloppy servers: one meaning, one answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.api.live import HELLO, Live, start
from tests.api.tools import BASH, NOW, PICK, check_calls
from tests.support.checkpoints import write_mistral
from tests.support.tiny_model import tekken_model

CHAT = "/v1/chat/completions"
WARNING = "x-cierzo-warning"
CITY = {"type": "string", "maxLength": 9}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": CITY, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {"name": "weather", "description": "Says it.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": WEATHER}
BARE = {"name": "weather", "description": "Says it."}


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Tekken v13, as Devstral Small 1.1 has it."""
    path = write_mistral(
        tmp_path_factory.mktemp("mistral") / "tiny", tekken_model(max_position_embeddings=8_192)
    )
    with start(path) as server:
        yield server


def ask(server: Live, **fields: Any) -> tuple[dict[str, Any], str]:
    """The answer's first choice with the size of the prompt, and the header of warnings."""
    body = {"messages": HELLO, "max_tokens": 300, "seed": 4, "tool_choice": "required"}
    response = server.post(CHAT, {**body, "parallel_tool_calls": False, **fields})
    assert response.status_code == 200, response.text
    answer = response.json()
    choice = {**answer["choices"][0], "prompt_tokens": answer["usage"]["prompt_tokens"]}
    return choice, response.headers.get(WARNING, "")


def schema(**changed: Any) -> dict[str, Any]:
    return {**SCHEMA, **changed}


SAME = {
    "bare": {**WEATHER},
    "responses": {"type": "function", **WEATHER, "strict": None},
    "no type": {"function": WEATHER},
    "null type": {"type": None, "function": WEATHER},
    "capitals": {"type": "FUNCTION", "function": WEATHER},
    "anthropic": {**BARE, "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}},
    "anthropic with a type": {"type": "custom", **BARE, "input_schema": SCHEMA},
    "mcp": {**BARE, "inputSchema": SCHEMA, "outputSchema": {"type": "object"}}
    | {"title": "W", "annotations": {"readOnlyHint": True}, "icons": [], "_meta": {"a": 1}},
    "mcp inside": {"type": "function", "function": {**BARE, "inputSchema": SCHEMA}},
    "gemini": {"functionDeclarations": [{**BARE, "parametersJsonSchema": SCHEMA}]},
    "text": {"type": "function", "function": {**BARE, "parameters": json.dumps(SCHEMA)}},
    "nulls": {
        "type": "function",
        "strict": None,
        "function": {
            **WEATHER,
            "strict": None,
            "parameters": schema(**{"$ref": None, "items": None, "anyOf": None, "enum": None}),
        },
    },
    "capital types": {
        **WEATHER,
        "parameters": schema(
            type="OBJECT",
            properties={
                "city": {"type": "STRING", "maxLength": "9"},
                "days": {"type": "int", "minimum": 1.0, "maximum": "9"},
            },
        ),
    },
    "draft 3": {
        **WEATHER,
        "parameters": {
            "type": "object",
            "properties": {
                "city": {**CITY, "required": True},
                "days": {**SCHEMA["properties"]["days"], "required": False},
            },
            "required": ["city"],
            "additionalProperties": "false",
        },
    },
}


@pytest.mark.parametrize("form", SAME)
def test_one_tool_in_any_form_gives_one_answer(server: Live, mistral: Live, form: str) -> None:
    for live in (server, mistral):
        wanted, quiet = ask(live, tools=[TOOL])
        found, warned = ask(live, tools=[SAME[form]])
        if form not in ("draft 3", "capital types"):
            assert found == wanted
        (call,) = found["message"]["tool_calls"]
        jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMA)
        assert quiet == warned == ""


NO_TOOLS: tuple[Any, ...] = (None, [])
NOTHING: list[dict[str, Any]] = [
    *({}, {"parameters": None}, {"parameters": ""}, {"parameters": []}, {"input_schema": []}),
    {"parameters": {"type": "object", "properties": None}},
    {"parameters": {"type": "object", "properties": []}},
    {"parameters": {"type": "object", "properties": {}}},
    {"parameters": {"type": "object", "properties": {}, "required": None}},
    {"parameters": {"type": None, "properties": None, "additionalProperties": None}},
]


@pytest.mark.parametrize("fields", NOTHING, ids=json.dumps)
def test_no_arguments_in_any_form(server: Live, fields: dict[str, Any]) -> None:
    choice, warned = ask(server, tools=[{"type": "function", "function": {"name": "f", **fields}}])
    assert [call["function"]["arguments"] for call in choice["message"]["tool_calls"]] == ["{}"]
    assert warned == ""


MCP: dict[str, Any] = {
    "path": {"type": "STRING"},
    "anything": {"type": "any"},
    "nothing": None,
    "kind": {"type": "string", "enum": []},
    "list": {"type": "array", "items": None},
    "map": {"type": "object", "properties": [], "additionalProperties": None},
    "needed": {"type": "boolean", "required": True},
    "choice": {"anyOf": [], "type": ["INTEGER", "null"]},
    "named": {"$ref": "#/definitions/Named"},
}


def test_the_tools_of_sloppy_servers_are_held_to_what_they_mean(
    server: Live, mistral: Live
) -> None:
    parameters = {
        "type": "object",
        "properties": MCP,
        "required": None,
        "additionalProperties": False,
        "$defs": {"Named": {"type": "string", "enum": ["a", "a", "b"]}},
    }
    meant = {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "kind": {"type": "string"},
            "list": {"type": "array"},
            "map": {"type": "object"},
            "needed": {"type": "boolean"},
            "choice": {"type": ["integer", "null"]},
            "named": {"enum": ["a", "b"]},
        },
        "required": ["needed"],
        "propertyNames": {"enum": list(MCP)},
    }
    tool = {"type": "function", "function": {"name": "mcp.files/read", "parameters": parameters}}
    for live in (server, mistral):
        for seed in range(8):
            choice, warned = ask(live, tools=[tool, NOW], tool_choice="mcp.files/read", seed=seed)
            assert warned == ""
            (call,) = choice["message"]["tool_calls"]
            assert call["function"]["name"] == "mcp.files/read"
            if choice["finish_reason"] == "tool_calls":
                jsonschema.validate(json.loads(call["function"]["arguments"]), meant)


BAD = [
    ({"type": "object", "properties": {"a": {"type": "nothing"}}}, "properties.a.type"),
    ({"type": "object", "properties": {"a": {"pattern": "(a"}}}, "properties.a.pattern"),
    ({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, "properties.a"),
    ({"$ref": "https://example.com/schema.json"}, "parameters"),
    ({"type": "object", "properties": "none"}, "properties"),
    ({"type": "object", "required": {"a": True}}, "required"),
    ({"type": "array", "items": {"type": "string"}}, "type"),
    ({"properties": {"a": {"allOf": [{"const": 1}, {"const": 2}]}}, "required": ["a"]}, "no value"),
    (7, "parameters"),
    ("text", "parameters"),
    ([{"name": "a"}], "parameters"),
]


@pytest.mark.parametrize(("parameters", "named"), BAD, ids=[json.dumps(bad) for bad, _ in BAD])
def test_one_bad_tool_does_not_end_the_turn(
    server: Live, mistral: Live, parameters: Any, named: str
) -> None:
    bad = {"type": "function", "function": {"name": "bad", "parameters": parameters}}
    for live in (server, mistral):
        choice, warned = ask(live, tools=[PICK, bad, BASH], tool_choice="bad")
        assert warned.startswith("tools[1].function.parameters")
        assert named in warned
        assert "held to a JSON object" in warned
        (call,) = choice["message"]["tool_calls"]
        if choice["finish_reason"] == "tool_calls":
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
        assert check_calls(ask(live, tools=[PICK, bad], tool_choice="pick")[0]["message"])
        assert ask(live, tools=[PICK, bad], tool_choice="none")[0]["finish_reason"]
        stream = {"messages": HELLO, "tools": [bad], "stream": True, "max_tokens": 1}
        assert live.post(CHAT, stream).headers[WARNING] == warned.replace("[1]", "[0]")
        live.until("counted", lambda live=live: any("warnings=1" in line for line in live.lines))
        assert not any(warned in line for line in live.lines)  # it quotes the request


def test_warnings_are_bounded_and_safe_in_a_header(server: Live) -> None:
    name = "n\u2028é" * 80
    bad = [
        {"name": f"{name}{index}", "parameters": {"type": "\r\nx-evil: 1" * 40}}
        for index in range(20)
    ]
    _, warned = ask(server, tools=bad, tool_choice="required", max_tokens=1)
    assert warned.isascii()
    assert warned.isprintable()
    assert len(warned) < 3_000
    assert warned.endswith("and 16 more")


def test_tools_of_another_server_are_left_out_beside_functions(server: Live) -> None:
    wanted, _ = ask(server, tools=[TOOL])
    for foreign in (
        *({"type": "web_search", "external_web_access": False}, {"type": "openrouter:datetime"}),
        *({"type": "web_search_20250305", "name": "web_search", "max_uses": 5},),
        *({"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}},),
        *({"type": "mcp", "server_url": "https://example.com"}, {"type": "code_interpreter"}),
    ):
        found, warned = ask(server, tools=[foreign, TOOL])
        assert found == wanted
        assert warned.startswith(f"tools[0]: '{foreign['type']}' is no function")
    found, warned = ask(server, tools=[TOOL, {"googleSearch": {}}])
    assert found == wanted
    assert warned.startswith("tools[1]: 'googleSearch' is no function")


def test_equal_tools_are_one(server: Live) -> None:
    assert ask(server, tools=[TOOL, WEATHER, TOOL]) == ask(server, tools=[TOOL])


FREE = [None, "", "auto", "AUTO", {"type": "auto"}, {"mode": "AUTO"}, {"type": "auto", "a": 1}]
MUST = ["required", "any", "ANY", {"type": "required"}, {"type": "any"}, {"mode": "any"}]
ONE = [
    {"type": "function", "function": {"name": "pick"}},
    {"type": "function", "name": "pick"},
    {"function": {"name": "pick"}},
    {"type": "tool", "name": "pick"},
    {"name": "pick"},
    "pick",
]
SOME = [
    {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
    for tools in ([{"type": "function", "function": {"name": "pick"}}], [{"name": "pick"}])
]
SOME.append({"type": "allowed_tools", "mode": "required", "tools": ["pick"]})
NO = ["none", "NONE", {"type": "none"}, {"mode": "none"}]


@pytest.mark.parametrize("choices", [FREE, MUST, ONE, SOME, NO], ids=["auto", "any", "1", "2", "0"])
def test_a_choice_in_any_form_is_one_choice(server: Live, choices: list[Any]) -> None:
    fields: dict[str, Any] = {"tools": [PICK, NOW], "max_tokens": 60}
    answers = [ask(server, tool_choice=choice, **fields) for choice in choices]
    assert all(answer == answers[0] for answer in answers)


def test_anthropic_s_word_for_one_call_at_a_time(server: Live) -> None:
    fields: dict[str, Any] = {"tools": [NOW], "parallel_tool_calls": None, "n": 4}
    choice = {"type": "any", "disable_parallel_tool_use": True}
    body = {"messages": HELLO, "max_tokens": 200, "seed": 1, "tool_choice": choice, **fields}
    for made in server.post(CHAT, body).json()["choices"]:
        assert len(check_calls(made["message"])) == 1


def test_a_choice_without_tools(server: Live) -> None:
    wanted, _ = ask(server, tools=None, tool_choice=None, max_tokens=5)
    for choice in (*FREE, *NO):
        for tools in NO_TOOLS:
            assert ask(server, tools=tools, tool_choice=choice, max_tokens=5)[0] == wanted


def test_sloppy_schemas_for_the_content_are_read_and_nonsense_is_refused(server: Live) -> None:
    sloppy = {
        "type": "OBJECT",
        "properties": {"a": {"type": "BOOLEAN", "required": True}, "b": {"type": "NULL"}},
        "required": None,
        "additionalProperties": "false",
    }
    meant = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    for seed in range(3):
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": sloppy}}
        choice, _ = ask(server, response_format=wanted, tool_choice=None, seed=seed)
        jsonschema.validate(json.loads(choice["message"]["content"]), meant)
    nonsenses: list[dict[str, Any]] = [{"enum": []}, {"type": "nothing"}, {"pattern": "(a"}]
    for nonsense in nonsenses:
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": nonsense}}
        response = server.post(CHAT, {"messages": HELLO, "response_format": wanted})
        assert response.status_code == 400
        assert response.json()["error"]["param"].startswith("response_format.json_schema.schema")


@pytest.mark.parametrize("key", ["anyOf", "oneOf", "allOf", "$ref"])
def test_arguments_are_an_object_whatever_else_their_schema_takes(server: Live, key: str) -> None:
    either: dict[str, Any] = {"type": ["string", "object"], "maxLength": 3, "maxProperties": 0}
    nested = {"type": "object", "properties": {"city": CITY}, "additionalProperties": False}
    of_key: dict[str, Any] = {
        "anyOf": {"anyOf": [{"type": "string", "maxLength": 3}, nested]},
        "oneOf": {"oneOf": [{"type": "string", "maxLength": 3}, nested]},
        "allOf": {"allOf": [either]},
        "$ref": {"$ref": "#/$defs/either", "$defs": {"either": either}},
    }
    for seed in range(4):
        tool = {"type": "function", "function": {**BARE, "parameters": of_key[key]}}
        choice, warned = ask(server, tools=[tool], seed=seed)
        assert warned == ""
        (call,) = choice["message"]["tool_calls"]
        arguments = json.loads(call["function"]["arguments"])
        assert isinstance(arguments, dict)
        jsonschema.validate(arguments, of_key[key])
