"""The state that `/health` tells is the one by which requests are taken or refused."""

from __future__ import annotations

import pytest

from cierzo.api.state import State, status_of
from cierzo.engine.process.status import EngineState, EngineStatus


@pytest.mark.parametrize(
    ("engine", "has_language", "stopping", "state"),
    [
        ("loading", False, False, State.LOADING),
        ("loading", True, False, State.LOADING),
        ("ready", False, False, State.LOADING),
        ("ready", True, False, State.READY),
        ("restarting", False, False, State.LOADING),
        ("restarting", True, False, State.RESTARTING),
        ("dead", False, False, State.DEAD),
        ("dead", True, False, State.DEAD),
        ("stopped", True, False, State.STOPPING),
        ("ready", True, True, State.STOPPING),
        ("dead", True, True, State.STOPPING),
    ],
)
def test_one_state_of_what_server_and_engine_are(
    engine: EngineState, has_language: bool, stopping: bool, state: State
) -> None:
    told = EngineStatus(state=engine, detail="why", since=1.0)
    status = status_of(told, has_language=has_language, stopping=stopping)
    assert status.state is state
    assert status.ending is (state in (State.DEAD, State.STOPPING))
    assert status.since == 1.0
    if state.value == engine:
        assert status.detail == "why"
