"""`POST /chat/completions`: a conversation in, the assistant's next message out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing

from fastapi import APIRouter, Request
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from cierzo.api import generation
from cierzo.api.generation import Delta, ScoredToken, Tally
from cierzo.api.http.sse import DONE, event, json_response, while_connected
from cierzo.api.openai.chat_request import (
    ChatPlan,
    check_constraints,
    lanes_of,
    prepare,
    read_request,
)
from cierzo.api.openai.plan import respond
from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.answers import (
    AnswerMessage,
    AnswerToolCall,
    CalledFunction,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChoiceLogprobs,
    ChunkChoice,
    FunctionDelta,
    MessageDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from cierzo.api.openai.wire.chat import ChatRequest
from cierzo.api.openai.wire.common import FinishReason
from cierzo.api.openapi import documented
from cierzo.api.state import Service
from cierzo.chat.answers.reader import CallDelta
from cierzo.chat.tokenizers.tokenizer import Tokenizer

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
        run, size = service.threads.run, len(body)
        asked = await run(lambda: read_request(service, body, path), size)
        plan = await run(lambda: prepare(service, language, asked, path), size, lanes_of(asked))
        await while_connected(request.receive, check_constraints(service, plan))
        return respond(service, plan, _answer, _events, _BROKEN)

    docs = documented(ChatRequest, ChatCompletion, ChatChunk)
    for path in ("/v1/chat/completions", "/api/v1/chat/completions"):
        routes.add_api_route(path, chat_completions, methods=["POST"], **docs)
    return routes


class _Choice:
    """One choice of a whole answer, as it comes."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._tokens: list[TokenLogprob] = []
        self._calls: list[AnswerToolCall] = []
        self._arguments: list[str] = []  # of the last call, in pieces
        self._finish: FinishReason = "stop"

    def take(self, delta: Delta, tokens: list[TokenLogprob]) -> None:
        self._text.append(delta.text)
        self._tokens += tokens
        for call in delta.calls:
            if call.id is not None and call.name is not None:
                self._end_call()
                self._calls.append(AnswerToolCall(call.id, CalledFunction(call.name, "")))
            self._arguments.append(call.arguments)
        self._finish = delta.finish_reason or "stop"

    def choice(self, index: int, *, logprobs: bool) -> ChatChoice:
        self._end_call()
        text = "".join(self._text)
        message = AnswerMessage(
            content=text if text or not self._calls else None, tool_calls=self._calls or UNSET
        )
        scores = ChoiceLogprobs(self._tokens) if logprobs else None
        return ChatChoice(index, message, scores, self._finish, self._finish)

    def _end_call(self) -> None:
        if self._calls and self._arguments:
            call = self._calls[-1]
            function = CalledFunction(call.function.name, "".join(self._arguments))
            self._calls[-1] = AnswerToolCall(call.id, function)
        self._arguments = []


async def _answer(service: Service, plan: ChatPlan, tally: Tally) -> Response:
    made = [_Choice() for _ in plan.jobs]
    async with aclosing(generation.generate_all(service, plan.jobs, tally)) as deltas:
        async for index, delta in deltas:
            made[index].take(delta, _scored(delta, plan))
    logprobs = bool(plan.request.logprobs)
    choices = [choice.choice(index, logprobs=logprobs) for index, choice in enumerate(made)]
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
            for call in _call_deltas(delta.calls):
                data += chunk([ChunkChoice(index, MessageDelta(tool_calls=[call]))])
            if delta.finish_reason:
                reason = delta.finish_reason
                data += chunk([ChunkChoice(index, MessageDelta(), reason, reason)])
            if data:
                yield data
    if plan.usage_in_stream:
        yield chunk([], tally.usage()) + DONE
    else:
        yield DONE


def _call_deltas(calls: Iterable[CallDelta]) -> Iterator[ToolCallDelta]:
    """As OpenAI's: id, type and name first, with arguments still empty; then pieces of those."""
    for call in calls:
        if call.id is not None and call.name is not None:
            named = FunctionDelta("", call.name)
            yield ToolCallDelta(call.index, named, call.id, "function")
        if call.arguments:
            yield ToolCallDelta(call.index, FunctionDelta(call.arguments))


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
