"""pydantic-ai: an agent with a tool and a typed result, in each of its ways to get one."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from pydantic_ai import Agent, ModelSettings, NativeOutput, RunContext, ToolOutput
from pydantic_ai.capabilities import PrepareOutputTools, PrepareTools
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

from tests.api.live import Live
from tests.clients.questions import CAPITAL, INTRODUCTION, SERVED, Person, weather_in

SETTINGS = ModelSettings(seed=1, temperature=0, max_tokens=300)


def model(server: Live) -> OpenAIChatModel:
    provider = OpenAIProvider(base_url=f"{server.url}/v1", api_key="none")
    return OpenAIChatModel(SERVED, provider=provider)


def test_chat(server: Live) -> None:
    result = Agent(model(server), model_settings=SETTINGS).run_sync(CAPITAL[0]["content"])
    assert "Paris" in result.output
    assert result.usage.output_tokens > 0


@pytest.mark.parametrize("form", [ToolOutput, NativeOutput])
def test_a_typed_result(server: Live, form: Any) -> None:
    """At the first try: no retries are allowed."""
    agent = Agent(model(server), output_type=form(Person), model_settings=SETTINGS, retries=0)
    assert isinstance(agent.run_sync(INTRODUCTION).output, Person)


def test_an_agent_s_tool_runs(server: Live) -> None:
    """The first turn has only the tool to call, the second one only the result to give."""
    ran: list[str] = []

    def get_weather(
        city: Literal["Paris", "Zaragoza"], unit: Literal["celsius", "fahrenheit"]
    ) -> str:
        """Says what the weather is like in a city."""
        ran.append(city)
        return weather_in(city, unit)

    async def at_first(ctx: RunContext[None], tools: list[ToolDefinition]) -> list[ToolDefinition]:
        return tools if ctx.run_step == 1 else []

    async def later(ctx: RunContext[None], tools: list[ToolDefinition]) -> list[ToolDefinition]:
        return tools if ctx.run_step > 1 else []

    agent = Agent(
        model(server),
        tools=[get_weather],
        output_type=ToolOutput(Person),
        capabilities=[PrepareTools(at_first), PrepareOutputTools(later)],
        model_settings={**SETTINGS, "parallel_tool_calls": False},
        retries=0,
    )
    result = agent.run_sync("Get the weather in Paris.")
    assert isinstance(result.output, Person)
    assert len(ran) == 1
    assert ran[0] in ("Paris", "Zaragoza")


def test_a_stream_of_text(server: Live) -> None:
    async def said() -> str:
        async with Agent(model(server), model_settings=SETTINGS).run_stream(
            CAPITAL[0]["content"]
        ) as stream:
            return await stream.get_output()

    assert "Paris" in asyncio.run(said())
