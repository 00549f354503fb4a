"""langchain-openai: ChatOpenAI with tools, structured output and streams."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.api.live import Live
from tests.clients.questions import CAPITAL, INTRODUCTION, SERVED, Person, weather_in

QUESTION = CAPITAL[0]["content"]


def chat(server: Live, **fields: Any) -> ChatOpenAI:
    fields = {"max_retries": 0, "max_tokens": 200, "seed": 1, "temperature": 0, **fields}
    return ChatOpenAI(model=SERVED, base_url=f"{server.url}/v1", api_key="none", **fields)


@tool
def get_weather(city: Literal["Paris", "Zaragoza"], unit: Literal["celsius", "fahrenheit"]) -> str:
    """Says what the weather is like in a city."""
    return weather_in(city, unit)


def test_chat(server: Live) -> None:
    answer = chat(server).invoke(QUESTION)
    assert "Paris" in str(answer.content)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"


def test_a_stream_says_the_same(server: Live) -> None:
    model = chat(server, temperature=1, stream_usage=True)
    model.invoke(QUESTION)  # so that both find as much in the cache
    whole = model.invoke(QUESTION)
    built: Any = None
    for chunk in model.stream(QUESTION):
        built = chunk if built is None else built + chunk
    assert built.content == whole.content
    assert built.usage_metadata == whole.usage_metadata


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answers(server: Live, stream: bool) -> None:
    model = chat(server)
    bound = model.bind_tools(
        [get_weather], tool_choice="required", parallel_tool_calls=False, strict=True
    )
    asked = HumanMessage("What is the weather in Paris?")
    if stream:
        built: Any = None
        for chunk in bound.stream([asked]):
            built = chunk if built is None else built + chunk
        called = built
    else:
        called = bound.invoke([asked])
    assert isinstance(called, AIMessage)
    assert called.tool_calls
    assert not called.invalid_tool_calls
    results = [get_weather.invoke(call) for call in called.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results)
    assert all(str(result.content).startswith("It is sunny") for result in results)
    answer = model.bind_tools([get_weather], tool_choice="none").invoke([asked, called, *results])
    assert answer.content
    assert not answer.tool_calls


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(server: Live, method: Any) -> None:
    person = chat(server).with_structured_output(Person, method=method).invoke(INTRODUCTION)
    assert isinstance(person, Person)


def test_json_mode(server: Live) -> None:
    ask = chat(server).with_structured_output(None, method="json_mode")
    question = 'Answer with the JSON object {"wind": "cierzo"} and nothing else.'
    assert isinstance(ask.invoke(question), dict)
