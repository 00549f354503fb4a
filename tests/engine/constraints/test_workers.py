"""Masks and checks beside the steps: who does not need them waits for none; no token changes."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.engine.constraints.check_worker import _FairLock
from cierzo.engine.constraints.constrained import Constrained
from cierzo.engine.constraints.mask_worker import MaskWorker
from cierzo.engine.engine import Engine
from cierzo.engine.sampling_params import SamplingParams
from cierzo.grammar.constraint import Check, Constraint
from cierzo.grammar.verifier import Verifier, Violation
from tests.engine.constraints.test_constrained import (
    EOS,
    PERSON,
    UNIQUE,
    json_answer,
    knowing,
    text_of,
)
from tests.engine.models import Answer, Request, make_engine, random_prompt, run

CHECKED = json_answer(UNIQUE, UNIQUE | {"uniqueItems": True})
WORDS = [f"word {number:04}" for number in range(2_000)]
ITEM = {"enum": ["a", "b", "c", "d"]}
# Takes many slices of work to verify, and cannot be valid.
HOSTILE = json_answer(
    UNIQUE,
    {"items": {"allOf": [{"$ref": "#/$defs/e"}] * 400}, "contains": False, "$defs": {"e": ITEM}},
)


class Gate:
    """Holds checks until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        real = Verifier.violation

        def held(verifier: Verifier, value: bytes) -> Violation | None:
            self.reached.set()
            assert self.opened.wait(240), "whoever opens it waits for the check"
            return real(verifier, value)

        monkeypatch.setattr(Verifier, "violation", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.opened.set()


@pytest.fixture
def bpe(model_path: Any) -> tuple[Engine, Tokenizer]:
    return knowing(make_engine(model_path, eos=(EOS,)), model_path)


def checked(seed: int = 4, **options: Any) -> SamplingParams:
    wanted: dict[str, Any] = {"max_tokens": 100, "seed": seed, "constraint": CHECKED}
    return SamplingParams(**(wanted | options))


def step(engine: Engine, answers: dict[str, Answer]) -> None:
    for output in engine.step():
        answers.setdefault(output.request_id, Answer()).take(output)


def test_others_go_on_while_a_value_is_verified(bpe: tuple[Engine, Tokenizer], gate: Gate) -> None:
    engine, tokenizer = bpe
    answers: dict[str, Answer] = {"checked": Answer()}
    engine.add("checked", random_prompt(6, 15), checked())
    while not gate.reached.is_set():
        step(engine, answers)
    for number in range(3):  # new ones, too, with and without a schema
        engine.add(f"plain {number}", [5, 6, 7], SamplingParams(max_tokens=9, seed=number))
        engine.add(f"bound {number}", [5, 6], checked(number, constraint=json_answer(PERSON)))
    while any(
        (answer := answers.get(f"{kind} {number}")) is None or answer.finish_reason is None
        for kind in ("plain", "bound")
        for number in range(3)
    ):
        step(engine, answers)
    assert answers["checked"].finish_reason is None
    gate.opened.set()
    while engine.has_work():
        step(engine, answers)
    assert sorted(json.loads(text_of(tokenizer, answers["checked"]))) == ["a", "b", "c", "d"]
    assert engine.stats().free_blocks == engine.stats().num_blocks


def test_an_engine_that_only_waits_for_checks_says_so(
    bpe: tuple[Engine, Tokenizer], gate: Gate
) -> None:
    engine, _ = bpe
    woken = threading.Event()
    engine.progress.on_progress = woken.set
    engine.add("checked", random_prompt(6, 15), checked())
    while not engine.stalled:
        engine.step()
    assert engine.has_work()
    engine.add("plain", [5], SamplingParams(max_tokens=1))
    assert not engine.stalled  # there is something to do again
    assert [output.finish_reason for output in engine.step()] == ["length"]
    while not engine.stalled:
        engine.step()
    gate.opened.set()
    assert woken.wait(240)
    assert not engine.stalled


def test_a_request_that_leaves_while_it_is_verified_leaves_nothing(
    bpe: tuple[Engine, Tokenizer], gate: Gate
) -> None:
    engine, tokenizer = bpe
    engine.add("gone", random_prompt(6, 15), checked())
    while not gate.reached.is_set():
        engine.step()
    assert engine.abort("gone")
    assert not engine.has_work()
    assert engine.stats().free_blocks == engine.stats().num_blocks
    gate.opened.set()
    answer = run(engine, {"next": Request(random_prompt(6, 15), checked())})["next"]
    assert sorted(json.loads(text_of(tokenizer, answer))) == ["a", "b", "c", "d"]


def test_a_check_that_nobody_waits_for_ends_early(
    bpe: tuple[Engine, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = bpe
    begun, ended = threading.Event(), threading.Event()
    real = Constrained.settle

    def settle(constrained: Constrained, pause: Any) -> Any:
        begun.set()
        try:
            while True:
                pause()  # whatever is verified, it comes by here
        finally:
            ended.set()

    monkeypatch.setattr(Constrained, "settle", settle)
    engine.add("gone", random_prompt(6, 15), checked())
    while not begun.is_set():  # one that has not begun never does
        engine.step()
    engine.abort("gone")
    assert ended.wait(240)
    monkeypatch.setattr(Constrained, "settle", real)
    answer = run(engine, {"next": Request(random_prompt(6, 15), checked())})["next"]
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize("late", [0.3, 1.0])
def test_masks_that_are_late_change_no_token(
    model_path: Any, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    """Here each is late with some chance, with preemptions, scores, and prompts of many chunks."""
    requests = {
        str(seed): Request(
            random_prompt(seed, 40),
            SamplingParams(
                max_tokens=60,
                seed=seed,
                logprobs=1 if seed % 2 else None,
                prompt_logprobs=1 if seed % 3 == 0 else None,
                constraint=(CHECKED, json_answer(PERSON), None)[seed % 3],
            ),
            arrives=seed % 4,
        )
        for seed in range(9)
    }
    engine, _ = knowing(make_engine(model_path, eos=(EOS,)), model_path)
    expected = run(engine, requests)
    chance = random.Random(1)
    was_late: set[tuple[int, int]] = set()
    real = MaskWorker.wait

    def wait(worker: MaskWorker, wanted: Sequence[Constrained], seconds: float) -> Any:
        assert real(worker, wanted, 60) == []
        found = []
        for constrained in wanted:
            place = id(constrained), len(constrained._tokens)
            if place not in was_late and chance.random() < late:
                was_late.add(place)
                found.append(constrained)
                worker._on_late()
        for constrained in found:
            constrained.mask_ready = False  # until whoever waits has seen that it is late

        def finish() -> None:
            for constrained in found:
                constrained.mask_ready = True
                worker._on_late()

        threading.Timer(0.001, finish).start()
        return found

    monkeypatch.setattr(MaskWorker, "wait", wait)
    cramped, _ = knowing(
        make_engine(model_path, eos=(EOS,), num_blocks=5, max_batch_tokens=9,
                    max_batch_sequences=4),
        model_path,
    )  # fmt: skip
    assert run(cramped, requests) == expected
    assert was_late


def test_a_hostile_one_changes_no_token_of_others(bpe: tuple[Engine, Tokenizer]) -> None:
    engine, _ = bpe
    hostile = checked(constraint=HOSTILE)
    requests = {str(seed): Request(random_prompt(seed, 20), checked(seed)) for seed in range(4)}
    alone = {
        name: run(engine, {name: request})[name].token_ids for name, request in requests.items()
    }
    company = {f"hostile {n}": Request(random_prompt(n, 9), hostile, n) for n in range(3)}
    together = run(engine, {**company, **requests})
    assert {name: together[name].token_ids for name in requests} == alone
    for name, request in company.items():
        assert together[name].error
        assert run(engine, {name: request})[name].error == together[name].error


def test_checks_that_take_longer_change_no_token(
    bpe: tuple[Engine, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ends after some steps, by chance, beside others with and without a schema."""
    engine, _ = bpe
    requests = {
        str(seed): Request(
            random_prompt(seed, 20),
            checked(seed) if seed % 3 else SamplingParams(max_tokens=40, seed=seed),
            arrives=seed % 4,
        )
        for seed in range(9)
    }
    alone = {
        name: run(engine, {name: Request(request.prompt, request.params)})[name]
        for name, request in requests.items()
    }
    chance = random.Random(2)
    real = Constrained.settle
    longer = threading.Event()
    settled = 0

    def settle(constrained: Constrained, pause: Any) -> Any:
        nonlocal settled
        settled += 1
        longer.wait(chance.random() * 0.02)
        return real(constrained, pause)

    monkeypatch.setattr(Constrained, "settle", settle)
    assert run(engine, requests) == alone
    assert settled >= 6


def test_a_defect_in_a_check_ends_one_answer_alone(
    bpe: tuple[Engine, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = bpe

    def broken(verifier: Verifier, value: bytes) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(Verifier, "violation", broken)
    fine = msgspec.structs.replace(checked(), constraint=json_answer(PERSON))
    answers = run(engine, {"broken": Request([5], checked()), "fine": Request([5], fine)})
    assert answers["broken"].finish_reason == "error"
    assert "KeyError" in (answers["broken"].error or "")
    assert answers["fine"].finish_reason == "stop"


def test_a_defect_in_a_mask_ends_one_answer_alone(
    bpe: tuple[Engine, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = bpe
    real = Constrained.fill_mask

    def broken(constrained: Constrained) -> None:
        if constrained._verifiers:
            raise KeyError("a defect")
        real(constrained)

    monkeypatch.setattr(Constrained, "fill_mask", broken)
    fine = msgspec.structs.replace(checked(), constraint=json_answer(PERSON))
    answers = run(engine, {"broken": Request([5], checked()), "fine": Request([5], fine)})
    assert answers["broken"].finish_reason == "error"
    assert answers["fine"].finish_reason == "stop"


def test_an_answer_ends_when_its_work_is_done_up(bpe: tuple[Engine, Tokenizer]) -> None:
    """The same way every time, however large the schema is."""
    engine, _ = bpe
    never = {
        "items": {"allOf": [{"$ref": "#/$defs/e"}] * 9_000},
        "contains": False,
        "$defs": {"e": ITEM},
    }
    constraint = Constraint(grammar=CHECKED.grammar, checks=(Check("value", json.dumps(never)),))
    request = Request(random_prompt(6, 15), checked(constraint=constraint))
    first, again = (run(engine, {"r": request})["r"] for _ in range(2))
    assert "within the work" in (first.error or "")
    assert first == again


def test_who_has_done_least_is_next() -> None:
    lock = _FairLock()
    lock.acquire(0)
    order: list[int] = []

    def work(done: int) -> None:
        lock.acquire(done)
        order.append(done)
        lock.release()

    threads = [threading.Thread(target=work, args=(done,)) for done in (7, 1, 4)]
    for thread in threads:
        thread.start()
    while len(lock._waiting) < 3:
        pass
    lock.offer(0)  # nobody has done less
    assert order == []
    lock.offer(5)
    for thread in threads[1:]:
        thread.join(60)
    assert order[:2] == [1, 4]
    lock.release()
    threads[0].join(60)
    assert order == [1, 4, 7]
