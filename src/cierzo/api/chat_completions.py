"""`POST /chat/completions`: a conversation in, the assistant's next message out."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from cierzo.api import generation
from cierzo.api.errors import bad_request, stream_error
from cierzo.api.generation import Delta, Job, ScoredToken, Tally
from cierzo.api.openapi import documented
from cierzo.api.schemas import common
from cierzo.api.schemas.chat import (
    AnswerMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChoiceLogprobs,
    ChunkChoice,
    FinishReason,
    MessageDelta,
    TokenLogprob,
    TopLogprob,
    check_chat_request,
    to_chat_message,
)
from cierzo.api.schemas.decode import decode_request
from cierzo.api.service import Language, Service, new_id
from cierzo.api.sse import DONE, Answer, EventStream, event, json_response
from cierzo.chat.messages import ChatError, ends_open
from cierzo.chat.tokenizer import Tokenizer
from cierzo.engine.sampling_params import SamplingParams

PARAM = "messages"
_DECODER = msgspec.json.Decoder(ChatRequest)


@dataclass(frozen=True)
class Chat:
    """A checked request, ready to run."""

    request: ChatRequest
    jobs: tuple[Job, ...]
    id: str
    created: int
    model: str
    fingerprint: str
    tokenizer: Tokenizer
    usage_in_stream: bool


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
        chat = await service.in_thread(lambda: _prepare(service, language, body, path))
        headers = {"x-generation-id": chat.id}
        if chat.request.stream:
            head = {"id": chat.id, "object": "chat.completion.chunk", "created": chat.created}
            head |= {"model": chat.model, "system_fingerprint": chat.fingerprint}
            return EventStream(
                _events(service, chat), lambda error: stream_error(error, head), headers
            )
        return Answer(lambda: _answer(service, chat, headers))

    docs = documented(ChatRequest, ChatCompletion, ChatChunk)
    for path in ("/v1/chat/completions", "/api/v1/chat/completions"):
        routes.add_api_route(path, chat_completions, methods=["POST"], **docs)
    return routes


def _prepare(service: Service, language: Language, body: bytes, path: str) -> Chat:
    """Everything that can be checked before the first token. Runs in a thread."""
    limits = service.settings.limits
    request = decode_request(body, _DECODER, limits.json_depth)
    service.check_model(request.model, path)
    check_chat_request(request, limits)
    choices = common.check_choices(request.n, limits)
    stop = common.stop_strings(request.stop, limits)
    messages = [to_chat_message(message) for message in request.messages]
    size = sum(len(part) for message in messages for part in message.parts())
    generation.check_text_size(size, language, service, PARAM)
    try:
        prompt = language.template.render(messages, continue_last=True)
    except ChatError as error:
        raise bad_request(str(error), PARAM) from error
    wanted = request.max_completion_tokens or request.max_tokens
    params = SamplingParams(
        max_tokens=generation.check_context(len(prompt), wanted, service, PARAM),
        temperature=common.given(request.temperature, 1.0),
        top_p=common.given(request.top_p, 1.0),
        top_k=common.given(request.top_k, 0),
        min_p=common.given(request.min_p, 0.0),
        presence_penalty=common.given(request.presence_penalty, 0.0),
        frequency_penalty=common.given(request.frequency_penalty, 0.0),
        repetition_penalty=common.given(request.repetition_penalty, 1.0),
        logit_bias=request.logit_bias or {},
        seed=request.seed,
        stop=stop,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )
    generation.check_params(params, service)
    now = int(time.time())
    name = new_id(now)
    return Chat(
        request=request,
        jobs=generation.jobs_for(
            prompt, params, choices, name, mid_text=ends_open(messages, continue_last=True)
        ),
        id=name,
        created=now,
        model=service.names[0],
        fingerprint=service.fingerprint,
        tokenizer=language.tokenizer,
        usage_in_stream=common.usage_in_stream(request.stream_options, path),
    )


async def _answer(service: Service, chat: Chat, headers: dict[str, str]) -> Response:
    tally = Tally()
    texts = [""] * len(chat.jobs)
    tokens: list[list[TokenLogprob]] = [[] for _ in chat.jobs]
    finish: list[FinishReason] = ["stop"] * len(chat.jobs)
    async with aclosing(generation.generate_all(service, chat.jobs, tally)) as deltas:
        async for index, delta in deltas:
            texts[index] += delta.text
            tokens[index] += _scored(delta, chat)
            finish[index] = delta.finish_reason or "stop"
    choices = [
        ChatChoice(
            index,
            AnswerMessage(text),
            ChoiceLogprobs(tokens[index]) if chat.request.logprobs else None,
            finish[index],
        )
        for index, text in enumerate(texts)
    ]
    completion = ChatCompletion(
        id=chat.id,
        created=chat.created,
        model=chat.model,
        system_fingerprint=chat.fingerprint,
        choices=choices,
        usage=tally.usage(),
    )
    return json_response(completion, headers)


async def _events(service: Service, chat: Chat) -> AsyncGenerator[bytes, None]:
    tally = Tally()

    def chunk(choices: list[ChunkChoice], usage: common.Usage | UnsetType = UNSET) -> bytes:
        return event(
            ChatChunk(
                id=chat.id,
                created=chat.created,
                model=chat.model,
                system_fingerprint=chat.fingerprint,
                choices=choices,
                usage=usage,
            )
        )

    begun = [False] * len(chat.jobs)
    async with aclosing(generation.generate_all(service, chat.jobs, tally)) as deltas:
        async for index, delta in deltas:
            data = b""
            if not begun[index]:
                begun[index] = True
                data = chunk([ChunkChoice(index, MessageDelta("", "assistant"))])
            scored = _scored(delta, chat)
            if delta.text or scored:
                logprobs = ChoiceLogprobs(scored) if chat.request.logprobs else None
                data += chunk([ChunkChoice(index, MessageDelta(delta.text), logprobs=logprobs)])
            if delta.finish_reason:
                data += chunk([ChunkChoice(index, MessageDelta(), delta.finish_reason)])
            if data:
                yield data
    if chat.usage_in_stream:
        yield chunk([], tally.usage()) + DONE
    else:
        yield DONE


def _scored(delta: Delta, chat: Chat) -> list[TokenLogprob]:
    """The log-probabilities of a delta's tokens, if they were asked for."""
    return [_token_logprob(token, chat.tokenizer) for token in delta.tokens]


def _token_logprob(scored: ScoredToken, tokenizer: Tokenizer) -> TokenLogprob:
    top = []
    for token_id, logprob in scored.scores.top:
        data = tokenizer.token_bytes(token_id)
        top.append(TopLogprob(data.decode("utf-8", "replace"), logprob, list(data)))
    token = scored.token
    return TokenLogprob(token.text, scored.scores.logprob, list(token.bytes), top)
