"""What each part of the schema rewriting earns: `benchmarks.schemas --without PART`.

A part is switched off by putting in its place what says "leave it to the check". The verifier and
the search hold every value to the schema all the same; what is lost is what a mask forbids at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

from cierzo.grammar import schema as whole
from cierzo.grammar.schema import Enforced
from cierzo.grammar.schema.masks import Mask
from cierzo.grammar.schema.rewrite import positive
from cierzo.grammar.schema.rewrite.rewriter import Rewriter
from cierzo.grammar.schema.subset.edits import Written, written
from cierzo.grammar.schema.subset.inlining import inlined
from cierzo.grammar.schema.subset.outline import Outline


def _loose(rewriter: Rewriter, *_: Any) -> Mask:
    return rewriter.loose()


def _as_it_is(mask: dict[str, Any]) -> Written:
    """The mask for llguidance as it is. It does not count as exact, whether it is or not: who could
    tell is the part that is off."""
    result = written(mask)
    if result.outline is None:
        return result
    return Written(Outline(inlined(mask), exact=False), result.problem)


def _lenient(schema: Any, *_: Any) -> Enforced:
    """llguidance alone: what it does not know, it leaves out."""
    told = json.dumps({**schema, "x-guidance": {"lenient": True}} if schema is not True else {})
    return Enforced({}, f"%json {told}", exact=False)


# For each part: where it stands, and what takes its place.
PARTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "negative": (positive, "negative", _loose),
    "outline": (whole, "written", _as_it_is),
    "all": (whole, "enforce", _lenient),
}


def switch_off(part: str) -> None:
    """For the rest of this process."""
    place, name, instead = PARTS[part]
    mock.patch.object(place, name, instead).start()
