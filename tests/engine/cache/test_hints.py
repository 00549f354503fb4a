"""What a request says of how it will be asked again decides what goes first, and nothing else."""

from __future__ import annotations

from itertools import count

import pytest

from cierzo.engine.cache import sessions
from cierzo.engine.cache.hints import Hints
from cierzo.engine.cache.kv_cache import KvCache
from tests.engine.cache.memory import BLOCK, Memory, make

SESSION, OTHER = Hints(b"session"), Hints(b"other")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes with each look at the clock."""
    ticks = count(10_000)
    monkeypatch.setattr("cierzo.engine.cache.eviction.time.monotonic", lambda: float(next(ticks)))


@pytest.fixture
def memory() -> Memory:
    return Memory(24)


def text(first: int, blocks: int) -> list[int]:
    """Full blocks that no other text has."""
    return list(range(first, first + blocks * BLOCK))


def take(cache: KvCache, number: int) -> None:
    """Blocks are needed for something else."""
    assert all(cache.take() is not None for _ in range(number))


def found(memory: Memory, tokens: list[int], salt: str = "") -> int:
    """How many blocks of a text are still there."""
    return memory.cache.find(make([*tokens, 0], salt=salt)).depth


def test_what_a_session_rewrote_goes_before_what_is_older(memory: Memory) -> None:
    older, old = text(1_000, 8), text(2_000, 8)
    rewritten = [*old[: 2 * BLOCK], *text(3_000, 6)]
    memory.run(older)
    memory.run(old, hints=SESSION)
    memory.run(rewritten, hints=SESSION)
    take(memory.cache, 24 - 8 - 8 - 6 + 6)
    assert found(memory, older) == found(memory, rewritten) == 8
    assert found(memory, old) == 2


def test_without_its_name_the_oldest_goes(memory: Memory) -> None:
    older, old = text(1_000, 8), text(2_000, 8)
    memory.run(older)
    memory.run(old)
    memory.run([*old[: 2 * BLOCK], *text(3_000, 6)])
    take(memory.cache, 24 - 8 - 8 - 6 + 6)
    assert found(memory, older) == 2
    assert found(memory, old) == 8


@pytest.mark.parametrize("salt", ["", "tenant"])
def test_sessions_of_one_name_are_of_one_tenant(memory: Memory, salt: str) -> None:
    older, old = text(1_000, 8), text(2_000, 8)
    memory.run(older)
    memory.run(old, hints=SESSION)
    memory.run([*old[: 2 * BLOCK], *text(3_000, 4)], hints=SESSION, salt=salt)
    memory.cache.check([])
    take(memory.cache, 24 - memory.cache.num_cached + 6)
    assert (found(memory, old) == 2) == (salt == "")


def test_what_somebody_else_used_since_stays(memory: Memory) -> None:
    older, old = text(1_000, 8), text(2_000, 8)
    memory.run(older)
    memory.run(old, hints=SESSION)
    memory.run(old, hints=OTHER)
    memory.run([*old[: 2 * BLOCK], *text(3_000, 6)], hints=SESSION)
    take(memory.cache, 24 - 8 - 8 - 6 + 6)
    assert found(memory, old) == 8


def test_a_short_request_replaces_nothing(memory: Memory) -> None:
    """It may be another agent's, which was given a part of the work."""
    older, old = text(1_000, 8), text(2_000, 8)
    memory.run(older)
    memory.run(old, hints=SESSION)
    memory.run([*old[:BLOCK], *text(3_000, 2)], hints=SESSION)
    take(memory.cache, 24 - 8 - 8 - 2 + 6)
    assert found(memory, old) == 8


def test_who_comes_back_to_what_he_replaced_has_agents(memory: Memory) -> None:
    older, one, two = text(1_000, 6), text(2_000, 6), text(3_000, 6)
    memory.run(older)
    memory.run(one, hints=SESSION)
    memory.run(two, hints=SESSION)
    memory.run(one, hints=SESSION)
    take(memory.cache, 24 - 18 + 5)
    assert found(memory, older) == 1
    assert found(memory, one) == found(memory, two) == 6


def test_a_session_that_grows_replaces_nothing(memory: Memory) -> None:
    older = text(1_000, 6)
    memory.run(older)
    for length in range(3, 6 * BLOCK):  # tails are taken over by longer ones
        memory.run(list(range(2_000, 2_000 + length)), hints=SESSION)
        memory.cache.check([])
    take(memory.cache, 24 - memory.cache.num_cached + 6)
    assert found(memory, older) == 0
    assert found(memory, text(2_000, 5)) == 5


def test_what_is_said_to_last_counts_as_used_later(memory: Memory) -> None:
    lasting, young = text(1_000, 8), text(2_000, 8)
    memory.run(lasting, hints=Hints(seconds=3_600))
    memory.run(young)
    take(memory.cache, 8 + 8)
    assert found(memory, lasting) == 8
    assert found(memory, young) == 0


def test_what_clients_usually_say_says_nothing(memory: Memory) -> None:
    marked, young = text(1_000, 8), text(2_000, 8)
    memory.run(marked, hints=Hints(seconds=300))
    memory.run(young)
    take(memory.cache, 8 + 8)
    assert found(memory, marked) == 0


def test_no_hint_is_a_lock(memory: Memory) -> None:
    lasting, young = text(1_000, 8), text(2_000, 8)
    memory.run(lasting, hints=Hints(b"s", 1e9))
    take(memory.cache, 8)
    memory.run(young, hints=Hints(b"t", 1e9))
    take(memory.cache, 8)
    assert found(memory, lasting) == 0
    assert found(memory, young) == 8
    take(memory.cache, 8)
    assert memory.cache.take() is None


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch, memory: Memory) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 5)
    for number in range(20):
        memory.run(text(100, 2), hints=Hints(str(number).encode()))
        memory.cache.check([])
    assert len(memory.cache.sessions) == 5
    memory.cache.clear("")
    assert len(memory.cache.sessions) == 0
