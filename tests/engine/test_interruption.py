"""A step is cut where those who stay have more of it, and nobody is kept from going on."""

from __future__ import annotations

from collections.abc import Sequence

from cierzo.engine.interruption import Interruption

HOUR = 3_600.0  # no test takes a part of it that counts


class Step:
    """A step of requests, each of which takes so long."""

    def __init__(self, **seconds: float) -> None:
        self.request_ids = frozenset(seconds)
        self._seconds = seconds

    def seconds_without(self, request_ids: frozenset[str]) -> float:
        return sum(s for name, s in self._seconds.items() if name not in request_ids)


class Steps:
    """What an interruption makes of steps."""

    def __init__(self) -> None:
        self.cut = False
        self.interruption = Interruption(self._set_cut)

    def _set_cut(self, cut: bool) -> None:
        self.cut = cut

    def run(self, step: Step, aborted: Sequence[str]) -> bool:
        """Whether a step is cut in which requests are aborted; they are dropped after it."""
        self.interruption.begin(step)
        for name in aborted:
            self.interruption.abort(name)
        was_cut = self.cut
        self.interruption.end(was_cut=was_cut)
        for name in aborted:
            self.interruption.dropped(name)
        assert not self.cut
        return was_cut


def test_a_step_is_cut_if_nobody_else_is_in_it() -> None:
    steps = Steps()
    assert steps.run(Step(large=HOUR), ["large"])
    assert steps.run(Step(large=0.0, other=0.0), ["large", "other"])


def test_others_must_have_their_results_in_half_the_time() -> None:
    assert Steps().run(Step(large=HOUR, small=HOUR / 10), ["large"])
    assert not Steps().run(Step(large=HOUR, small=HOUR / 10), ["small"])
    assert not Steps().run(Step(one=HOUR, other=HOUR), ["one"])
    assert Steps().run(Step(one=HOUR, other=HOUR, third=HOUR), ["one", "third"])


def test_who_is_not_in_the_step_does_not_cut_it() -> None:
    assert not Steps().run(Step(large=HOUR), ["waiting"])


def test_what_was_aborted_before_the_step_began_cuts_it() -> None:
    steps = Steps()
    steps.interruption.abort("large")
    assert steps.run(Step(large=HOUR), [])
    steps.interruption.dropped("large")
    assert not steps.run(Step(large=HOUR), [])


def test_no_two_steps_in_a_row_are_cut_at_the_cost_of_others() -> None:
    steps = Steps()
    cuts = [
        steps.run(Step(**{f"large {i}": HOUR}, small=HOUR / 10), [f"large {i}"]) for i in range(6)
    ]
    assert cuts == [True, False] * 3
