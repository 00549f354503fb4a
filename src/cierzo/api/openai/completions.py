"""`POST /completions`: texts or tokens in, what follows out; also how evaluations read scores."""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cierzo.api.access.tenant import cache_salt_of
from cierzo.api.errors import bad_request
from cierzo.api.http.sse import DONE, event, json_response
from cierzo.api.openai.diagnostics import watch_of
from cierzo.api.openai.dialect import OPENAI, OPENROUTER, OpenAiDialect, openai_dialect_of
from cierzo.api.openai.errors import api_error
from cierzo.api.openai.reading.hints import SESSION_HEADER, hints_of
from cierzo.api.openai.reply import ENOUGH, Reply, deltas, head_of, respond, usage_of
from cierzo.api.openai.routing import check_routing, may_retain
from cierzo.api.openai.sampling import number_of_choices, sampling_of, stop_strings
from cierzo.api.openai.score_table import ScoreTable, joined, token_name
from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.completions import (
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
    check_completion_request,
    check_prompt_lists,
)
from cierzo.api.openai.wire.decode import decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.api.operations import Operation
from cierzo.api.service import Service
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.engine.messages import TokenLogprobs
from cierzo.generate.ask import Ask
from cierzo.generate.delta import Delta
from cierzo.generate.job import Job
from cierzo.generate.model import Model
from cierzo.generate.prepare import prepare
from cierzo.generate.refused import Refused
from cierzo.settings import Limits

_DECODER = RequestDecoder(CompletionRequest, check_prompt_lists)
_BROKEN = {"object": "text_completion", "text": ""}


@dataclass(frozen=True)
class CompletionReply(Reply[CompletionRequest]):
    """For each job, `echoes` has what goes before its text."""

    echoes: tuple[str, ...] = ()

    def completion(self, choices: list[CompletionChoice], **more: Any) -> Completion:
        """The answer, or one event of it."""
        return Completion(**self.head, choices=choices, **more)


def operations(service: Service) -> list[Operation]:
    """The route, under the paths of OpenAI and of OpenRouter."""

    async def completions(request: Request) -> Response:
        """Goes on with one or several texts, given as text or as token ids.

        With `stream`, the answer comes as server-sent events and ends with `[DONE]`.
        """
        dialect = openai_dialect_of(request.scope)
        body = await request.body()
        model = service.model()
        salt = cache_salt_of(request.scope, service.settings.server)
        session = request.headers.get(SESSION_HEADER)
        reply = await service.threads.run(
            lambda: prepared(service, model, body, dialect, cache_salt=salt, session=session),
            len(body),
        )
        return respond(service, request.scope, reply, _answer, _events, broken=_BROKEN)

    return [
        Operation(
            "POST",
            f"{dialect.prefix}/completions",
            completions,
            "completions",
            CompletionRequest,
            Completion,
            Completion,
            dialect,
        )
        for dialect in (OPENAI, OPENROUTER)
    ]


def prepared(
    service: Service,
    model: Model,
    body: bytes,
    dialect: OpenAiDialect,
    *,
    cache_salt: str = "",
    session: str | None = None,
) -> CompletionReply:
    """Reads and checks a request, and makes its jobs. Slow: runs in a thread. Raises ApiError."""
    limits = service.settings.limits
    request = decode_request(body, _DECODER, limits)
    check_routing(request, service.served, dialect)
    check_completion_request(request, limits)
    choices = number_of_choices(request.n, limits)
    alternatives = request.alternatives()
    echo = bool(request.echo)
    sampling = sampling_of(
        service,
        request,
        logprobs=alternatives,
        prompt_logprobs=alternatives if echo else None,
    )
    stop = stop_strings(request.stop, limits)
    head = head_of(service, request)
    jobs: list[Job] = []
    echoes: list[str] = []
    for index, prompt in enumerate(_prompts_of(request, limits)):
        ask = Ask(
            prompt=prompt,
            sampling=sampling,
            max_tokens=request.longest_answer(),
            min_room=ENOUGH,
            choices=choices,
            stop=stop,
            cache_salt=cache_salt,
            retain=may_retain(request),
            hints=hints_of(request, session),
            add_bos=request.add_special_tokens is not False,
        )
        try:
            jobs += prepare(ask, model, f"{head['id']}-{index}")
        except Refused as refused:
            raise api_error(refused) from refused
        text = ""
        if echo:
            ids = jobs[-1].prompt
            text = prompt if isinstance(prompt, str) else _text(model.language.tokenizer, ids)
        echoes += [text] * choices
    tokenizer = model.language.tokenizer
    watch = None  # of several prompts, nothing is said
    if len(jobs) == choices:
        watch = watch_of(service, model, request, ask=ask, job=jobs[0], id=head["id"])
    return CompletionReply(
        request, dialect, tuple(jobs), head, tokenizer, watch=watch, echoes=tuple(echoes)
    )


