"""Grammars are compiled on a thread of their own, so that no request waits for another's schema."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cierzo.engine.engine import Engine
from cierzo.engine.messages import Add, CompileResult
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import GrammarError
from cierzo.grammar.vocabulary import TokenBytes

_NO_VOCABULARY = "the model's vocabulary is not known yet"


@dataclass(frozen=True)
class Compiled:
    """A request whose constraint has been compiled, or could not be."""

    add: Add
    error: str | None


class CompileWorker:
    """Does one thing after another, in the order they were asked for, and tells `done`."""

    def __init__(self, engine: Engine, done: Callable[[Compiled | CompileResult], None]) -> None:
        """`done` is called on the worker's thread."""
        self._engine = engine
        self._done = done
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._preparing: set[str] = set()

    def set_vocabulary(self, source: TokenBytes) -> None:
        """Before anything that is compiled later."""
        self._thread.submit(self._engine.set_vocabulary, source)

    def check(self, serial: int, constraint: Constraint) -> None:
        """Ends in a `CompileResult`."""
        self._thread.submit(lambda: self._done(CompileResult(serial, self._compile(constraint))))

    def prepare(self, add: Add) -> bool:
        """Ends in a `Compiled`, after True; False if there is nothing to compile."""
        constraint = add.params.constraint
        if constraint is None:
            return False
        self._preparing.add(add.request_id)
        self._thread.submit(lambda: self._done(Compiled(add, self._compile(constraint))))
        return True

    def drop(self, request_id: str) -> bool:
        """Forgets a request that is being prepared; whether there was one."""
        if request_id not in self._preparing:
            return False
        self._preparing.discard(request_id)
        return True

    def _compile(self, constraint: Constraint) -> str | None:
        grammars = self._engine.grammars
        if grammars is None:
            return _NO_VOCABULARY
        try:
            grammars.compile(constraint)
        except GrammarError as error:
            return str(error)
        except Exception as error:  # whoever waits must hear of a defect, too
            return f"the grammar cannot be compiled: {type(error).__name__}: {error}"[:300]
        return None
