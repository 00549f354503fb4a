"""`POST /completions`: texts or tokens in, what follows out; also how evaluations read scores."""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from cierzo.api import generation, jobs
from cierzo.api.errors import bad_request
from cierzo.api.generation import Delta, Tally
from cierzo.api.http.sse import DONE, event, json_response
from cierzo.api.jobs import Job
from cierzo.api.openai.plan import Plan, head_of, respond, sampling_of
from cierzo.api.openai.score_table import ScoreTable, joined, token_name
from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.completions import (
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
    Prompt,
    check_completion_request,
    check_prompt_lists,
    prompts_of,
)
from cierzo.api.openai.wire.decode import decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.api.openai.wire.routing import check_routing
from cierzo.api.openapi import documented
from cierzo.api.state import Language, Service
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.engine.messages import TokenLogprobs

PARAM = "prompt"
_DECODER = RequestDecoder(CompletionRequest, check_prompt_lists)
_BROKEN = {"object": "text_completion", "text": ""}


@dataclass(frozen=True)
class CompletionPlan(Plan[CompletionRequest]):
    """For each job, `echoes` has what goes before its text."""

    echoes: tuple[str, ...]

    def completion(
        self, choices: list[CompletionChoice], usage: common.Usage | UnsetType = UNSET
    ) -> Completion:
        """The answer, or one event of it."""
        return Completion(**self.head, choices=choices, usage=usage)


def router(service: Service) -> APIRouter:
    """The route, under the paths of OpenAI and of OpenRouter."""
    routes = APIRouter(tags=["completions"])

    async def completions(request: Request) -> Response:
        """Goes on with one or several texts, given as text or as token ids.

        With `stream`, the answer comes as server-sent events and ends with `[DONE]`.
        """
        path = request.url.path
        body = await request.body()
        language = service.ready()
        plan = await service.threads.run(lambda: _prepare(service, language, body, path), len(body))
        return respond(service, plan, _answer, _events, _BROKEN)

    docs = documented(CompletionRequest, Completion, Completion)
    for path in ("/v1/completions", "/api/v1/completions"):
        routes.add_api_route(path, completions, methods=["POST"], **docs)
    return routes


def _prepare(service: Service, language: Language, body: bytes, path: str) -> CompletionPlan:
    """Everything that can be checked before the first token. Runs in a thread."""
    limits = service.settings.limits
    request = decode_request(body, _DECODER, limits)
    check_routing(request, service.served, path)
    check_completion_request(request, limits)
    choices = common.check_choices(request.n, limits)
    alternatives = request.alternatives()
    params = msgspec.structs.replace(
        sampling_of(request, service.served.entry.sampling, limits),
        logprobs=alternatives,
        prompt_logprobs=alternatives if request.echo else None,
    )
    head = head_of(service, request)
    made: list[Job] = []
    echoes: list[str] = []
    for index, prompt in enumerate(prompts_of(request, limits)):
        ids = _token_ids(prompt, request, language, service)
        longest = jobs.check_context(len(ids), request.longest_answer(), service, PARAM)
        own = msgspec.structs.replace(params, max_tokens=longest)
        jobs.check_params(own, service)
        name = f"{head['id']}-{index}"
        made += jobs.jobs_for(ids, own, choices, name, mid_text=True)
        text = ""
        if request.echo:
            text = prompt if isinstance(prompt, str) else _text(language.tokenizer, ids)
        echoes += [text] * choices
    return CompletionPlan(
        request=request,
        path=path,
        jobs=tuple(made),
        head=head,
        tokenizer=language.tokenizer,
        usage_in_stream=common.usage_in_stream(request, path),
        echoes=tuple(echoes),
    )


def _token_ids(
    prompt: Prompt, request: CompletionRequest, language: Language, service: Service
) -> Sequence[int]:
    if isinstance(prompt, str):
        jobs.check_text_size(len(prompt), language, service, PARAM)
        tokenizer = language.tokenizer
        add_bos = tokenizer.adds_bos and request.add_special_tokens is not False
        ids: Sequence[int] = tokenizer.encode(prompt, add_bos=add_bos)
    else:
        ids = prompt
        size = service.client.info.vocab_size
        if ids and max(ids) >= size:
            raise bad_request(f"prompt: token ids must be from 0 to {size - 1}", PARAM)
    if not ids:
        raise bad_request("prompt: must have at least one token", PARAM)
    return ids


