"""OpenRouter's own SDK: what it validates of answers, costs, models and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openrouter import OpenRouter, components, errors

from tests.api.live import Live
from tests.clients.questions import (
    CAPITAL,
    COMPLETION_PRICE,
    EXTRACT,
    KEY,
    PROMPT_PRICE,
    ROUTED,
    TOO_LONG,
    WEATHER,
    WEATHER_TOOL,
    Person,
    Weather,
)


@pytest.fixture
def client(server: Live) -> Iterator[OpenRouter]:
    with OpenRouter(api_key="none", server_url=f"{server.url}/api/v1") as client:
        yield client


def test_chat_with_its_cost(client: OpenRouter) -> None:
    answer = client.chat.send(model=ROUTED, messages=CAPITAL, temperature=0)
    (choice,) = answer.choices
    assert "Paris" in str(choice.message.content)
    assert choice.finish_reason == "stop"
    usage = answer.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    price = PROMPT_PRICE * usage.prompt_tokens + COMPLETION_PRICE * usage.completion_tokens
    assert usage.cost == pytest.approx(price)


def test_a_stream_says_the_same_and_ends_with_usage(client: OpenRouter) -> None:
    fields: Any = {"model": ROUTED, "messages": CAPITAL, "seed": 5, "max_tokens": 40}
    client.chat.send(**fields)  # so that both find the prompt in the cache
    whole = client.chat.send(**fields)
    chunks = list(client.chat.send(**fields, stream=True))
    text = "".join(str(c.choices[0].delta.content or "") for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_its_models_validate(client: OpenRouter) -> None:
    listed = client.models.list()
    assert listed is not None
    models = {model.id: model for model in listed.result.data}
    assert ROUTED in models
    model = models[ROUTED]
    assert model.context_length
    assert float(model.pricing.prompt) == PROMPT_PRICE
    assert float(model.pricing.completion) == COMPLETION_PRICE
    assert {"tools", "response_format", "seed"} <= set(model.supported_parameters)


def test_endpoints_of_a_model(client: OpenRouter) -> None:
    author, slug = ROUTED.split("/")
    listed = client.endpoints.list(author=author, slug=slug)
    (endpoint,) = listed.data.endpoints
    assert endpoint.context_length
    assert "tools" in endpoint.supported_parameters


def test_a_tool_is_called(client: OpenRouter) -> None:
    answer = client.chat.send(
        model=ROUTED,
        messages=WEATHER,
        tools=[WEATHER_TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        seed=1,
        max_tokens=200,
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    for call in choice.message.tool_calls or []:
        assert Weather.model_validate_json(call.function.arguments)
    assert choice.message.tool_calls


def test_structured_output(client: OpenRouter) -> None:
    schema = components.ChatJSONSchemaConfig(
        name="person", strict=True, schema_=Person.model_json_schema()
    )
    answer = client.chat.send(
        model=ROUTED,
        messages=EXTRACT,
        response_format=components.ChatFormatJSONSchemaConfig(
            type="json_schema", json_schema=schema
        ),
        seed=1,
        max_tokens=200,
    )
    assert Person.model_validate_json(str(answer.choices[0].message.content))


def test_errors_are_its_classes(guarded: Live) -> None:
    with OpenRouter(api_key=KEY, server_url=f"{guarded.url}/api/v1") as client:
        for fields in ({"temperature": 7}, {"model": "openai/gpt-4o"}, {"messages": TOO_LONG}):
            request = {"model": ROUTED, "messages": CAPITAL, **fields}
            with pytest.raises(errors.BadRequestResponseError) as caught:
                client.chat.send(**request)
            assert caught.value.data.error.code == 400
    with (
        OpenRouter(api_key="another", server_url=f"{guarded.url}/api/v1") as client,
        pytest.raises(errors.UnauthorizedResponseError),
    ):
        client.chat.send(model=ROUTED, messages=CAPITAL)
