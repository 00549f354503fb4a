"""What is drafted in a step, of all requests that run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cierzo.engine.drafts.draft import Draft
from cierzo.engine.drafts.drafter import Drafter
from cierzo.engine.request import Request
from cierzo.engine.sequence import Sequence

INDEXED = 8_192  # tokens of long prompts read into indexes in a step: half a millisecond


def plan_drafts(
    running: Iterable[Sequence], requests: Mapping[str, Request], drafter: Drafter, room: int
) -> None:
    """Writes behind the tokens of sequences what may come next, for the step to verify.

    The step has room for so many tokens that are drafted or decode.
    """
    drafts: list[tuple[Sequence, Draft]] = []
    rows, unread = 0, INDEXED
    for sequence in running:
        request = requests[sequence.request_id]
        draft = request.draft
        if draft is not None:
            unread -= draft.follow(sequence, unread)
        if sequence.num_pending != 1:
            continue
        rows += 1
        sequence.num_draft = 0
        if draft is None or not request.may_draft:
            continue
        if request.forced:
            room -= request.draft_forced(room)
        elif draft.is_current(sequence):
            drafts.append((sequence, draft))
    drafter.plan(drafts, rows, room - rows)
