"""What work costs, counted in lines of Python that are run: the same on every machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from cierzo.api.errors import ApiError


def lines_of(work: Callable[[], object]) -> int:
    """How many lines run until it is done, or refused."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except ApiError:
        pass
    finally:
        sys.settrace(before)
    return lines


class Handed:
    """Stands before something that is written in C, and counts what its methods are handed.

    A call of one method with a text, bytes, or a list of texts is noted with their length.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def counted(given: Any = "", *arguments: Any, **options: Any) -> Any:
            if isinstance(given, str | bytes):
                self.sizes.append(len(given))
            elif isinstance(given, list):
                self.sizes.append(sum(map(len, given)))
            return found(given, *arguments, **options)

        return counted
