"""Grammars are compiled on threads of their own, so that no request waits for another's grammar.

llguidance bounds what it does for one, but the largest take seconds. So small, middling and large
ones wait in lanes of their own. The threads know nothing of the engine: what they make goes to its
own thread, which hands it over.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from cierzo.engine.messages import Add, CompileFailure, CompileResult
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import BeginningError, GrammarError
from cierzo.grammar.vocabulary import TokenBytes, Vocabulary

if TYPE_CHECKING:
    from cierzo.grammar.compiler import Compiled, GrammarCompiler

T = TypeVar("T")

# Characters of grammars up to which a lane takes them; one more has the rest.
LANES = (8_000, 64_000)


@dataclass(frozen=True)
class Prepared:
    """A request with what its constraint was compiled to, or why that could not be."""

    add: Add
    result: Compiled | CompileFailure


@dataclass(frozen=True)
class VocabularyReady:
    """The compiler for the model's vocabulary. It comes before anything that was made with it."""

    grammars: GrammarCompiler


Made: TypeAlias = VocabularyReady | Prepared | CompileResult


class CompileWorker:
    """Threads that compile: each lane works in the order of asking, and gives results to `done`."""

    def __init__(self, vocab_size: int, done: Callable[[Made], None]) -> None:
        """`vocab_size` is the model's. `done` is called on the worker's threads."""
        self._vocab_size = vocab_size
        self._done = done
        self._lanes = [ThreadPoolExecutor(1, thread_name_prefix="compile") for _ in (*LANES, None)]
        self._grammars: Future[GrammarCompiler] | None = None  # with the vocabulary set last
        self._preparing: set[str] = set()
        self._checking: set[int] = set()

    def set_vocabulary(self, source: TokenBytes) -> None:
        """Before anything that is compiled later. Ends in a `VocabularyReady`."""

        def work() -> GrammarCompiler:
            # What this takes to import, an engine that is being started need not wait for.
            from cierzo.grammar.compiler import GrammarCompiler

            grammars = GrammarCompiler(Vocabulary(source, self._vocab_size).build())
            gc.freeze()  # what stays for good need not be looked through again and again
            self._done(VocabularyReady(grammars))
            return grammars

        self._grammars = self._lanes[0].submit(work)

    def check(self, serial: int, constraint: Constraint) -> None:
        """Ends in a `CompileResult`, unless it is forgotten before its turn comes."""
        self._checking.add(serial)

        def work(grammars: Future[GrammarCompiler] | None) -> None:
            if serial not in self._checking:
                return
            self._checking.discard(serial)
            failure = _attempt(grammars, lambda compiler: compiler.check(constraint))
            self._done(CompileResult(serial, failure))

        self._submit(constraint, work)

    def forget(self, serial: int) -> None:
        """Drops a check that nobody waits for any more."""
        self._checking.discard(serial)

    def prepare(self, add: Add) -> bool:
        """Ends in a `Prepared`, after True, unless it is dropped; False: nothing is to compile."""
        constraint = add.params.constraint
        if constraint is None:
            return False
        self._preparing.add(add.request_id)

        def work(grammars: Future[GrammarCompiler] | None) -> None:
            if add.request_id not in self._preparing:
                return
            result = _attempt(grammars, lambda compiler: compiler.take(constraint))
            self._done(Prepared(add, result))

        self._submit(constraint, work)
        return True

    def renew(self, constraint: Constraint) -> None:
        """Makes ready for the next turn of a session what was prepared for this one, but for the
        largest, which others would wait for."""

        def work(grammars: Future[GrammarCompiler] | None) -> None:
            _attempt(grammars, lambda compiler: compiler.renew(constraint))

        if _size(constraint) <= LANES[-1]:
            self._submit(constraint, work)

    def drop(self, request_id: str) -> bool:
        """Forgets a request that is being prepared; whether there was one."""
        if request_id not in self._preparing:
            return False
        self._preparing.discard(request_id)
        return True

    def _submit(
        self, constraint: Constraint, work: Callable[[Future[GrammarCompiler] | None], None]
    ) -> None:
        """Has a lane do `work`, once the vocabulary is read that was set before."""
        grammars = self._grammars

        def after_the_vocabulary() -> None:
            if grammars is not None:
                wait([grammars])
            work(grammars)

        self._lanes[bisect_left(LANES, _size(constraint))].submit(after_the_vocabulary)


def _size(constraint: Constraint) -> int:
    """Characters of the grammar and of what is verified besides."""
    return len(constraint.grammar) + sum(len(check.schema) for check in constraint.checks)


def _attempt(
    grammars: Future[GrammarCompiler] | None, work: Callable[[GrammarCompiler], T]
) -> T | CompileFailure:
    """What `work` returns, or why it does not."""
    if grammars is None:
        return CompileFailure("engine", "the model's vocabulary is not known yet")
    try:
        return work(grammars.result())
    except BeginningError as error:
        return CompileFailure("beginning", str(error))
    except GrammarError as error:
        return CompileFailure("grammar", str(error))
    except BaseException as error:  # a defect, or a panic, must be heard of, too
        problem = f"the grammar cannot be compiled: {type(error).__name__}: {error}"[:300]
        return CompileFailure("engine", problem)
