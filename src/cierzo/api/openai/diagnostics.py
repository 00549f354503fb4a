"""Why a prompt was missed in the cache, in OpenAI's words: how it is asked for, how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from cierzo.api.openai.parts import spelled
from cierzo.api.openai.wire.diagnostics import MissReason, PromptCacheDiagnostics
from cierzo.api.openai.wire.routing import RoutedRequest
from cierzo.api.openai.wire.unread import Unread, is_given
from cierzo.api.service import Service
from cierzo.chat.messages import Part
from cierzo.generate.ask import Ask
from cierzo.generate.job import Job
from cierzo.generate.model import Model
from cierzo.generate.reuse.diagnosis import Cause, Diagnosis
from cierzo.generate.reuse.watch import Watch, Watched
from cierzo.generate.reuse.words import in_words

PREVIOUS = "previous"  # in place of an id: the request before this one, as the server finds it
_LONGEST_NAME = 512  # bytes of the JSON of a session's name, or of an answer's id
_REASONS: dict[Cause, MissReason] = {
    Cause.TOOLS: "tools_changed",
    Cause.COMPACTED: "context_compacted",
    Cause.NOT_KEPT: "not_kept",
}


class _Options(msgspec.Struct):
    comparison_response_id: Unread = UNSET


_OPTIONS = msgspec.json.Decoder(_Options)


@dataclass(frozen=True)
class Asked:
    """What a request says of diagnostics."""

    wanted: bool = False  # in the answer
    compare_with: str | None = None  # an earlier answer's id


def asked_in(request: RoutedRequest) -> Asked:
    """What is asked for. It changes nothing in the answer itself, so any form is taken."""
    json = request.prompt_cache_options
    if not isinstance(json, msgspec.Raw):
        return Asked()
    try:
        given = _OPTIONS.decode(json).comparison_response_id
    except (msgspec.DecodeError, RecursionError):
        return Asked()
    if not isinstance(given, msgspec.Raw) or not is_given(given):
        return Asked()
    name = _name(given)
    return Asked(wanted=True, compare_with=None if name == PREVIOUS else name)


def watch_of(
    service: Service, model: Model, request: RoutedRequest, *, ask: Ask, job: Job, id: str
) -> Watch | None:
    """What finds out what the request could have reused; None where nothing is."""
    if service.settings.engine.prefix_cache == "off" or job.params.prompt_logprobs is not None:
        return None
    server = service.settings.server
    shared = len(server.api_keys) > 1 and server.cache_sharing == "all"
    watched = Watched(
        id=id,
        prompt=ask.prompt,
        tokens=job.prompt,
        cache_salt=ask.cache_salt,
        retain=ask.retain,
        session=ask.hints.session,
        compare_with=asked_in(request).compare_with,
        quotes=not shared,
    )
    return Watch(watched, service.reuse.recent, model.language.vocabulary.tokens)


def told(
    diagnosis: Diagnosis | None, tool_places: Sequence[str], *, wanted: bool
) -> PromptCacheDiagnostics | UnsetType:
    """The object in the answer, if it is asked for. None: it cannot be said."""
    if not wanted:
        return UNSET
    if diagnosis is None:
        return PromptCacheDiagnostics(type="unavailable")
    if diagnosis.compared is None:
        return PromptCacheDiagnostics(type="comparison_response_not_found")
    if not diagnosis.misses:
        return PromptCacheDiagnostics(
            type="cache_hit",
            comparison_response_id=diagnosis.compared,
            comparison_reusable_tokens=diagnosis.reusable,
        )
    miss = diagnosis.misses[0]
    place = miss.place
    there = miss.cause is not Cause.NOT_KEPT
    return PromptCacheDiagnostics(
        type="cache_miss",
        reason=_REASONS.get(miss.cause, "input_changed"),
        cache_missed_tokens=miss.tokens,
        comparison_reusable_tokens=diagnosis.reusable,
        comparison_response_id=diagnosis.compared,
        cause=miss.cause.value,
        param=where(place.part, tool_places) or UNSET,
        character=UNSET if place.character is None else place.character,
        change=place.change.value if place.part else UNSET,
        shared=place.shared if there else UNSET,
        before=place.before if there else UNSET,
        now=place.now if there else UNSET,
        advice=in_words(miss, lambda part: where(part, tool_places)),
    )


def where(part: Part, tool_places: Sequence[str]) -> str:
    """A part as the request has it; a tool that is gone, where it was."""
    match part:
        case ("messages", int(index), "content", int(place), *rest):
            return ".".join((f"messages[{index}].content[{place}]", *map(str, rest)))
        case ("tools", int(index)) if index < len(tool_places):
            return tool_places[index].removesuffix(".function")
        case ("tools", int(index), *_):
            if index >= len(tool_places):
                return f"tools[{index}]"
    return spelled(part, tool_places)


def _name(json: msgspec.Raw) -> str:
    """A name in any form."""
    data = bytes(memoryview(json)[:_LONGEST_NAME])
    try:
        return msgspec.json.decode(data, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data.decode("utf-8", "replace")
