"""`POST /chat/completions`: a conversation in, the assistant's next message out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from cierzo.api import generation
from cierzo.api.chat_request import ChatPlan, prepare
from cierzo.api.generation import Delta, ScoredToken, Tally
from cierzo.api.openapi import documented
from cierzo.api.plan import respond
from cierzo.api.schemas import common
from cierzo.api.schemas.answers import (
    AnswerMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChoiceLogprobs,
    ChunkChoice,
    MessageDelta,
    TokenLogprob,
    TopLogprob,
)
from cierzo.api.schemas.chat import ChatRequest
from cierzo.api.schemas.common import FinishReason
from cierzo.api.service import Service
from cierzo.api.sse import DONE, event, json_response
from cierzo.chat.tokenizer import Tokenizer

_BROKEN = {"object": "chat.completion.chunk", "delta": {"content": ""}}


def router(service: Service) -> APIRouter:
    """The route, under the paths of OpenAI and of OpenRouter."""
    routes = APIRouter(tags=["chat"])

    async def chat_completions(request: Request) -> Response:
        """Continues a conversation.

        With `stream`, the answer comes as server-sent events and ends with `[DONE]`.
        """
        path = request.url.path
        body = await request.body()
        language = service.ready()
        plan = await service.in_thread(lambda: prepare(service, language, body, path))
        return respond(service, plan, _answer, _events, _BROKEN)

    docs = documented(ChatRequest, ChatCompletion, ChatChunk)
    for path in ("/v1/chat/completions", "/api/v1/chat/completions"):
        routes.add_api_route(path, chat_completions, methods=["POST"], **docs)
    return routes


async def _answer(service: Service, plan: ChatPlan, tally: Tally) -> Response:
    texts = [""] * len(plan.jobs)
    tokens: list[list[TokenLogprob]] = [[] for _ in plan.jobs]
    finish: list[FinishReason] = ["stop"] * len(plan.jobs)
    async with aclosing(generation.generate_all(service, plan.jobs, tally)) as deltas:
        async for index, delta in deltas:
            texts[index] += delta.text
            tokens[index] += _scored(delta, plan)
            finish[index] = delta.finish_reason or "stop"
    choices = [
        ChatChoice(
            index,
            AnswerMessage(content=text),
            ChoiceLogprobs(tokens[index]) if plan.request.logprobs else None,
            finish[index],
            finish[index],
        )
        for index, text in enumerate(texts)
    ]
    return json_response(ChatCompletion(**plan.head, choices=choices, usage=tally.usage()))


async def _events(service: Service, plan: ChatPlan, tally: Tally) -> AsyncGenerator[bytes, None]:
    def chunk(choices: list[ChunkChoice], usage: common.Usage | UnsetType = UNSET) -> bytes:
        return event(ChatChunk(**plan.head, choices=choices, usage=usage))

    begun = [False] * len(plan.jobs)
    async with aclosing(generation.generate_all(service, plan.jobs, tally)) as deltas:
        async for index, delta in deltas:
            data = b""
            if not begun[index]:
                begun[index] = True
                data = chunk([ChunkChoice(index, MessageDelta("", "assistant"))])
            scored = _scored(delta, plan)
            if delta.text or scored:
                logprobs = ChoiceLogprobs(scored) if plan.request.logprobs else None
                data += chunk([ChunkChoice(index, MessageDelta(delta.text), logprobs=logprobs)])
            if delta.finish_reason:
                reason = delta.finish_reason
                data += chunk([ChunkChoice(index, MessageDelta(), reason, reason)])
            if data:
                yield data
    if plan.usage_in_stream:
        yield chunk([], tally.usage()) + DONE
    else:
        yield DONE


def _scored(delta: Delta, plan: ChatPlan) -> list[TokenLogprob]:
    """The log-probabilities of a delta's tokens, if they were asked for."""
    return [_token_logprob(token, plan.tokenizer) for token in delta.tokens]


def _token_logprob(scored: ScoredToken, tokenizer: Tokenizer) -> TokenLogprob:
    top = []
    for token_id, logprob in scored.scores.top:
        data = tokenizer.token_bytes(token_id)
        top.append(TopLogprob(data.decode("utf-8", "replace"), logprob, list(data)))
    token = scored.token
    return TokenLogprob(token.text, scored.scores.logprob, list(token.bytes), top)
