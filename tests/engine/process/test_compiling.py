"""The thread for grammars: nobody is left waiting, and nothing is compiled that nobody wants."""

from __future__ import annotations

import asyncio
import queue
import threading
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import token_bytes_of
from cierzo.engine.engine import Engine
from cierzo.engine.messages import Add, Compile, CompileResult, Forget, SetVocabulary
from cierzo.engine.process.compile_worker import (
    LANES,
    CompileWorker,
    Made,
    Prepared,
    VocabularyReady,
)
from cierzo.engine.process.main import Inbox, Loop
from cierzo.engine.process.pending_answers import PendingAnswers
from cierzo.engine.sampling_params import SamplingParams
from cierzo.grammar.compiler import Compiled, GrammarCompiler
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.vocabulary import TokenBytes
from cierzo.model.readers.checkpoint import open_checkpoint
from tests.engine.models import VOCAB, make_engine

Done: TypeAlias = queue.SimpleQueue[Made]


def digits(count: int) -> Constraint:
    return Constraint(grammar=f"start: /[0-9]{{{count}}}/")


def asked(request_id: str, count: int) -> Add:
    return Add(request_id, b"", SamplingParams(constraint=digits(count)))


@pytest.fixture
def done() -> Done:
    return queue.SimpleQueue()


@pytest.fixture
def source(model_path: Path) -> TokenBytes:
    return token_bytes_of(load_tokenizer(open_checkpoint(model_path).tokenizer))


@pytest.fixture
def worker(source: TokenBytes, done: Done) -> CompileWorker:
    worker = CompileWorker(VOCAB, done.put)
    worker.set_vocabulary(source)
    assert isinstance(done.get(timeout=60), VocabularyReady)
    return worker


def test_the_vocabulary_comes_before_what_was_compiled_with_it(
    source: TokenBytes, done: Done
) -> None:
    """So the engine, which its own thread gives both, knows it when a request comes."""
    large = Constraint(grammar=digits(2).grammar + " " * LANES[-1])
    worker = CompileWorker(VOCAB, done.put)
    worker.check(0, digits(1))
    worker.set_vocabulary(source)
    worker.prepare(asked("small", 1))
    worker.prepare(Add("large", b"", SamplingParams(constraint=large)))
    early, ready, *prepared = [done.get(timeout=60) for _ in range(4)]
    assert isinstance(early, CompileResult)
    assert early.failure is not None
    assert "not known yet" in early.failure.problem
    assert isinstance(ready, VocabularyReady)
    assert all(isinstance(one, Prepared) and isinstance(one.result, Compiled) for one in prepared)


def test_only_the_loops_thread_touches_the_engine(
    model_path: Path, source: TokenBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(model_path)
    threads: set[threading.Thread] = set()

    def note(engine: Engine, name: str, value: object) -> None:
        threads.add(threading.current_thread())
        object.__setattr__(engine, name, value)

    monkeypatch.setattr(Engine, "__setattr__", note, raising=False)
    inbox: Inbox = queue.SimpleQueue()
    inbox.put(SetVocabulary(source))
    inbox.put(Add("r", bytes(4), SamplingParams(constraint=digits(3))))
    assert not Loop(engine, inbox).read(lambda message: None).refused
    assert engine.has_work()
    assert threads == {threading.current_thread()}


def test_what_nobody_waits_for_any_more_is_not_compiled(
    worker: CompileWorker, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a client that asks and leaves, again and again, would keep others waiting."""
    reached, opened = threading.Event(), threading.Event()
    compiled: list[str] = []
    real = GrammarCompiler._compile

    def slow(grammars: GrammarCompiler, constraint: Constraint) -> Compiled:
        reached.set()
        assert opened.wait(60)
        compiled.append(constraint.grammar)
        return real(grammars, constraint)

    monkeypatch.setattr(GrammarCompiler, "_compile", slow)
    worker.check(0, digits(1))
    assert reached.wait(60)
    for serial in range(2, 6):
        worker.check(serial, digits(serial))
        assert worker.prepare(asked(f"r{serial}", 10 + serial))
    for serial in (2, 3, 5):
        worker.forget(serial)
        assert worker.drop(f"r{serial}")
    opened.set()
    answers = [done.get(timeout=60) for _ in range(3)]
    assert [type(answer) for answer in answers] == [CompileResult, CompileResult, Prepared]
    assert compiled == [digits(count).grammar for count in (1, 4, 14)]
    worker.forget(4)  # too late
    assert done.empty()


def test_the_next_turn_of_a_session_finds_its_grammar_compiled(
    worker: CompileWorker, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    real = GrammarCompiler._compile

    def noted(grammars: GrammarCompiler, constraint: Constraint) -> Compiled:
        compiled.append(constraint.grammar)
        return real(grammars, constraint)

    monkeypatch.setattr(GrammarCompiler, "_compile", noted)
    counts = []
    for turn in range(4):
        worker.prepare(asked(f"r{turn}", 1))
        assert isinstance(done.get(timeout=60), Prepared)
        worker.renew(digits(1))
        worker.check(turn, digits(2))  # behind what is made for the next turn
        assert done.get(timeout=60) == CompileResult(turn, None)
        counts.append(compiled.count(digits(1).grammar))
    assert counts == [1, 3, 4, 5]  # the second turn's own, and then one for each turn that follows


def test_whoever_waits_hears_of_a_panic(
    worker: CompileWorker, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which in Python is no Exception."""

    class Panic(BaseException):
        pass

    def panics(grammars: GrammarCompiler, constraint: Constraint) -> Compiled:
        raise Panic("at the disco")

    with monkeypatch.context() as patch:
        patch.setattr(GrammarCompiler, "_compile", panics)
        worker.check(7, digits(1))
        answer = done.get(timeout=60)
        assert isinstance(answer, CompileResult)
        assert answer.failure is not None
        assert answer.failure.fault == "engine"
        assert "Panic: at the disco" in answer.failure.problem
        worker.prepare(asked("r", 1))
        prepared = done.get(timeout=60)
        assert isinstance(prepared, Prepared)
        assert prepared.result == answer.failure
    worker.check(8, digits(1))
    assert done.get(timeout=60) == CompileResult(8, None)


def test_who_leaves_says_so() -> None:
    sent: list[Any] = []

    class Process:
        send = staticmethod(sent.append)

    async def main() -> None:
        calls: PendingAnswers[CompileResult] = PendingAnswers()
        process: Any = Process()

        def ask(constraint: Constraint) -> asyncio.Task[CompileResult]:
            asked = calls.ask(process, lambda serial: Compile(serial, constraint), Forget)
            return asyncio.create_task(asked)

        leaving, staying = ask(digits(1)), ask(digits(2))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        calls.receive(CompileResult(1, None))
        assert (await staying).failure is None

    asyncio.run(main())
    assert sent == [Compile(0, digits(1)), Compile(1, digits(2)), Forget(0)]
