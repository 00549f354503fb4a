"""`POST /chat/completions`: a conversation in, the assistant's next message out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, TypeAlias

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from cierzo.api.access.tenant import cache_salt_of
from cierzo.api.http.sse import DONE, event, json_response, while_connected
from cierzo.api.openai.conversation import read_conversation
from cierzo.api.openai.diagnostics import watch_of
from cierzo.api.openai.dialect import OPENAI, OPENROUTER, OpenAiDialect, openai_dialect_of
from cierzo.api.openai.errors import api_error
from cierzo.api.openai.parts import spelled_into
from cierzo.api.openai.reading.hints import SESSION_HEADER, hints_of
from cierzo.api.openai.reading.prediction import predicted_text
from cierzo.api.openai.reply import (
    ENOUGH,
    Reply,
    check_forms,
    deltas,
    head_of,
    respond,
    usage_of,
)
from cierzo.api.openai.routing import check_routing, may_retain
from cierzo.api.openai.sampling import number_of_choices, sampling_of, stop_strings
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
from cierzo.api.openai.wire.chat import ChatRequest, check_chat_request
from cierzo.api.openai.wire.common import FinishReason
from cierzo.api.openai.wire.decode import decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.api.operations import Operation
from cierzo.api.service import Service
from cierzo.api.text_threads import PLAIN, SCHEMAS, Lanes
from cierzo.chat.answers.reader import whole_calls
from cierzo.chat.calls.tool_format import CallDelta
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.generate.ask import Ask
from cierzo.generate.delta import Delta, ScoredToken
from cierzo.generate.model import Model
from cierzo.generate.prepare import prepare
from cierzo.generate.refused import Refused

ChatReply: TypeAlias = Reply[ChatRequest]

_DECODER = RequestDecoder(ChatRequest)
_BROKEN = {"object": "chat.completion.chunk", "delta": {"content": ""}}


def operations(service: Service) -> list[Operation]:
    """The route, under the paths of OpenAI and of OpenRouter."""

    async def chat_completions(request: Request) -> Response:
        """Continues a conversation.

        With `stream`, the answer comes as server-sent events and ends with `[DONE]`.
        """
        dialect = openai_dialect_of(request.scope)
        body = await request.body()
        model = service.model()
        run, size = service.threads.run, len(body)
        asked = await run(lambda: read_request(service, body, dialect), size)
        salt = cache_salt_of(request.scope, service.settings.server)
        session = request.headers.get(SESSION_HEADER)
        lanes = lanes_of(asked)
        reply = await run(
            lambda: prepared(service, model, asked, dialect, cache_salt=salt, session=session),
            size,
            lanes,
        )
        await while_connected(request.receive, check_forms(service, reply))
        return respond(service, request.scope, reply, _answer, _events, broken=_BROKEN)

    return [
        Operation(
            "POST",
            f"{dialect.prefix}/chat/completions",
            chat_completions,
            "chat",
            ChatRequest,
            ChatCompletion,
            ChatChunk,
            dialect,
        )
        for dialect in (OPENAI, OPENROUTER)
    ]


def read_request(service: Service, body: bytes, dialect: OpenAiDialect) -> ChatRequest:
    """Reads a request, and checks what can be said of it at once. Slow: runs in a thread. Raises
    ApiError."""
    limits = service.settings.limits
    request = decode_request(body, _DECODER, limits)
    check_routing(request, service.served, dialect)
    check_chat_request(request, limits)
    return request


def lanes_of(request: ChatRequest) -> Lanes:
    """Where jobs are made of it: apart if there are schemas in it."""
    forms = (request.tools, request.response_format, request.structured_outputs)
    return SCHEMAS if any(forms) else PLAIN


def prepared(
    service: Service,
    model: Model,
    request: ChatRequest,
    dialect: OpenAiDialect,
    *,
    cache_salt: str = "",
    session: str | None = None,
) -> ChatReply:
    """Checks all else, and makes the jobs. Slow: runs in a thread. Raises ApiError."""
    limits = service.settings.limits
    read = read_conversation(request, limits)
    ask = Ask(
        prompt=read.conversation,
        sampling=sampling_of(service, request, logprobs=request.alternatives()),
        max_tokens=request.longest_answer(),
        min_room=ENOUGH,
        choices=number_of_choices(request.n, limits),
        stop=stop_strings(request.stop, limits),
        prediction=predicted_text(request.prediction),
        cache_salt=cache_salt,
        retain=may_retain(request),
        hints=hints_of(request, session),
    )
    head = head_of(service, request)
    warnings = list(read.warnings)
    try:
        jobs = prepare(ask, model, head["id"], spelled_into(warnings, read.tool_places))
    except Refused as refused:
        raise api_error(refused, read.tool_places) from refused
    return Reply(
        request,
        dialect,
        jobs,
        head,
        model.language.tokenizer,
        read.tool_places,
        warnings,
        watch=watch_of(service, model, request, ask=ask, job=jobs[0], id=head["id"]),
    )


class _Choice:
    """One choice of a whole answer, as it comes."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._tokens: list[TokenLogprob] = []
        self._calls: list[CallDelta] = []
        self._finish: FinishReason = "stop"

    def add(self, delta: Delta, tokens: list[TokenLogprob]) -> None:
        self._text.append(delta.text)
        self._tokens += tokens
        self._calls += delta.calls
        self._finish = delta.finish_reason or "stop"

    def choice(self, index: int, *, logprobs: bool) -> ChatChoice:
        text = "".join(self._text)
        calls = [
            AnswerToolCall(call.id or "", CalledFunction(call.name, call.arguments))
            for call in whole_calls(self._calls)
        ]
        message = AnswerMessage(
            content=text if text or not calls else None, tool_calls=calls or UNSET
        )
        scores = ChoiceLogprobs(self._tokens) if logprobs else None
        return ChatChoice(index, message, scores, self._finish, self._finish)


