"""litellm, through which OpenHands, mini-swe-agent and SWE-agent speak: both of its providers."""

from __future__ import annotations

from typing import Any

import litellm
import pytest

from tests.api.live import Live
from tests.clients.questions import (
    CAPITAL,
    COMPLETION_PRICE,
    EXTRACT,
    KEY,
    PROMPT_PRICE,
    ROUTED,
    SERVED,
    TOO_LONG,
    WEATHER,
    WEATHER_TOOL,
    Person,
    Weather,
)

PROVIDERS = {
    "openai": (f"openai/{SERVED}", "/v1"),
    "openrouter": (f"openrouter/{ROUTED}", "/api/v1"),
}
provider = pytest.mark.parametrize("name", list(PROVIDERS))


def complete(server: Live, name: str, **fields: Any) -> Any:
    model, path = PROVIDERS[name]
    fields = {"api_key": "none", "num_retries": 0, **fields}
    return litellm.completion(model=model, api_base=server.url + path, **fields)


@provider
def test_chat(server: Live, name: str) -> None:
    answer = complete(server, name, messages=CAPITAL, temperature=0)
    (choice,) = answer.choices
    assert "Paris" in choice.message.content
    assert choice.finish_reason == "stop"
    assert answer.usage.completion_tokens > 0


def test_openrouter_s_cost_is_read(server: Live) -> None:
    answer = complete(server, "openrouter", messages=CAPITAL, max_tokens=4)
    usage = answer.usage
    price = PROMPT_PRICE * usage.prompt_tokens + COMPLETION_PRICE * usage.completion_tokens
    assert usage.cost == pytest.approx(price)


@provider
def test_a_stream_says_the_same(server: Live, name: str) -> None:
    fields: Any = {"messages": CAPITAL, "seed": 5, "max_tokens": 40}
    whole = complete(server, name, **fields)
    chunks = list(
        complete(server, name, **fields, stream=True, stream_options={"include_usage": True})
    )
    built = litellm.stream_chunk_builder(chunks, messages=CAPITAL)
    assert built.choices[0].message.content == whole.choices[0].message.content
    assert built.usage.total_tokens == whole.usage.total_tokens


@provider
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_taken(server: Live, name: str, stream: bool) -> None:
    fields: Any = {
        "tools": [WEATHER_TOOL],
        "parallel_tool_calls": False,
        "seed": 1,
        "max_tokens": 200,
    }
    answer = complete(
        server, name, messages=WEATHER, tool_choice="required", stream=stream, **fields
    )
    if stream:
        answer = litellm.stream_chunk_builder(list(answer), messages=WEATHER)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert calls
    messages = [*WEATHER, choice.message.model_dump()]
    for call in calls:
        assert call.function.name == "get_weather"
        assert Weather.model_validate_json(call.function.arguments)
        # As OpenHands writes it: with the tool's name, and content as parts.
        messages.append(
            {
                "role": "tool",
                "tool_call_id": call.id,
                "name": call.function.name,
                "content": [{"type": "text", "text": "Sunny."}],
            }
        )
    after = complete(server, name, messages=messages, tool_choice="none", **fields)
    assert after.choices[0].message.content
    assert not after.choices[0].message.tool_calls


@provider
def test_a_response_format_is_kept(server: Live, name: str) -> None:
    answer = complete(
        server, name, messages=EXTRACT, response_format=Person, seed=1, max_tokens=200
    )
    assert Person.model_validate_json(answer.choices[0].message.content)


def test_a_long_prompt_is_its_context_error(guarded: Live) -> None:
    with pytest.raises(litellm.ContextWindowExceededError):
        complete(guarded, "openai", messages=TOO_LONG, api_key=KEY)


def test_a_long_prompt_says_so_to_openrouter_s_clients(guarded: Live) -> None:
    """litellm makes every 400 of OpenRouter's a BadRequestError; agents then match the words."""
    with pytest.raises(litellm.BadRequestError, match=r"maximum context length is 512 tokens"):
        complete(guarded, "openrouter", messages=TOO_LONG, api_key=KEY)


@provider
def test_a_wrong_key_is_its_authentication_error(guarded: Live, name: str) -> None:
    with pytest.raises(litellm.AuthenticationError):
        complete(guarded, name, messages=CAPITAL, api_key="another")
