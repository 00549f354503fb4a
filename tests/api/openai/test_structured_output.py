"""JSON answers over HTTP: valid under their schema, or an error in words."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from pydantic import BaseModel

from tests.api.live import HELLO, Live
from tests.api.openrouter import conforms
from tests.api.tools import PICK, check_calls, joined, stream

CHAT = "/v1/chat/completions"
POINT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "x": {"type": "integer", "minimum": 0, "maximum": 999},
        "tag": {"enum": ["a", "b"]},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["x", "tag", "flags"],
    "additionalProperties": False,
}
# Masks alone leave these open: the values are verified, and searched again.
DISTINCT: dict[str, Any] = {
    "type": "array",
    "items": {"enum": [1, 2, 3, 4]},
    "minItems": 4,
    "maxItems": 4,
    "uniqueItems": True,
}


def wanted(schema: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    """`response_format` for a schema."""
    named = {"name": "thing", **({} if schema is None else {"schema": schema}), **fields}
    return {"type": "json_schema", "json_schema": named}


def ask(server: Live, **fields: Any) -> dict[str, Any]:
    response = server.post(CHAT, {"messages": HELLO, "max_tokens": 300, **fields})
    assert response.status_code == 200, response.text
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


@pytest.mark.parametrize("schema", [POINT, DISTINCT], ids=["by mask", "verified"])
@pytest.mark.parametrize("extra", [{}, {"strict": True}, {"strict": False}, {"strict": None}])
@pytest.mark.parametrize("seed", range(3))
def test_a_schema_is_kept_strict_or_not(
    server: Live, schema: dict[str, Any], extra: dict[str, Any], seed: int
) -> None:
    body = {"messages": HELLO, "response_format": wanted(schema, **extra), "seed": seed}
    body |= {"max_tokens": 300, "structured_outputs": True}
    answer = server.post("/api" + CHAT, body).json()
    conforms("ChatResult", answer)
    (choice,) = answer["choices"]
    value = json.loads(choice["message"]["content"])
    jsonschema.validate(value, schema)
    assert choice["finish_reason"] == "stop"
    put = joined(stream(server, body))
    assert put["message"]["content"] == choice["message"]["content"]


@pytest.mark.parametrize(
    "format", [{"type": "json_object"}, wanted(None)], ids=["json_object", "no schema"]
)
def test_json_object_gives_an_object(server: Live, format: dict[str, Any]) -> None:
    """A random model's object rarely ends by itself: its beginning is shown to be one."""
    text = ask(server, response_format=format, max_tokens=40, seed=1)["message"]["content"]
    assert text.startswith("{")
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text + " \x00")
    assert caught.value.pos >= len(text.rstrip("\\")) - 12


def test_text_is_free(server: Live) -> None:
    plain = ask(server, seed=4, max_tokens=20)
    assert ask(server, seed=4, max_tokens=20, response_format={"type": "text"}) == plain


def test_length_wins_inside_a_value(server: Live) -> None:
    choice = ask(server, response_format=wanted(POINT), max_tokens=3)
    assert choice["finish_reason"] == "length"


def test_choices_are_each_valid(server: Live) -> None:
    body = {"messages": HELLO, "response_format": wanted(DISTINCT), "n": 6, "max_tokens": 300}
    choices = server.post(CHAT, body).json()["choices"]
    values = [json.loads(choice["message"]["content"]) for choice in choices]
    assert all(sorted(value) == [1, 2, 3, 4] for value in values)
    assert len({str(value) for value in values}) > 1