def _text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special=False)


class _Choice:
    """One choice as it comes: its echo, its text, and OpenAI's older table of log-probabilities."""

    def __init__(self, plan: CompletionPlan, index: int) -> None:
        self._plan = plan
        self._job = plan.jobs[index]
        self._echo = plan.echoes[index]
        self._scored = plan.request.alternatives() is not None
        self._echoed = not plan.request.echo
        self._prompt_scores: list[TokenLogprobs] = []
        self._length = len(self._echo)  # characters so far
        self._table = ScoreTable()

    def take(self, delta: Delta) -> tuple[str, CompletionLogprobs | None]:
        """The text that a delta brings, and the rows of the tokens in it. Both may be empty."""
        self._prompt_scores += delta.prompt_scores
        text = ""
        if not self._echoed and (delta.text or delta.tokens or delta.finish_reason):
            self._echoed = True
            text = self._echo
            if self._scored:
                self._add_prompt()
        for token in delta.tokens:
            name = token_name(token.token.bytes)
            self._add(name, token.scores, len(self._echo) + token.token.offset)
        self._length += len(delta.text)
        if delta.stop_token is not None:
            stop = delta.stop_token
            data = self._plan.tokenizer.token_bytes(stop.token.token_id)
            self._add(token_name(data), stop.scores, self._length)
        return text + delta.text, self._table.take() if self._scored else None

    def _add_prompt(self) -> None:
        """The prompt's tokens. Those that are not in its text, such as BOS, take no room in it."""
        tokenizer = self._plan.tokenizer
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        at = 0
        for index, token_id in enumerate(self._job.prompt):
            data = tokenizer.token_bytes(token_id)
            name = token_name(data)
            if index == 0:
                self._table.add(name, None, None, at)
            else:
                self._add(name, self._prompt_scores[index - 1], at)
            if not tokenizer.is_special(token_id) or self._echo.startswith(name, at):
                at += len(decoder.decode(data))

    def _add(self, name: str, scores: TokenLogprobs, at: int) -> None:
        """One token and the alternatives to it; the token itself is always among them."""
        top = {name: scores.logprob}
        for token_id, logprob in scores.top:
            other = token_name(self._plan.tokenizer.token_bytes(token_id))
            top[other] = max(logprob, top.get(other, logprob))
        self._table.add(name, scores.logprob, top, at)


async def _answer(service: Service, plan: CompletionPlan, tally: Tally) -> Response:
    choices = [_Choice(plan, index) for index in range(len(plan.jobs))]
    done = [CompletionChoice(index, "") for index in range(len(plan.jobs))]
    async with aclosing(generation.generate_all(service, plan.jobs, tally)) as deltas:
        async for index, delta in deltas:
            text, logprobs = choices[index].take(delta)
            before = done[index]
            done[index] = CompletionChoice(
                index,
                before.text + text,
                joined(before.logprobs, logprobs),
                delta.finish_reason,
                delta.finish_reason,
            )
    return json_response(plan.completion(done, tally.usage()))


async def _events(
    service: Service, plan: CompletionPlan, tally: Tally
) -> AsyncGenerator[bytes, None]:
    choices = [_Choice(plan, index) for index in range(len(plan.jobs))]
    async with aclosing(generation.generate_all(service, plan.jobs, tally)) as deltas:
        async for index, delta in deltas:
            text, logprobs = choices[index].take(delta)
            reason = delta.finish_reason
            if text or reason or (logprobs and logprobs.tokens):
                choice = CompletionChoice(index, text, logprobs, reason, reason)
                yield event(plan.completion([choice]))
    last = event(plan.completion([], tally.usage())) if plan.usage_in_stream else b""
    yield last + DONE
