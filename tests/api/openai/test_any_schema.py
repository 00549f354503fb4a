"""Whatever schema a request has: a valid answer, or an error; never an invalid answer."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.live import HELLO, Live
from tests.support import odd_values
from tests.support.odd_values import as_received

WARNING = "x-cierzo-warning"

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
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def answered(server: Live, **fields: Any) -> tuple[int, dict[str, Any] | None, str]:
    """The status, the first choice if there is an answer, and what the server warns of.

    A refusal is in words.
    """
    body = {"messages": HELLO, "max_tokens": 80, **fields}
    data = json.dumps(body).encode()  # halves of pairs can only be sent escaped
    with server.client() as client:
        response = client.post("/v1/chat/completions", content=data)
    assert response.status_code in (200, 400, 422), response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]
        return response.status_code, None, ""
    choice: dict[str, Any] = response.json()["choices"][0]
    return 200, choice, response.headers.get(WARNING, "")


def formatted(server: Live, schema: Any, **fields: Any) -> tuple[int, str | None]:
    """The status, and the content if it is a whole one."""
    form = {"type": "json_schema", "json_schema": {"name": "any", "schema": schema}}
    status, choice, _ = answered(server, response_format=form, **fields)
    if choice is None or choice["finish_reason"] != "stop":
        return status, None
    return status, choice["message"]["content"]


def called(
    server: Live, parameters: Any, *, strict: bool | None, named: bool, **fields: Any
) -> tuple[int, str | None]:
    """The status, and the arguments of the call if they are whole.

    Where the header says that arguments are held to an object only, they are one, and left out.
    """
    function: dict[str, Any] = {"name": "f", "parameters": parameters}
    if strict is not None:
        function["strict"] = strict
    choice = {"type": "function", "function": {"name": "f"}} if named else "required"
    tools = {"tools": [{"type": "function", "function": function}], "tool_choice": choice}
    status, answer, warning = answered(server, **tools, parallel_tool_calls=False, **fields)
    if answer is None or answer["finish_reason"] not in ("tool_calls", "stop"):
        return status, None
    (call,) = answer["message"]["tool_calls"]
    text: str = call["function"]["arguments"]
    if warning:
        assert "tools[0].function" in warning
        assert not strict
        assert isinstance(json.loads(text), dict)
        return status, None
    return status, text


def is_valid(schema: Any, text: str) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(json.loads(text)))


def holding(properties: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the first of the properties required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties)[:1],
        "additionalProperties": False,
    }


strictness = st.sampled_from([True, False, None])


@many
@given(schemas | odd_values.schemas, st.integers(0, 99))
def test_any_response_format(server: Live, schema: dict[str, Any], seed: int) -> None:
    _, text = formatted(server, schema, seed=seed)
    assert text is None or is_valid(schema, text), text


@many
@given(
    st.dictionaries(names | odd_values.texts, schemas | odd_values.schemas, min_size=1, max_size=3),
    st.integers(0, 99),
    strictness,
    st.booleans(),
)
def test_any_parameters_of_a_tool(
    server: Live, properties: dict[str, Any], seed: int, strict: bool | None, named: bool
) -> None:
    parameters = holding(properties)
    _, text = called(server, parameters, strict=strict, named=named, seed=seed)
    assert text is None or is_valid(parameters, text), text


@many
@given(odd_values.values_with_halves, st.booleans())
def test_a_known_value_is_given_whatever_it_is(server: Live, value: Any, listed: bool) -> None:
    """With what stands in place of halves of pairs, which no text can have."""
    schema = {"enum": [value]} if listed else {"const": value}
    status, text = formatted(server, schema, max_tokens=2_000)
    assert status == 200
    assert text is not None
    assert is_valid(as_received(schema), text), text


@many
@given(
    st.dictionaries(odd_values.halved, odd_values.values_with_halves, min_size=1, max_size=2),
    strictness,
    st.booleans(),
)
def test_known_arguments_are_given_whatever_they_are(
    server: Live, value: dict[str, Any], strict: bool | None, named: bool
) -> None:
    parameters = holding({name: {"const": part} for name, part in value.items()})
    parameters["required"] = list(value)
    how: dict[str, Any] = {"strict": strict, "named": named, "max_tokens": 2_000}
    status, text = called(server, parameters, **how)
    assert status == 200
    assert text is not None
    assert is_valid({"const": as_received(value)}, text), text


def test_a_tool_that_nothing_fits_is_told_apart(server: Live) -> None:
    """Its schema contradicts itself: that is said in words, and refused if the tool is strict."""
    parameters = holding({"a": {"oneOf": [{"const": None}, {"const": None}]}})
    assert called(server, parameters, strict=True, named=False) == (400, None)
    function = {"name": "f", "parameters": parameters}
    tools = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    status, _, warning = answered(server, **tools)
    assert status == 200
    assert "tools[0].function.parameters.properties.a: no value can be valid" in warning


def test_the_server_is_well_after_all_this(server: Live) -> None:
    server.until_idle()
    assert server.health() == (200, "ready")
    assert [line for line in server.lines if "Traceback" in line] == []