def test_logprobs_are_those_of_the_answer_that_was_kept(server: Live) -> None:
    """What a search took back is in neither."""
    body = {"messages": HELLO, "response_format": wanted(DISTINCT), "logprobs": True, "seed": 2}
    (choice,) = server.post(CHAT, body).json()["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]


def test_tools_and_a_schema_together(server: Live) -> None:
    """The answer is the one or the other."""
    for seed in range(4):
        fields: dict[str, Any] = {"tools": [PICK], "response_format": wanted(POINT)}
        choice = ask(server, **fields, seed=seed, max_tokens=600)
        if choice["finish_reason"] == "tool_calls":
            assert check_calls(choice["message"])
        elif choice["finish_reason"] == "stop":
            jsonschema.validate(json.loads(choice["message"]["content"]), POINT)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"const": "\x07bell\x7f\x00\x85\u2028\U0001f600"}, None),
        ({"enum": [9007199254740993]}, "9007199254740993"),
        ({"const": 12345678901234567890}, "12345678901234567890"),
        ({"const": 1.5e300}, "1.5e+300"),
        ({"const": -5e-324}, "-5e-324"),
        ({"const": {"\x00": [-0.0, 1e22, "\x1f"]}}, None),
        ({"const": 19.99, "multipleOf": 0.01}, "19.99"),
        ({"type": "number", "multipleOf": 0.01, "minimum": 1.11, "maximum": 1.11}, "1.11"),
        ({"type": "number", "multipleOf": 0.01, "enum": [4.025, 4.02]}, "4.02"),
        ({"type": "integer", "minimum": 2**63 - 1, "maximum": 2**63 - 1}, "9223372036854775807"),
        ({"type": "integer", "exclusiveMinimum": 2**64, "maximum": 2**64 + 1}, str(2**64 + 1)),
        ({"type": "string", "pattern": "^\x07$"}, '"\\u0007"'),
        ({"type": "string", "pattern": "^\\x00\\x7f$"}, '"\\u0000\x7f"'),
    ],
)
def test_the_only_value_is_found_whatever_it_is(
    server: Live, schema: dict[str, Any], text: str | None
) -> None:
    choice = ask(server, response_format=wanted(schema), max_tokens=600)
    assert choice["finish_reason"] == "stop"
    wanted_text = text or json.dumps(schema["const"], ensure_ascii=False)
    assert choice["message"]["content"] == wanted_text


FIXED = {"first name": ["a, b", "STOP", {"end.": "\n"}], "n": 10}


@pytest.mark.parametrize(
    "stop",
    [*(",", "STOP", "first name", '"end."', "}", "10}", "{", "\\n"), ["]", "10", '"a', "zz", " "]],
    ids=str,
)
def test_no_stop_string_cuts_a_json_value(server: Live, stop: str | list[str]) -> None:
    """Within a string or a key, in between, at the very beginning or end."""
    body = {"response_format": wanted({"const": FIXED}), "stop": stop, "seed": 1, "n": 2}
    body |= {"messages": HELLO, "max_tokens": 300}
    text = json.dumps(FIXED)
    for path in ("/v1", "/api/v1"):
        response = server.post(f"{path}/chat/completions", body)
        chunks = stream(server, body, path)
        for index, choice in enumerate(response.json()["choices"]):
            for got in (choice, joined(chunks, index)):
                assert (got["message"]["content"], got["finish_reason"]) == (text, "stop")


@pytest.mark.parametrize("form", [{"type": "json_object"}, wanted(POINT), POINT])
@pytest.mark.parametrize("fields", [{}, {"structured_outputs": True}, {"tools": [PICK]}])
def test_stop_strings_change_nothing_under_a_format(
    server: Live, form: dict[str, Any], fields: dict[str, Any]
) -> None:
    for seed in range(2):
        body = {"response_format": form, "seed": seed, "max_tokens": 60, **fields}
        free = ask(server, **body)
        assert ask(server, **body, stop=["{", '"', ":", "e", "1"]) == free


def test_a_beginning_is_continued_within_the_schema(server: Live) -> None:
    messages = [*HELLO, {"role": "assistant", "content": '{"x": 4'}]
    body = {"messages": messages, "response_format": wanted(POINT), "max_tokens": 300}
    text = server.post(CHAT, body).json()["choices"][0]["message"]["content"]
    jsonschema.validate(json.loads('{"x": 4' + text), POINT)
    messages[-1] = {"role": "assistant", "content": "Here it is:"}
    refused = server.post(CHAT, {**body, "messages": messages})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "messages"


def test_an_answer_that_cannot_be_found_is_an_error(server: Live) -> None:
    """No array of these numbers keeps to the `not`, which masks know nothing of."""
    hopeless = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 99_999},
        "minItems": 3,
        "maxItems": 3,
        "not": {"items": {"maximum": 100_000}},
    }
    for path, stream_it in ((CHAT, False), (CHAT, True), ("/api" + CHAT, False)):
        body = {"messages": HELLO, "response_format": wanted(hopeless), "stream": stream_it}
        response = server.post(path, {**body, "max_tokens": 300})
        error = error_of(response)
        assert error["message"]
        if path.startswith("/api"):
            assert error["code"] == response.status_code


