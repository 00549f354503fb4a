"""What `/models` says of the model and its endpoint is so, shown by its answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cierzo.api.openai.models import SUPPORTED_PARAMETERS
from tests.api.live import HELLO, Live, start
from tests.api.openrouter import parameter_names
from tests.api.tools import TOOLS

BASE: dict[str, Any] = {"messages": HELLO, "max_tokens": 24, "seed": 7, "temperature": 0.9}
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
CALLS = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 600}
# For each parameter: what is sent besides BASE, and what is sent in addition to see it work.
EFFECTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "temperature": ({}, {"temperature": 0}),
    "top_p": ({}, {"top_p": 0.01}),
    "top_k": ({}, {"top_k": 1}),
    "min_p": ({}, {"min_p": 1}),
    "top_a": ({}, {"top_a": 1}),
    "frequency_penalty": ({"temperature": 0, "max_tokens": 100}, {"frequency_penalty": 2}),
    "presence_penalty": ({"temperature": 0, "max_tokens": 100}, {"presence_penalty": 2}),
    "repetition_penalty": ({"temperature": 0, "max_tokens": 100}, {"repetition_penalty": 2}),
    "max_tokens": ({}, {"max_tokens": 3}),
    "max_completion_tokens": ({}, {"max_completion_tokens": 3}),
    "logit_bias": ({}, {"logit_bias": {"40": 100}}),
    "logprobs": ({}, {"logprobs": True}),
    "top_logprobs": ({"logprobs": True}, {"top_logprobs": 2}),
    "seed": ({}, {"seed": 8}),
    "stop": ({"logit_bias": {"40": 100}}, {"stop": "FF"}),
    "response_format": ({}, {"response_format": FORM}),
    "structured_outputs": ({}, {"structured_outputs": {"json": SCHEMA}}),
    "tools": ({}, {"tools": TOOLS}),
    "tool_choice": ({"tools": TOOLS}, {"tool_choice": "required", "max_tokens": 600}),
    "parallel_tool_calls": ({**CALLS, "seed": 1, "n": 8}, {"parallel_tool_calls": False}),
}


def said(server: Live) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model, and the one endpoint that serves it."""
    with server.client() as client:
        model = client.get("/api/v1/models").json()["data"][0]
        found = client.get(model["links"]["details"]).json()["data"]
    (endpoint,) = found["endpoints"]
    return model, endpoint


def answered(server: Live, fields: dict[str, Any]) -> dict[str, Any]:
    response = server.post("/api/v1/chat/completions", {**BASE, **fields})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.parametrize("name", EFFECTS)
def test_every_parameter_that_is_named_changes_the_answer(server: Live, name: str) -> None:
    without, with_it = EFFECTS[name]
    assert name in with_it
    plain, changed = (answered(server, f) for f in (without, {**without, **with_it}))
    assert plain["choices"] != changed["choices"]


def test_all_that_change_the_answer_are_named(server: Live) -> None:
    model, endpoint = said(server)
    assert set(model["supported_parameters"]) == set(EFFECTS) == set(SUPPORTED_PARAMETERS)
    assert endpoint["supported_parameters"] == model["supported_parameters"]
    # OpenRouter's other words ask for what is not done here: they are refused, or without effect.
    others = parameter_names() - set(EFFECTS)
    plain = answered(server, {})["choices"]
    for name in sorted(others):
        response = server.post("/api/v1/chat/completions", {**BASE, name: {"enabled": True}})
        assert response.status_code == 400 or response.json()["choices"] == plain, name


def test_the_defaults_are_those_that_hold_where_nothing_is_said(server: Live) -> None:
    model, _ = said(server)
    defaults = {k: v for k, v in model["default_parameters"].items() if v is not None}
    assert "temperature" in defaults
    bare = {"messages": HELLO, "max_tokens": 24, "seed": 7}
    one, other = (server.chat(**{**bare, **f}).json()["choices"] for f in ({}, defaults))
    assert one == other


def test_caching_is_promised_if_a_prompt_is_not_computed_twice(server: Live) -> None:
    _, endpoint = said(server)
    long = {"messages": [{"role": "user", "content": "The wind of the Ebro valley. " * 40}]}
    for _ in range(2):
        usage = answered(server, {**long, "max_tokens": 1})["usage"]
    found = usage["prompt_tokens_details"]["cached_tokens"] > 0
    assert endpoint["supports_implicit_caching"] is found


def test_what_it_costs_is_what_is_charged(server: Live) -> None:
    model, endpoint = said(server)
    usage = answered(server, {})["usage"]
    for pricing in (model["pricing"], endpoint["pricing"]):
        cost = usage["prompt_tokens"] * float(pricing["prompt"])
        cost += usage["completion_tokens"] * float(pricing["completion"])
        assert usage["cost"] == pytest.approx(cost)


def test_the_context_is_as_long_as_it_says(model: Path) -> None:
    with start(model, engine__max_model_len=512) as server:
        _context_is_as_it_says(server)


def _context_is_as_it_says(server: Live) -> None:
    model, endpoint = said(server)
    length = model["context_length"]
    assert endpoint["context_length"] == length == model["max_model_len"]
    most = endpoint["max_prompt_tokens"]
    fits = server.post("/v1/completions", {"prompt": [40] * most, "max_tokens": 1})
    assert fits.status_code == 200, fits.text
    assert fits.json()["usage"]["total_tokens"] == length
    beyond = server.post("/v1/completions", {"prompt": [40] * (most + 1), "max_tokens": 1})
    assert beyond.json()["error"]["code"] == "context_length_exceeded"


def test_the_weights_are_stored_as_it_says(server: Live) -> None:
    model, endpoint = said(server)
    assert model["quantization"] == endpoint["quantization"] == "int8"  # the file is Q8_0


def test_each_form_of_tool_choice_is_honoured(server: Live) -> None:
    _, endpoint = said(server)
    forms: dict[str, Any] = {
        "none": "none",
        "auto": "auto",
        "required": "required",
        "function": {"type": "function", "function": {"name": "pick"}},
    }
    assert endpoint["supports_tool_choice"] == dict.fromkeys(forms, True)
    for name, form in forms.items():
        (choice,) = answered(server, {**CALLS, "tool_choice": form})["choices"]
        calls = choice["message"].get("tool_calls", [])
        if name in ("required", "function"):
            assert calls
        if name == "none":
            assert not calls
        assert all(json.loads(call["function"]["arguments"]) is not None for call in calls)
