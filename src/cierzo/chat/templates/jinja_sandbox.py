"""Jinja as chat templates expect it from transformers, in a sandbox and within bounds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_STEPS = 1_000_000  # items of all ranges of one rendering
_EXTRA_CHARACTERS = 1_000_000  # that a template may add to what it is given
_COPIES = 16  # of what it is given
_MAX_PRODUCT = 1_000_000  # of a repeated string or list


class Budget:
    """How far one rendering may go. Jinja has no endless loop, only very long ones."""

    def __init__(self, given: int) -> None:
        """`given` is the number of characters of messages and tools."""
        self._characters = _EXTRA_CHARACTERS + _COPIES * given
        self._steps = _STEPS

    def range(self, *bounds: int) -> range:
        """Jinja's `range`, counted."""
        items = range(*bounds)
        self._steps -= len(items)
        if self._steps < 0:
            raise jinja2.TemplateRuntimeError(f"it loops over more than {_STEPS} numbers")
        return items

    def counted(self, pieces: Iterable[str]) -> Iterator[str]:
        """The pieces, as long as they are not too many characters."""
        for piece in pieces:
            self._characters -= len(piece)
            if self._characters < 0:
                raise jinja2.TemplateRuntimeError("it writes far more than it is given")
            yield piece


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        sizes = [len(v) if isinstance(v, str | list | tuple) else v for v in (left, right)]
        if operator == "**" or any(isinstance(v, str | list | tuple) for v in (left, right)):
            limit = 64 if operator == "**" else _MAX_PRODUCT
            size = max(map(abs, sizes)) if operator == "**" else sizes[0] * sizes[1]
            if size > limit:
                raise jinja2.TemplateRuntimeError(f"{operator} of it is too large")
        return super().call_binop(context, operator, left, right)


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what the assistant wrote, for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 (declared so by Jinja)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def environment() -> ImmutableSandboxedEnvironment:
    """The environment of transformers' apply_chat_template, with the sandbox's bounds."""
    env = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise_exception
    env.globals["strftime_now"] = _strftime_now
    env.globals["namespace"] = _namespace
    return env


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes for HTML.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's namespace without the names that lead to Python's own."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a template may not set {name!r}")
        super().__setitem__(name, value)


def _namespace(**attributes: Any) -> _Namespace:
    if any(name.startswith("_") for name in attributes):
        raise jinja2.exceptions.SecurityError("a template may not set names that begin with _")
    return _Namespace(**attributes)
