"""A checked request, ready to run, and how its answer goes out: what both completions share."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from starlette.responses import Response

from cierzo.api.errors import stream_error
from cierzo.api.generation import Tally
from cierzo.api.http.sse import Answer, EventStream
from cierzo.api.jobs import Job
from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.routing import RoutedRequest
from cierzo.api.openai.wire.unread import is_given
from cierzo.api.served_model import PROVIDER
from cierzo.api.state import Service, new_id
from cierzo.api.warnings import warning_header
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.engine.sampling_params import SamplingParams
from cierzo.settings import Limits

R = TypeVar("R", bound=RoutedRequest)


@dataclass(frozen=True)
class Plan(Generic[R]):
    """`head` is what every event of the answer begins with; `warnings` go into a header."""

    request: R
    path: str
    jobs: tuple[Job, ...]
    head: Mapping[str, Any]
    tokenizer: Tokenizer
    usage_in_stream: bool
    warnings: tuple[str, ...] = field(default=(), kw_only=True)


P = TypeVar("P", bound=Plan[Any])


def head_of(service: Service, request: RoutedRequest) -> dict[str, Any]:
    """The fields of `AnswerHead` for a new answer."""
    now = int(time.time())
    head: dict[str, Any] = {
        "id": new_id(now),
        "created": now,
        "model": service.served.name,
        "provider": PROVIDER,
        "system_fingerprint": service.fingerprint,
    }
    if is_given(request.service_tier):
        head["service_tier"] = "default"
    return head


def sampling_of(
    request: common.SamplingRequest, defaults: Mapping[str, float], limits: Limits
) -> SamplingParams:
    """How to sample: what the request says, then what the model's makers advise, then OpenAI's."""
    wishes = {**defaults, **common.sampling_wishes(request)}
    return SamplingParams(**wishes, stop=common.stop_strings(request.stop, limits))


def respond(
    service: Service,
    plan: P,
    answer: Callable[[Service, P, Tally], Coroutine[Any, Any, Response]],
    events: Callable[[Service, P, Tally], AsyncGenerator[bytes, None]],
    broken: Mapping[str, Any],
) -> Response:
    """The response: one JSON, or a stream.

    `broken` has the choice in a stream's last event, if an error ends it, and under "object" the
    kind of the event.
    """
    headers = {"x-generation-id": plan.head["id"], **warning_header(plan.warnings)}
    entry = service.served.entry
    tally = Tally(entry.prompt_price, entry.completion_price)
    if not plan.request.stream:

        async def whole() -> Response:
            response = await answer(service, plan, tally)
            response.headers.update(headers)
            return response

        return Answer(whole)
    kind = {"object": broken["object"]}
    choice = {name: value for name, value in broken.items() if name != "object"}
    return EventStream(
        events(service, plan, tally),
        lambda error: stream_error(error, plan.path, {**plan.head, **kind}, choice),
        headers,
    )
