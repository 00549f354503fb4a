"""How Mistral models write calls: control tokens around names and arguments, or a JSON list.

v13 and v15: `[TOOL_CALLS]name[ARGS]{...}` for each call, v11 with `[CALL_ID]id` before `[ARGS]`.
v3 and v7: one `[TOOL_CALLS][{"name": ..., "arguments": {...}, "id": ...}, ...]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cierzo.chat.calls.json_calls import JsonCalls, list_head
from cierzo.chat.calls.spelling import ARGUMENTS, literal, spelled
from cierzo.chat.calls.tool_format import CallDelta, CallIds, CallParser, Event, ToolFormat
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import ChoiceMode

_ANY_ID = "/[a-zA-Z0-9]{9}/"
_MOST_CALLS = 16  # in one list whose ids are given
_SENT_ID = re.compile(r"[a-zA-Z0-9]{9}")


def mistral_format(tokenizer: Tokenizer, *, args: bool, ids: bool) -> ToolFormat | None:
    """The format of a version: whether it writes `[ARGS]`, and ids of calls.

    None if the vocabulary lacks a token for it.
    """
    control: Mapping[str, int] = tokenizer.control_tokens
    needed = [
        "[TOOL_CALLS]",
        *(["[ARGS]"] if args else []),
        *(["[CALL_ID]"] if args and ids else []),
    ]
    if not set(needed) <= control.keys():
        return None
    if not args:
        return ListCalls(tokenizer, control["[TOOL_CALLS]"])
    return TokenCalls(
        tokenizer, control["[TOOL_CALLS]"], control["[ARGS]"], control["[CALL_ID]"] if ids else None
    )


@dataclass(frozen=True)
class TokenCalls:
    """v11, v13 and v15."""

    tokenizer: Tokenizer
    trigger: int
    args: int
    call_id: int | None  # None: ids are not written

    mark = ""
    trims = True

    @property
    def writes_ids(self) -> bool:
        return self.call_id is not None

    @property
    def tokens(self) -> frozenset[int]:
        return frozenset(i for i in (self.trigger, self.args, self.call_id) if i is not None)

    def forbidden(self, mode: ChoiceMode) -> tuple[int, ...]:
        return tuple(sorted(self.tokens)) if mode == "none" else ()

    def opening(self, after_text: bool) -> str:
        return f"<[{self.trigger}]>"

    def calls(
        self, arguments: Sequence[tuple[str, str]], parallel: bool, call_ids: CallIds | None
    ) -> str:
        # Names in the very tokens that the history has for them.
        named = [(self._spelled(name), f"<[{self.args}]> {rule}") for name, rule in arguments]
        again = f" (<[{self.trigger}]> call)*" if parallel else ""
        if self.call_id is None:
            return _rules(f"calls: call{again}", "call", [f"{n} {a}" for n, a in named])
        if call_ids is None:
            middle = f"<[{self.call_id}]> ID"
            alternatives = [f"{name} {middle} {rest}" for name, rest in named]
            return _rules(f"calls: call{again}", "call", alternatives) + f"\nID: {_ANY_ID}"
        count = _MOST_CALLS if parallel else 1
        lines = [f"calls: {_nested('call', count, f' <[{self.trigger}]> ')}"]
        for i in range(count):
            middle = f"<[{self.call_id}]> {self._spelled(call_ids(i))}"
            alternatives = [f"{name} {middle} {rest}" for name, rest in named]
            lines.append(_rules("", f"call_{i}", alternatives))
        return "\n".join(lines)

    def parser(self, call_ids: CallIds) -> CallParser:
        return _TokenParser(self, call_ids)

    def _spelled(self, text: str) -> str:
        return spelled(self.tokenizer, text)


class _TokenParser:
    """States on tokens: the name, the id, the arguments."""

    def __init__(self, format: TokenCalls, call_ids: CallIds) -> None:
        self._format = format
        self._call_ids = call_ids
        self._index = 0
        self._name = ""
        self._id = ""
        self._part = "name"

    def token(self, token_id: int) -> Iterator[Event]:
        if token_id == self._format.trigger:
            yield from self.end()
        elif token_id == self._format.call_id and self._part == "name":
            self._part = "id"
        elif token_id == self._format.args and self._part != "arguments":
            yield self._begin()
            self._part = "arguments"

    def text(self, text: str) -> Iterator[Event]:
        if self._part == "name":
            self._name += text
        elif self._part == "id":
            self._id += text
        elif text:
            yield CallDelta(self._index, arguments=text)

    def end(self) -> Iterator[Event]:
        """Also where the next call begins. A name that was cut off is shown as far as it came."""
        if self._part == "arguments":
            self._index += 1
        elif self._name:
            yield self._begin()
            self._index += 1
        self._name = self._id = ""
        self._part = "name"

    def _begin(self) -> CallDelta:
        call_id = self._id if _SENT_ID.fullmatch(self._id) else self._call_ids(self._index)
        return CallDelta(self._index, call_id, self._name)


@dataclass(frozen=True)
class ListCalls:
    """v3 and v7. Ids stand after the arguments, so the ids that clients are told are given."""

    tokenizer: Tokenizer
    trigger: int

    mark = ""
    trims = True
    writes_ids = True

    @property
    def tokens(self) -> frozenset[int]:
        return frozenset((self.trigger,))

    def forbidden(self, mode: ChoiceMode) -> tuple[int, ...]:
        return (self.trigger,) if mode == "none" else ()

    def opening(self, after_text: bool) -> str:
        return f"<[{self.trigger}]>"

    def calls(
        self, arguments: Sequence[tuple[str, str]], parallel: bool, call_ids: CallIds | None
    ) -> str:
        named = []
        for name, rule in arguments:
            head = f'{{"name": {literal(name)}, "arguments": '
            around = ("[", '{"a": 1}, "id": "abcdef123"}, ')
            named.append(f"{spelled(self.tokenizer, head, around, ARGUMENTS)} {rule}")
        if call_ids is None:
            again = ' (", " item)*' if parallel else ""
            lines = [f'calls: "[" item{again} "]"']
            lines.append(r'item: call ", \"id\": \"" ID "\"}"')
            lines.append(f"ID: {_ANY_ID}")
        else:
            count = _MOST_CALLS if parallel else 1
            lines = ['calls: "[" ' + _nested("item", count, ' ", " ') + ' "]"']
            lines += [rf'item_{i}: call ", \"id\": \"{call_ids(i)}\"}}"' for i in range(count)]
        return _rules("\n".join(lines), "call", named)

    def parser(self, call_ids: CallIds) -> CallParser:
        return JsonCalls(call_ids, list_head())


def _rules(first: str, name: str, alternatives: Sequence[str]) -> str:
    rule = f"{name}: " + "\n    | ".join(alternatives)
    return f"{first}\n{rule}" if first else rule


def _nested(name: str, count: int, between: str) -> str:
    """`a_0 (between a_1 (between a_2)?)?`: up to `count`, each with its own rule."""
    text = f"{name}_{count - 1}"
    for i in reversed(range(count - 1)):
        text = f"{name}_{i} ({between.strip()} {text})?"
    return text
