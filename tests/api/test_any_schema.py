"""Whatever schema a request has: a valid answer, or an error; never an invalid answer."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.live import HELLO, Live

names = st.sampled_from(["a", "b", "c"])
constants = st.none() | st.booleans() | st.integers(-3, 9) | st.sampled_from(["", "x", "y z"])
small = st.integers(0, 4)
plain = st.one_of(
    st.fixed_dictionaries({"enum": st.lists(constants, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"const": constants}),
    st.fixed_dictionaries({"type": st.sampled_from(["boolean", "null"])}),
    st.fixed_dictionaries(
        {"type": st.just("integer"), "minimum": st.integers(-9, 3), "maximum": st.integers(0, 99)},
        optional={"multipleOf": st.sampled_from([2, 5])},
    ),
    st.fixed_dictionaries(
        {"type": st.just("string"), "maxLength": small},
        optional={"minLength": small, "pattern": st.sampled_from(["^[ab]*$", "c", "^x?y{1,2}$"])},
    ),
)


def _combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.dictionaries(names, inner, max_size=3),
                "additionalProperties": st.just(False),
            },
            optional={
                "required": st.lists(names, max_size=2, unique=True),
                "minProperties": st.integers(0, 2),
                "maxProperties": st.integers(1, 3),
                "dependentRequired": st.dictionaries(names, st.lists(names, max_size=1)),
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner, "maxItems": st.integers(0, 3)},
            optional={
                "minItems": st.integers(0, 3),
                "uniqueItems": st.booleans(),
                "contains": inner,
                "prefixItems": several,
            },
        ),
        st.fixed_dictionaries({"anyOf": several}),
        st.fixed_dictionaries({"oneOf": several}),
        st.fixed_dictionaries({"allOf": several}),
        st.builds(lambda wide, narrow: {**wide, "not": narrow}, plain, inner),
        st.fixed_dictionaries(
            {"if": inner, "then": inner, "else": inner, "type": st.just("integer")}
        ),
    )


schemas = st.recursive(plain, _combined, max_leaves=6)
many = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def answered(server: Live, body: dict[str, Any]) -> dict[str, Any] | None:
    """The first choice; None where the request was refused, or no answer was found, in words."""
    response = server.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 80, **body})
    assert response.status_code in (200, 400, 422), response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]
        return None
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


@many
@given(schemas, st.integers(0, 99))
def test_any_response_format(server: Live, schema: dict[str, Any], seed: int) -> None:
    format = {"type": "json_schema", "json_schema": {"name": "any", "schema": schema}}
    choice = answered(server, {"response_format": format, "seed": seed})
    if choice is not None and choice["finish_reason"] == "stop":
        value = json.loads(choice["message"]["content"])
        jsonschema.Draft202012Validator(schema).validate(value)


@many
@given(st.dictionaries(names, schemas, min_size=1, max_size=3), st.integers(0, 99))
def test_any_parameters_of_a_tool(server: Live, properties: dict[str, Any], seed: int) -> None:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties)[:1],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    body = {"tools": [tool], "tool_choice": "required", "parallel_tool_calls": False}
    choice = answered(server, {**body, "seed": seed})
    if choice is not None and choice["finish_reason"] == "tool_calls":
        (call,) = choice["message"]["tool_calls"]
        arguments = json.loads(call["function"]["arguments"])
        jsonschema.Draft202012Validator(parameters).validate(arguments)


def test_the_server_is_well_after_all_this(server: Live) -> None:
    server.until_idle()
    assert server.health() == (200, "ready")
    assert [line for line in server.lines if "Traceback" in line] == []
