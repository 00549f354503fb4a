"""Why a prompt was not found in the cache: OpenAI's object of its Responses API, and more in it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

DiagnosticsType: TypeAlias = Literal[
    "cache_hit", "cache_miss", "comparison_response_not_found", "unavailable"
]
MissReason: TypeAlias = Literal["tools_changed", "input_changed", "context_compacted", "not_kept"]


class PromptCacheDiagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """What a request reused of an earlier one. What OpenAI has not got says so."""

    type: DiagnosticsType
    reason: MissReason | UnsetType = UNSET  # OpenAI's words, but for not_kept
    cache_missed_tokens: int | UnsetType = UNSET  # computed again although they need not have been
    comparison_reusable_tokens: int | UnsetType = UNSET  # that the earlier request had to offer
    # The rest is not in OpenAI's.
    comparison_response_id: str | UnsetType = UNSET  # of the earlier answer
    cause: str | UnsetType = UNSET  # the reason more exactly, as /metrics counts it
    param: str | UnsetType = UNSET  # the part of this request in which the two differ first
    character: int | UnsetType = UNSET  # of its text, where they do
    change: str | UnsetType = UNSET  # what kind of difference it is
    shared: str | UnsetType = UNSET  # the end of what is the same
    before: str | UnsetType = UNSET  # how the earlier prompt goes on
    now: str | UnsetType = UNSET  # how this one does
    advice: str | UnsetType = UNSET  # one line on what to do
