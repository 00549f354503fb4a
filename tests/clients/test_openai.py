"""OpenAI's own SDK: chat, streams, `parse()`, a loop of tool calls, and errors as its classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.api.live import Live
from tests.clients.questions import (
    CAPITAL,
    EXTRACT,
    KEY,
    SERVED,
    TOO_LONG,
    WEATHER,
    WEATHER_TOOL,
    Person,
    Weather,
    weather_in,
)


@pytest.fixture
def client(server: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def refused(server: Live, key: str = KEY, **fields: Any) -> openai.APIStatusError:
    """The error that the SDK raises."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        request = {"model": SERVED, "messages": CAPITAL, "max_tokens": 1, **fields}
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(**request)
    return caught.value


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=SERVED, messages=CAPITAL, temperature=0)
    (choice,) = answer.choices
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert answer.id.startswith("gen-")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert client.models.list().data[0].id == answer.model == SERVED


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    fields: Any = {"model": SERVED, "messages": CAPITAL, "seed": 5, "max_tokens": 40}
    client.chat.completions.create(**fields)  # so that both find the prompt in the cache
    whole = client.chat.completions.create(**fields)
    chunks = list(
        client.chat.completions.create(
            **fields, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.usage for c in chunks if c.usage] == [whole.usage]
    assert chunks[0].choices[0].delta.role == "assistant"
    without = client.chat.completions.create(**fields, stream=True)
    assert not any(chunk.usage for chunk in without)


def test_a_seed_repeats_and_another_does_not(client: openai.OpenAI) -> None:
    def said(seed: int) -> tuple[str | None, str | None]:
        answer = client.chat.completions.create(
            model=SERVED, messages=CAPITAL, seed=seed, temperature=2, max_tokens=20
        )
        return answer.choices[0].message.content, answer.system_fingerprint

    assert said(1) == said(1) != said(2)


def test_logprobs(client: openai.OpenAI) -> None:
    (choice,) = client.chat.completions.create(
        model=SERVED,
        messages=CAPITAL,
        temperature=0,
        max_tokens=5,
        logprobs=True,
        top_logprobs=3,
    ).choices
    assert choice.logprobs is not None
    scored = choice.logprobs.content or []
    assert "".join(token.token for token in scored) == choice.message.content
    for token in scored:
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token  # the likeliest, at temperature 0
        assert token.logprob == token.top_logprobs[0].logprob <= 0


def test_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=SERVED, messages=CAPITAL, n=3, seed=1, temperature=1.5, max_tokens=12
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3


def test_stop_strings_are_not_shown(client: openai.OpenAI) -> None:
    (choice,) = client.chat.completions.create(
        model=SERVED, messages=CAPITAL, temperature=0, stop=[" Paris", "\n\n\n"]
    ).choices
    assert choice.message.content == "The capital of France is"
    assert choice.finish_reason == "stop"


def test_parse_returns_an_object(client: openai.OpenAI) -> None:
    (choice,) = client.chat.completions.parse(
        model=SERVED, messages=EXTRACT, response_format=Person, max_tokens=200, seed=1
    ).choices
    assert isinstance(choice.message.parsed, Person)
    assert choice.finish_reason == "stop"


def test_parse_says_when_the_object_is_cut_short(client: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model=SERVED, messages=EXTRACT, response_format=Person, max_tokens=3
        )


@pytest.mark.parametrize("temperature", [0, 2])
def test_json_mode_is_json(client: openai.OpenAI, temperature: float) -> None:
    (choice,) = client.chat.completions.create(
        model=SERVED,
        messages=[{"role": "user", "content": "Describe a cat as a short JSON object."}],
        response_format={"type": "json_object"},
        temperature=temperature,
        seed=4,
        max_tokens=400,
    ).choices
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content or ""), dict)
    else:
        assert (choice.message.content or "").startswith("{")


@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_of_tool_calls(client: openai.OpenAI, stream: bool) -> None:
    """A call is required and made, its result goes back, and an answer in words comes."""
    messages = list(WEATHER)
    fields: Any = {
        "model": SERVED,
        "tools": [WEATHER_TOOL],
        "parallel_tool_calls": False,
        "seed": 3,
        "max_tokens": 200,
    }
    if stream:
        with client.chat.completions.stream(
            messages=messages, tool_choice="required", **fields
        ) as events:
            choice: Any = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(
            messages=messages, tool_choice="required", **fields
        ).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    messages.append(choice.message.model_dump(exclude_none=True, exclude={"parsed"}))
    for call in choice.message.tool_calls:
        assert call.function.name == "get_weather"
        asked = Weather.model_validate_json(call.function.arguments)
        result = weather_in(asked.city, asked.unit)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    (answer,) = client.chat.completions.create(
        messages=messages, tool_choice="none", **fields
    ).choices
    assert answer.message.content
    assert not answer.message.tool_calls
    assert answer.finish_reason in ("stop", "length")


def test_a_named_function_is_the_one_called(client: openai.OpenAI) -> None:
    tools = [WEATHER_TOOL, openai.pydantic_function_tool(Person, name="note_person")]
    (choice,) = client.chat.completions.create(
        model=SERVED,
        messages=WEATHER,
        tools=tools,
        tool_choice={"type": "function", "function": {"name": "note_person"}},
        parallel_tool_calls=False,
        max_tokens=200,
        seed=1,
    ).choices
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "note_person"
    assert Person.model_validate_json(call.function.arguments)


def test_tool_deltas_make_the_call(client: openai.OpenAI) -> None:
    """The stream helper puts fragments together and parses them, event by event."""
    fragments = ""
    with client.chat.completions.stream(
        model=SERVED,
        messages=WEATHER,
        tools=[openai.pydantic_function_tool(Weather, name="get_weather")],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=200,
        seed=2,
    ) as events:
        kinds = []
        for event in events:
            kinds.append(event.type)
            if event.type == "tool_calls.function.arguments.delta":
                assert event.name == "get_weather"
                fragments += event.arguments_delta
        (call,) = events.get_final_completion().choices[0].message.tool_calls or []
    assert "tool_calls.function.arguments.done" in kinds
    assert fragments == call.function.arguments
    assert isinstance(call.function.parsed_arguments, Weather)
    assert len(call.id) == 9


def test_a_wrong_value_is_a_bad_request(guarded: Live) -> None:
    error = refused(guarded, temperature=7)
    assert isinstance(error, openai.BadRequestError)
    assert error.param == "temperature"


def test_a_long_prompt_is_a_bad_request_with_its_code(guarded: Live) -> None:
    error = refused(guarded, messages=TOO_LONG)
    assert isinstance(error, openai.BadRequestError)
    assert error.code == "context_length_exceeded"
    assert "maximum context length is 512 tokens" in error.message


def test_an_unknown_model_is_not_found(guarded: Live) -> None:
    error = refused(guarded, model="gpt-4o")
    assert isinstance(error, openai.NotFoundError)
    assert error.code == "model_not_found"
    assert SERVED in error.message


def test_a_wrong_key_is_no_authentication(guarded: Live) -> None:
    assert isinstance(refused(guarded, key="another"), openai.AuthenticationError)
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=KEY) as client:
        assert client.chat.completions.create(model=SERVED, messages=CAPITAL, max_tokens=1)