def error_of(response: httpx.Response) -> dict[str, Any]:
    """What an answer says is wrong: a stream whose search took a second has begun as a 200."""
    is_stream = response.headers["content-type"].startswith("text/event-stream")
    assert response.status_code == 200 if is_stream else response.status_code in (400, 422)
    if is_stream:
        events = [line for line in response.text.splitlines() if line.startswith("data: {")]
        return dict(json.loads(events[-1].removeprefix("data: "))["error"])
    return dict(response.json()["error"])


A = "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"type": "string", "pattern": "(a"}, f"{A}.pattern"),
        ({"type": "nothing"}, f"{A}.type"),
        ({"enum": list(range(60_000))}, f"{A}.enum"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, A),
        ({"$ref": "https://example.org/schema.json"}, A),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, A),
        (
            {
                "$defs": {
                    "a": {
                        "type": "object",
                        "required": ["b"],
                        "properties": {"b": {"$ref": "#/$defs/a"}},
                    }
                },
                "$ref": "#/$defs/a",
            },
            A,
        ),
    ],
    ids=lambda value: value.rpartition(".")[2] if isinstance(value, str) else "",
)
def test_schemas_that_cannot_be_served_are_refused(
    server: Live, schema: dict[str, Any], param: str
) -> None:
    response = server.post(CHAT, {"messages": HELLO, "response_format": wanted(schema)})
    assert response.status_code == 400, response.text
    shown = response.json()["error"]["param"]
    assert shown == param or shown.startswith(f"{A}")


@pytest.mark.parametrize(
    ("format", "param"),
    [
        ({"type": "grammar", "grammar": "start: x"}, "response_format.type"),
        ({"type": "python"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "schema": 1}, "response_format.schema"),
        ({"type": "json_object", "schema": []}, "response_format.schema"),
        ("xml", "response_format"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": []}}, A),
        (wanted({"const": "c" * 1_100_000}), "response_format"),
    ],
)
def test_formats_that_are_none_are_named(server: Live, format: Any, param: str) -> None:
    response = server.post(CHAT, {"messages": HELLO, "response_format": format})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


NAMED = {"name": "n" * 65, "description": "A point", "more": 1, "schema": POINT}


@pytest.mark.parametrize(
    ("form", "same"),
    [
        ({"type": "json_schema", "json_schema": {"schema": POINT}}, wanted(POINT)),
        ({"type": "json_schema", "json_schema": NAMED}, wanted(POINT)),
        ({"type": "json_schema", "json_schema": POINT}, wanted(POINT)),
        ({"type": "json_schema", "name": "point", "schema": POINT}, wanted(POINT)),
        ({"type": "json_object", "schema": POINT}, wanted(POINT)),
        (POINT, wanted(POINT)),
        ("json_object", {"type": "json_object"}),
        ("json", {"type": "json_object"}),
        ({"type": "json_schema", "json_schema": {"strict": True}}, {"type": "json_object"}),
        ("text", None),
        ({"type": "text", "more": 1}, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_format_is_taken_in_every_form_that_says_it(server: Live, form: Any, same: Any) -> None:
    fields: dict[str, Any] = {"seed": 6, "max_tokens": 30}
    assert ask(server, response_format=form, **fields) == ask(
        server, response_format=same, **fields
    )


class Wind(BaseModel):
    """What the official client asks for and parses."""

    name: str
    strong: bool
    gusts: list[int]


def test_the_official_client_parses_its_own_models(server: Live) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        for seed in range(8):
            try:
                answer = client.chat.completions.parse(
                    model="tiny",
                    messages=HELLO,
                    response_format=Wind,
                    seed=seed,
                    max_tokens=800,
                    logit_bias={},
                )
            except openai.LengthFinishReasonError:
                continue  # a random model need not end its string
            assert isinstance(answer.choices[0].message.parsed, Wind)
            return
    pytest.fail("no answer ended")
