"""An answer in the making, and how it goes out: what both kinds of completions share."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from msgspec import UnsetType
from starlette.responses import Response
from starlette.types import Scope

from cierzo.api.errors import ApiError
from cierzo.api.http.request_log import note
from cierzo.api.http.sse import EventStream, WatchedResponse
from cierzo.api.openai.diagnostics import asked_in, told, where
from cierzo.api.openai.dialect import OpenAiDialect
from cierzo.api.openai.errors import api_error
from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.diagnostics import PromptCacheDiagnostics
from cierzo.api.openai.wire.routing import RoutedRequest
from cierzo.api.openai.wire.unread import is_given
from cierzo.api.reuse import Watching
from cierzo.api.served_model import PROVIDER
from cierzo.api.service import Service
from cierzo.api.state import State
from cierzo.api.warnings import warning_header
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.generate.answers import answers, check_constraints
from cierzo.generate.delta import Delta
from cierzo.generate.job import Job
from cierzo.generate.receipt import Receipt
from cierzo.generate.refused import Refused
from cierzo.generate.reuse.watch import Watch

ENOUGH = 1024  # tokens of an answer that is not refused for want of room for more
_LETTERS = string.ascii_letters + string.digits

R = TypeVar("R", bound=RoutedRequest)


@dataclass(frozen=True)
class Reply(Generic[R]):
    """A checked request with the jobs that answer it.

    `head` is what every event of the answer begins with; `warnings` go into a header.
    """

    request: R
    dialect: OpenAiDialect
    jobs: tuple[Job, ...]
    head: Mapping[str, Any]
    tokenizer: Tokenizer
    tool_places: Sequence[str] = ()
    warnings: Sequence[str] = ()
    receipt: Receipt = field(default_factory=Receipt)
    watch: Watch | None = None  # None: nobody can say what could have been reused

    @property
    def usage_in_stream(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.dialect.usage_in_every_stream or _asks_for_usage(self.request)

    @property
    def diagnosed(self) -> bool:
        """Whether the answer is to say why its prompt was missed in the cache."""
        return asked_in(self.request).wanted

    @property
    def diagnostics(self) -> PromptCacheDiagnostics | UnsetType:
        """Why it was, once the answer has ended, if that is asked for."""
        diagnosis = self.watch.diagnosis if self.watch is not None else None
        return told(diagnosis, self.tool_places, wanted=self.diagnosed)

    def last_fields(self, service: Service) -> dict[str, Any]:
        """What a stream's last event says of the whole; nothing if nothing is asked for."""
        fields: dict[str, Any] = {}
        if self.usage_in_stream:
            fields["usage"] = usage_of(service, self.receipt)
        if self.diagnosed:
            fields["prompt_cache_diagnostics"] = self.diagnostics
        return fields


P = TypeVar("P", bound=Reply[Any])


def head_of(service: Service, request: RoutedRequest) -> dict[str, Any]:
    """The fields of `AnswerHead` for a new answer."""
    now = int(time.time())
    head: dict[str, Any] = {
        "id": _new_id(now),
        "created": now,
        "model": service.served.name,
        "provider": PROVIDER,
        "system_fingerprint": service.fingerprint,
    }
    if is_given(request.service_tier):
        head["service_tier"] = "default"
    return head


def _new_id(now: int) -> str:
    """An id for an answer, in OpenRouter's form."""
    return f"gen-{now}-" + "".join(secrets.choice(_LETTERS) for _ in range(20))


async def check_forms(service: Service, reply: Reply[Any]) -> None:
    """Has the engine compile what the answers must look like. Raises ApiError if it cannot."""
    if service.status.state is State.RESTARTING:
        return  # the engine's successor is given the request, and compiles then
    try:
        await check_constraints(service.client, reply.jobs)
    except Refused as refused:
        raise api_error(refused, reply.tool_places, ending=True) from refused


async def deltas(service: Service, reply: Reply[Any]) -> AsyncGenerator[tuple[int, Delta], None]:
    """The deltas of all choices as they come, each with its choice's index. Raises ApiError."""
    engine = service.settings.engine
    stream = answers(
        service.client,
        reply.jobs,
        reply.tokenizer,
        reply.receipt,
        at_once=min(engine.max_batch_sequences, engine.max_queue),
        observer=service.metrics,
    )
    watching: Watching | None = None
    try:
        async with aclosing(stream):
            async for index, delta in stream:
                if reply.watch is not None:
                    reply.watch.take(index, delta.token_ids)
                yield index, delta
                if reply.watch is not None and watching is None:  # the first token has gone out
                    watching = service.reuse.begin(
                        reply.watch, lambda part: where(part, reply.tool_places)
                    )
    except Refused as refused:
        raise api_error(refused, reply.tool_places, ending=service.status.ending) from refused
    finally:
        if watching is not None:
            watching.ended(reply.receipt.cached_tokens)
    if watching is not None and reply.diagnosed:
        await watching.looked.wait()


def usage_of(service: Service, receipt: Receipt) -> common.Usage:
    """A receipt as clients are told of it, with its price in US dollars."""
    entry = service.served.entry
    kept = service.settings.engine.prefix_cache == "on"
    # Rounded to where a float's own error would show.
    prompt_cost = round(receipt.prompt_tokens * entry.prompt_price, 12)
    completion_cost = round(receipt.completion_tokens * entry.completion_price, 12)
    return common.Usage(
        prompt_tokens=receipt.prompt_tokens,
        completion_tokens=receipt.completion_tokens,
        total_tokens=receipt.prompt_tokens + receipt.completion_tokens,
        cost=round(prompt_cost + completion_cost, 12),
        cost_details=common.CostDetails(prompt_cost, completion_cost),
        completion_tokens_details=common.CompletionTokensDetails(
            accepted_prediction_tokens=receipt.accepted_prediction,
            rejected_prediction_tokens=receipt.rejected_prediction,
        ),
        prompt_tokens_details=common.PromptTokensDetails(
            receipt.cached_tokens, receipt.written_tokens if kept else 0
        ),
    )


def respond(
    service: Service,
    scope: Scope,
    reply: P,
    whole: Callable[[Service, P], Coroutine[Any, Any, Response]],
    events: Callable[[Service, P], AsyncGenerator[bytes, None]],
    *,
    broken: Mapping[str, Any],
) -> Response:
    """The response: one JSON, or a stream.

    `broken` has the choice in a stream's last event, if an error ends it, and under "object" the
    kind of the event.
    """
    headers = {"x-generation-id": reply.head["id"], **warning_header(reply.warnings)}
    told = {"warnings": len(reply.warnings)} if reply.warnings else {}
    note(scope, lambda: {"generation": reply.head["id"], **reply.receipt.summary(), **told})
    if not reply.request.stream:

        async def answer() -> Response:
            response = await whole(service, reply)
            response.headers.update(headers)
            return response

        return WatchedResponse(answer)
    head = {**reply.head, "object": broken["object"]}
    choice = {name: value for name, value in broken.items() if name != "object"}

    def last_event(error: ApiError) -> bytes:
        return reply.dialect.broken_event(error, head, choice)

    return EventStream(events(service, reply), last_event, headers)


def _asks_for_usage(request: common.SamplingRequest) -> bool:
    """Whether a stream is to end with its usage."""
    options, older = request.stream_options, request.usage
    asked = isinstance(options, common.StreamOptions) and bool(options.include_usage)
    asked_before = older is True or (isinstance(older, common.UsageOptions) and bool(older.include))
    return asked or asked_before
