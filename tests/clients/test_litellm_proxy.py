"""What the LiteLLM proxy sends upstream: its router, with the names and fields that it adds.

The proxy is this router behind HTTP. Names reach the server as the deployment has them, with or
without a prefix; OpenAI's, Anthropic's and OpenAI's newer requests arrive as chat requests.
"""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
import pytest

from tests.api.live import Live
from tests.clients.questions import CAPITAL, SERVED, WEATHER, WEATHER_TOOL, Weather

DEPLOYMENTS = {
    "openai": f"openai/{SERVED}",
    "hosted_vllm": f"hosted_vllm/{SERVED}",
    "litellm_proxy": f"litellm_proxy/{SERVED}",
    "doubled": f"openai/openai/{SERVED}",
    "openrouter": f"openrouter/openrouter/{SERVED}",
}
# What the proxy adds to every request, and what its users set once for all of them.
ADDED: dict[str, Any] = {
    "metadata": {"user_api_key_alias": None, "tags": ["a"], "headers": {"user-agent": "x"}},
    "user": "somebody@example.com",
    "num_retries": 0,
}


@pytest.fixture(scope="module")
def router(server: Live) -> litellm.Router:
    return litellm.Router(
        model_list=[
            {
                "model_name": name,
                "litellm_params": {
                    "model": model,
                    "api_base": server.url + ("/api/v1" if name == "openrouter" else "/v1"),
                    "api_key": "none",
                    "drop_params": False,
                },
                "model_info": {"id": name},
            }
            for name, model in DEPLOYMENTS.items()
        ]
    )


@pytest.mark.parametrize("name", DEPLOYMENTS)
@pytest.mark.parametrize("stream", [False, True])
def test_chat_under_any_name(router: litellm.Router, name: str, stream: bool) -> None:
    async def ask() -> Any:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        answer = await router.acompletion(
            model=name,
            messages=CAPITAL,
            max_tokens=12,
            temperature=0,
            stream=stream,
            **options,
            **ADDED,
        )
        if not stream:
            return answer
        return litellm.stream_chunk_builder([chunk async for chunk in answer], messages=CAPITAL)

    answer = asyncio.run(ask())
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_tools_with_everything_that_openai_s_clients_send(router: litellm.Router) -> None:
    async def ask() -> Any:
        return await router.acompletion(
            model="openai",
            messages=WEATHER,
            tools=[WEATHER_TOOL],
            tool_choice="required",
            parallel_tool_calls=False,
            max_tokens=200,
            seed=1,
            **ADDED,
        )

    (call,) = asyncio.run(ask()).choices[0].message.tool_calls
    assert Weather.model_validate_json(call.function.arguments)


def test_anthropic_s_messages_arrive_as_chat(server: Live) -> None:
    """As Claude Code speaks to the proxy: a system prompt in parts, tools with `input_schema`."""
    cached = {"cache_control": {"type": "ephemeral"}}

    async def ask() -> Any:
        return await litellm.anthropic.messages.acreate(
            model=f"hosted_vllm/{SERVED}",
            api_base=f"{server.url}/v1",
            api_key="none",
            max_tokens=200,
            system=[{"type": "text", "text": "You are brief.", **cached}],
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "The weather?", **cached}]}
            ],
            tools=[
                {
                    "name": "get_weather",
                    "description": "Says what the weather is like.",
                    # LiteLLM takes `additionalProperties` away, and then the little model may
                    # write other fields until its bound.
                    "input_schema": {**WEATHER_TOOL["function"]["parameters"], "maxProperties": 2},
                }
            ],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            metadata={"user_id": "somebody"},
        )

    answer = asyncio.run(ask())
    used = next(part for part in answer["content"] if part["type"] == "tool_use")
    assert used["name"] == "get_weather"
    assert Weather.model_validate(used["input"])
