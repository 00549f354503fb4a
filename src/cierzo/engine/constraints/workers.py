"""What threads do for requests under a constraint while steps run: masks, and checks of values.

A step waits for neither longer than it must. A request whose mask is late, or whose value is being
verified, is held: the others go on, and it is in the next step after that. Which step a token comes
in changes no token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cierzo.engine.constraints.check_worker import Check, CheckWorker
from cierzo.engine.constraints.mask_worker import MaskWorker
from cierzo.engine.progress import Progress
from cierzo.engine.request import Request

LATE_SECONDS = 0.005  # after the forward pass; nearly all masks are finished long before


@dataclass(frozen=True, slots=True)
class StepMasks:
    """The masks of one step, for those of its requests that want one."""

    masks: npt.NDArray[np.uint32]  # [S, words]
    slots: dict[str, int]  # the place of each request's mask in `masks`, by request id
    late: set[str]  # ids of requests whose mask is not finished


class ConstraintWorkers:
    """The threads, and the requests that are held."""

    def __init__(self, max_batch_sequences: int, max_active: int, progress: Progress) -> None:
        """The most requests that one step has, and that there are at all."""
        self._rows: npt.NDArray[np.uint32] = np.zeros((max_batch_sequences, 0), dtype=np.uint32)
        self._masks = MaskWorker(progress.notify)
        self._checks = CheckWorker(max_active, progress.notify)
        self._late: dict[str, Request] = {}
        self._checking: dict[str, tuple[Request, Check]] = {}

    @property
    def holds_requests(self) -> bool:
        """Whether any request is held."""
        return bool(self._late or self._checking)

    def start_masks(self, requests: Sequence[Request]) -> None:
        """Starts filling the masks for the next tokens of requests that want one."""
        constraints = [one.constrained for one in requests if one.constrained is not None]
        unfilled = [constrained for constrained in constraints if not constrained.mask_ready]
        if unfilled:
            self._masks.begin(unfilled)

    def finish_masks(self, requests: Sequence[Request]) -> StepMasks:
        """Waits a little for the masks that were started, and gathers them for the sampler."""
        constraints = {
            request.sequence.request_id: request.constrained
            for request in requests
            if request.constrained is not None
        }
        late = set(self._masks.wait(list(constraints.values()), LATE_SECONDS))
        slots: dict[str, int] = {}
        for request_id, constrained in constraints.items():
            if constrained in late:
                continue
            if not slots and self._rows.shape[1] != len(constrained.mask):
                self._rows = np.zeros((len(self._rows), len(constrained.mask)), dtype=np.uint32)
            self._rows[len(slots)] = constrained.mask
            slots[request_id] = len(slots)
        return StepMasks(self._rows, slots, constraints.keys() - slots.keys())

    def hold_late(self, requests: Sequence[Request]) -> None:
        """Nothing came of a step: its masks are for the next one."""
        late = self.finish_masks(requests).late
        for request in requests:
            if request.sequence.request_id in late:
                self.hold_for_mask(request)

    def hold_for_mask(self, request: Request) -> None:
        """Holds a request until its mask is finished."""
        request.sequence.held = True
        self._late[request.sequence.request_id] = request

    def hold_for_check(self, request: Request) -> None:
        """Has a request's values verified, and holds it until they are."""
        assert request.constrained is not None
        request.sequence.held = True
        check = self._checks.begin(request.constrained)
        self._checking[request.sequence.request_id] = request, check

    def collect(self) -> list[tuple[Request, Check]]:
        """Lets requests go on whose mask or check is finished; returns those that were verified."""
        for request_id, request in list(self._late.items()):
            if request.constrained is not None and request.constrained.mask_ready:
                request.sequence.held = False
                del self._late[request_id]
        verified = [(r, check) for r, check in self._checking.values() if check.finished]
        for request, _ in verified:
            request.sequence.held = False
            del self._checking[request.sequence.request_id]
        return verified

    def drop(self, request: Request) -> None:
        """Forgets a request, and ends what is being done for it."""
        self._late.pop(request.sequence.request_id, None)
        held = self._checking.pop(request.sequence.request_id, None)
        if held is not None:
            held[1].abandon()
        if request.constrained is not None:
            request.constrained.abandoned = True
