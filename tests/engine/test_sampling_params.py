"""Parameters are checked by many threads, from the first request on."""

from __future__ import annotations

from tests.support.first_use import run_first_at_once


def test_the_first_requests_may_come_at_once() -> None:
    run_first_at_once(
        "from cierzo.engine.sampling_params import SamplingParams, validate",
        "validate(SamplingParams(), 100)",
    )
