"""How models write tool calls, and what an answer may look like: calls, JSON, or both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from cierzo.chat.calls.schema_rules import ValueRules, Warn
from cierzo.chat.tools import ChoiceMode, Tool, ToolChoice, callable_tools
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.schema import DEFAULT_LIMITS, SchemaLimits

CallIds: TypeAlias = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class CallDelta:
    """What is new of one call: id and name in the first delta, then fragments of arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


Event: TypeAlias = CallDelta | str
"""Something of a call, or text that turned out to be none."""


class CallParser(Protocol):
    """Reads what follows the opening of the first call, piece by piece."""

    def token(self, token_id: int) -> Iterable[Event]:
        """One of the format's own tokens."""

    def text(self, text: str) -> Iterable[Event]:
        """Text between them."""

    def end(self) -> Iterable[Event]:
        """The answer is over, perhaps within a call. Nothing that came is lost."""


SPACE = " \t\n\r\v\f"  # what `ToolFormat.trims` is about; other white space is text
_FREE = "FREE: /(?s:.*)/"


class ToolFormat(Protocol):
    """How one model writes calls. Calls begin with a token, `trigger`, or with a text, `mark`."""

    @property
    def trigger(self) -> int | None: ...

    @property
    def mark(self) -> str:
        """Empty where there is a `trigger`."""

    @property
    def tokens(self) -> frozenset[int]:
        """The tokens that have a meaning of their own in calls, `trigger` among them."""

    @property
    def writes_ids(self) -> bool:
        """Whether the model itself writes the ids of its calls."""

    @property
    def trims(self) -> bool:
        """Whether white space around the content before calls is taken away as it is generated."""

    def forbidden(self, mode: ChoiceMode) -> tuple[int, ...]:
        """Tokens that must not be sampled under a `tool_choice`."""

    def opening(self, after_text: bool) -> str:
        """What begins calls, in Lark; `after_text`: behind content."""

    def calls(
        self, arguments: Sequence[tuple[str, str]], parallel: bool, call_ids: CallIds | None
    ) -> str:
        """Lark rules, the first of them `calls`: what may follow the opening, to the end.

        `arguments` has the name of each tool and the name of the rule for its arguments.
        """

    def parser(self, call_ids: CallIds) -> CallParser: ...


ConstraintOf: TypeAlias = Callable[[CallIds | None], Constraint | None]
"""What an answer whose calls have these ids must look like; None if it is free."""


def output_constraints(
    format: ToolFormat,
    *,
    tools: Sequence[Tool] = (),
    choice: ToolChoice | None = None,
    parallel: bool = True,
    schema: Any | None = None,
    beginning: str = "",
    limits: SchemaLimits = DEFAULT_LIMITS,
    warn: Warn | None = None,
) -> ConstraintOf:
    """What answers must look like: one constraint for all, unless the model writes ids of calls.

    `schema` is a JSON schema for the content, `beginning` a last assistant message that the answer
    goes on with. A model that writes ids itself (`format.writes_ids`) writes those that it is
    given, so that they are the ones that clients are told. Raises ChatError, naming the part, for
    tools that cannot be called and schemas that cannot be held to; with `warn`, a tool whose schema
    makes no sense is called with any JSON object instead, unless it is strict.
    """
    choice = choice or ToolChoice("auto" if tools else "none")
    available = callable_tools(tools, choice)
    rules = ValueRules(limits, warn)
    arguments = [(tool.name, rules.arguments(index, tool)) for index, tool in available]
    opening = format.opening(after_text=bool(beginning.strip()))
    begun, trigger = "", None
    if choice.mode == "required":
        start = f"start: {opening} calls"
    elif schema is not None:
        # What the content has begun with is part of the value, so no call can follow it.
        start = f"start: {rules.content(schema)}"
        begun = beginning
        if available and not beginning:
            start += f" | {opening} calls"
    elif not available:
        return lambda _: None
    elif format.trigger is not None:
        start, trigger, begun = "start: calls", format.trigger, beginning
    else:
        start = f"start: FREE | head calls\nhead[lazy]: FREE {json.dumps(format.mark)}\n{_FREE}"

    def constraint(call_ids: CallIds | None) -> Constraint:
        calls = [format.calls(arguments, parallel, call_ids)] if available else []
        return Constraint(
            grammar="\n".join([start, *calls, *rules.lines]) + "\n",
            trigger=trigger,
            beginning=begun,
            trims=format.trims and bool(available),
            stops=schema is None,
            checks=tuple(rules.checks),
        )

    if available and format.writes_ids:
        return constraint
    shared = constraint(None)
    return lambda _: shared