async def _answer(service: Service, reply: ChatReply) -> Response:
    choices = [_Choice() for _ in reply.jobs]
    async with aclosing(deltas(service, reply)) as items:
        async for index, delta in items:
            choices[index].add(delta, _scored(delta, reply))
    logprobs = bool(reply.request.logprobs)
    whole = [choice.choice(index, logprobs=logprobs) for index, choice in enumerate(choices)]
    usage = usage_of(service, reply.receipt)
    answer = ChatCompletion(
        **reply.head,
        choices=whole,
        usage=usage,
        prompt_cache_diagnostics=reply.diagnostics,
    )
    return json_response(answer)


async def _events(service: Service, reply: ChatReply) -> AsyncGenerator[bytes, None]:
    def chunk(choices: list[ChunkChoice], **more: Any) -> bytes:
        return event(ChatChunk(**reply.head, choices=choices, **more))

    begun = [False] * len(reply.jobs)
    async with aclosing(deltas(service, reply)) as items:
        async for index, delta in items:
            data = b""
            if not begun[index]:
                begun[index] = True
                data = chunk([ChunkChoice(index, MessageDelta("", "assistant"))])
            for message, logprobs in _messages(delta, reply):
                data += chunk([ChunkChoice(index, message, logprobs=logprobs)])
            if delta.finish_reason:
                reason = delta.finish_reason
                data += chunk([ChunkChoice(index, MessageDelta(), reason, reason)])
            if data:
                yield data
    last = reply.last_fields(service)
    yield (chunk([], **last) if last else b"") + DONE


def _messages(
    delta: Delta, reply: ChatReply
) -> Iterator[tuple[MessageDelta, ChoiceLogprobs | None]]:
    """What a delta adds to the message, in order. Log-probabilities go with its first text."""
    scored = _scored(delta, reply)
    with_logprobs = bool(reply.request.logprobs)
    events = delta.events
    if scored and not (events and isinstance(events[0], str)):
        events = ("", *events)
    for part in events:
        if isinstance(part, str):
            yield MessageDelta(part), ChoiceLogprobs(scored) if with_logprobs else None
            scored = []
        else:
            for call in _call_deltas(part):
                yield MessageDelta(tool_calls=[call]), None


def _call_deltas(call: CallDelta) -> Iterator[ToolCallDelta]:
    """As OpenAI's: id, type and name first, with arguments still empty; then pieces of those."""
    if call.id is not None and call.name is not None:
        named = FunctionDelta("", call.name)
        yield ToolCallDelta(call.index, named, call.id, "function")
    if call.arguments:
        yield ToolCallDelta(call.index, FunctionDelta(call.arguments))


def _scored(delta: Delta, reply: ChatReply) -> list[TokenLogprob]:
    """The log-probabilities of a delta's tokens, if they were asked for."""
    return [_token_logprob(token, reply.tokenizer) for token in delta.tokens]


def _token_logprob(scored: ScoredToken, tokenizer: Tokenizer) -> TokenLogprob:
    top = []
    for token_id, logprob in scored.logprobs.top:
        data = tokenizer.token_bytes(token_id)
        top.append(TopLogprob(data.decode("utf-8", "replace"), logprob, list(data)))
    token = scored.token
    return TokenLogprob(token.text, scored.logprobs.logprob, list(token.bytes), top)