def _prompts_of(request: CompletionRequest, limits: Limits) -> list[str | tuple[int, ...]]:
    """The prompts, each a text or token ids. Raises ApiError for mixtures and too many."""
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    ids = [item for item in prompt if isinstance(item, int)]
    if len(ids) == len(prompt):
        return [tuple(ids)]
    if ids:
        raise bad_request("prompt: token ids and texts are mixed in one list", "prompt")
    common.check_length("prompt", prompt, limits.prompts)
    return [item if isinstance(item, str) else tuple(_ids(item)) for item in prompt]


def _ids(item: object) -> list[int]:
    return item if isinstance(item, list) else []


def _text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_control=False)


class _Choice:
    """One choice as it comes: its echo, its text, and OpenAI's older table of log-probabilities."""

    def __init__(self, reply: CompletionReply, index: int) -> None:
        self._reply = reply
        self._job = reply.jobs[index]
        self._echo = reply.echoes[index]
        self._scored = reply.request.alternatives() is not None
        self._echoed = not reply.request.echo
        self._prompt_logprobs: list[TokenLogprobs] = []
        self._length = len(self._echo)  # characters so far
        self._table = ScoreTable()

    def take(self, delta: Delta) -> tuple[str, CompletionLogprobs | None]:
        """The text that a delta brings, and the rows of the tokens in it. Both may be empty."""
        self._prompt_logprobs += delta.prompt_logprobs
        text = ""
        if not self._echoed and (delta.text or delta.tokens or delta.finish_reason):
            self._echoed = True
            text = self._echo
            if self._scored:
                self._add_prompt()
        for token in delta.tokens:
            name = token_name(token.token.bytes)
            self._add(name, token.logprobs, len(self._echo) + token.token.offset)
        self._length += len(delta.text)
        if delta.stop_token is not None:
            stop = delta.stop_token
            data = self._reply.tokenizer.token_bytes(stop.token.token_id)
            self._add(token_name(data), stop.logprobs, self._length)
        return text + delta.text, self._table.take() if self._scored else None

    def _add_prompt(self) -> None:
        """The prompt's tokens. Those that are not in its text, such as BOS, take no room in it."""
        tokenizer = self._reply.tokenizer
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        at = 0
        for index, token_id in enumerate(self._job.prompt):
            data = tokenizer.token_bytes(token_id)
            name = token_name(data)
            if index == 0:
                self._table.add(name, None, None, at)
            else:
                self._add(name, self._prompt_logprobs[index - 1], at)
            if not tokenizer.is_control(token_id) or self._echo.startswith(name, at):
                at += len(decoder.decode(data))

    def _add(self, name: str, scores: TokenLogprobs, at: int) -> None:
        """One token and the alternatives to it; the token itself is always among them."""
        top = {name: scores.logprob}
        for token_id, logprob in scores.top:
            other = token_name(self._reply.tokenizer.token_bytes(token_id))
            top[other] = max(logprob, top.get(other, logprob))
        self._table.add(name, scores.logprob, top, at)


async def _answer(service: Service, reply: CompletionReply) -> Response:
    choices = [_Choice(reply, index) for index in range(len(reply.jobs))]
    done = [CompletionChoice(index, "") for index in range(len(reply.jobs))]
    async with aclosing(deltas(service, reply)) as items:
        async for index, delta in items:
            text, logprobs = choices[index].take(delta)
            before = done[index]
            done[index] = CompletionChoice(
                index,
                before.text + text,
                joined(before.logprobs, logprobs),
                delta.finish_reason,
                delta.finish_reason,
            )
    usage = usage_of(service, reply.receipt)
    answer = reply.completion(done, usage=usage, prompt_cache_diagnostics=reply.diagnostics)
    return json_response(answer)


async def _events(service: Service, reply: CompletionReply) -> AsyncGenerator[bytes, None]:
    choices = [_Choice(reply, index) for index in range(len(reply.jobs))]
    async with aclosing(deltas(service, reply)) as items:
        async for index, delta in items:
            text, logprobs = choices[index].take(delta)
            reason = delta.finish_reason
            if text or reason or (logprobs and logprobs.tokens):
                choice = CompletionChoice(index, text, logprobs, reason, reason)
                yield event(reply.completion([choice]))
    last = reply.last_fields(service)
    yield (event(reply.completion([], **last)) if last else b"") + DONE
