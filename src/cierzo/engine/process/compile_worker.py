"""Grammars are compiled on threads of their own, so that no request waits for another's schema.

llguidance bounds what it does for one, but the largest take seconds. So small, middling and large
ones wait in lanes of their own.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cierzo.engine.engine import Engine
from cierzo.engine.messages import Add, CompileFailure, CompileResult
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import GrammarError, PrefixError
from cierzo.grammar.vocabulary import TokenBytes

if TYPE_CHECKING:
    from cierzo.grammar.compiler import Compiled, GrammarCompiler

T = TypeVar("T")

LANES = (
    8_000,
    64_000,
)  # characters of grammars up to which a lane takes them; one more has the rest


@dataclass(frozen=True)
class Prepared:
    """A request with what its constraint was compiled to, or why that could not be."""

    add: Add
    compiled: Compiled | None
    failure: CompileFailure | None


class CompileWorker:
    """In each lane does one thing after another, as they were asked for, and tells `done`."""

    def __init__(self, engine: Engine, done: Callable[[Prepared | CompileResult], None]) -> None:
        """`done` is called on the worker's threads."""
        self._engine = engine
        self._done = done
        self._lanes = [ThreadPoolExecutor(1, thread_name_prefix="compile") for _ in (*LANES, None)]
        self._vocabulary: Future[None] | None = None
        self._preparing: set[str] = set()
        self._checking: set[int] = set()

    def set_vocabulary(self, source: TokenBytes) -> None:
        """Before anything that is compiled later."""

        def work() -> None:
            self._engine.set_vocabulary(source)
            gc.freeze()  # what stays for good need not be looked through again and again

        self._vocabulary = self._lanes[0].submit(work)

    def check(self, serial: int, constraint: Constraint) -> None:
        """Ends in a `CompileResult`, unless it is forgotten before its turn comes."""
        self._checking.add(serial)

        def work() -> None:
            if serial not in self._checking:
                return
            self._checking.discard(serial)
            _, failure = self._try(lambda grammars: grammars.check(constraint))
            self._done(CompileResult(serial, failure))

        self._submit(constraint, work)

    def forget(self, serial: int) -> None:
        """Nobody waits for that check any more."""
        self._checking.discard(serial)

    def prepare(self, add: Add) -> bool:
        """Ends in a `Prepared`, after True, unless it is dropped; False: nothing is to compile."""
        constraint = add.params.constraint
        if constraint is None:
            return False
        self._preparing.add(add.request_id)

        def work() -> None:
            if add.request_id not in self._preparing:
                return
            self._done(Prepared(add, *self._try(lambda grammars: grammars.take(constraint))))

        self._submit(constraint, work)
        return True

    def drop(self, request_id: str) -> bool:
        """Forgets a request that is being prepared; whether there was one."""
        if request_id not in self._preparing:
            return False
        self._preparing.discard(request_id)
        return True

    def _submit(self, constraint: Constraint, work: Callable[[], None]) -> None:
        size = len(constraint.grammar) + sum(len(check.schema) for check in constraint.checks)
        vocabulary = self._vocabulary

        def after_the_vocabulary() -> None:
            if vocabulary is not None:
                wait([vocabulary])
            work()

        self._lanes[bisect_left(LANES, size)].submit(after_the_vocabulary)

    def _try(self, work: Callable[[GrammarCompiler], T]) -> tuple[T | None, CompileFailure | None]:
        """What `work` returns, or why it does not."""
        grammars = self._engine.grammars
        if grammars is None:
            return None, CompileFailure("engine", "the model's vocabulary is not known yet")
        try:
            return work(grammars), None
        except PrefixError as error:
            return None, CompileFailure("prefix", str(error))
        except GrammarError as error:
            return None, CompileFailure("grammar", str(error))
        except BaseException as error:  # whoever waits must hear of a defect, or a panic, too
            problem = f"the grammar cannot be compiled: {type(error).__name__}: {error}"[:300]
            return None, CompileFailure("engine", problem)
