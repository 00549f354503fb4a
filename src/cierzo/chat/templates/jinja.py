"""A checkpoint's own Jinja template, with its control tokens kept apart from the text of messages.

Spellings of control tokens inside messages are broken by a private mark before the template runs,
so that every whole spelling in its output was written by the template. Text without such spellings,
which is nearly all text, is rendered exactly as transformers renders it.
"""

from __future__ import annotations

import json
import re
import secrets
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
import jinja2.meta

from cierzo.chat.calls.text_calls import TextCalls, with_tools_in_text
from cierzo.chat.calls.tool_format import ToolFormat
from cierzo.chat.messages import (
    ChatError,
    Message,
    check_roles,
    merge_turns,
    pair_tool_results,
    without_system,
)
from cierzo.chat.recent import RecentOf
from cierzo.chat.templates.canonical import canonical, in_call_order
from cierzo.chat.templates.jinja_sandbox import Budget, environment
from cierzo.chat.templates.jinja_tools import native_format
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool
from cierzo.grammar.errors import one_line
from cierzo.model.errors import ModelError
from cierzo.model.readers.contents import TokenizerSource

# Templates know the special tokens by these names; GGUF's keys for the ids of the last two.
_NAMED_IN_GGUF = {"unk_token": "unknown_token_id", "pad_token": "padding_token_id"}


STRETCH = 1 << 16  # characters that are looked at in one go


class JinjaTemplate:
    """Renders messages with the checkpoint's template, then encodes the text."""

    def __init__(self, template: str, tokenizer: Tokenizer, source: TokenizerSource) -> None:
        env = environment()
        try:
            tree = env.parse(template)
            self._template = env.from_string(template)
        except (jinja2.TemplateError, RecursionError) as error:
            raise ModelError(
                f"{source.path}: its chat template is not Jinja that can be read "
                f"({_line(error)}); download the model again"
            ) from error
        self._tokenizer = tokenizer
        self._names = _named_tokens(tokenizer, source)
        self._control = {t: i for t, i in tokenizer.control_tokens.items() if len(t) > 1}
        # Words such as <tool_call> that a template writes itself separate turns as control tokens
        # do, although the vocabulary does not call them so. Only the assistant may say them.
        literal = "\0".join(_literals(tree))
        words = {t: i for t, i in tokenizer.added_tokens.items() if t in literal and t.strip()}
        self._words = {t: i for t, i in words.items() if len(t) > 1}
        self._written = re.compile(_any_of(self._control))
        self._longest = max(map(len, self._control), default=0)
        nonce = "".join(chr(0xF0000 + secrets.randbelow(0xFFFE)) for _ in range(6))
        self._mark, self._word_mark = f"{nonce}\U000f0000", f"{nonce}\U000f0001"
        self._end = f"{nonce}\U000f0002"
        self._escaped = {json.dumps(m)[1:-1]: m for m in (self._mark, self._word_mark)}
        self._nonces = nonce, json.dumps(nonce)[1:-1]  # one of them is in all that has a mark
        self._breaks = _Breaker(self._control, self._mark)
        self._word_breaks = _Breaker(self._words, self._word_mark)
        native = None
        if "tools" in jinja2.meta.find_undeclared_variables(tree):
            native = native_format(lambda m, t: self._render(m, t, False), tokenizer)
        self.supports_tools = native is not None
        self.tool_format: ToolFormat = native or TextCalls(tokenizer=tokenizer)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] | None = None,
        continue_final: bool = False,
        recent: RecentOf | None = None,
    ) -> array[int]:
        turns = in_call_order(canonical(check_roles(messages)))
        if not self.supports_tools:
            try:
                turns, tools = with_tools_in_text(turns, tools or ()), None
            except RecursionError as error:
                raise ChatError("they are nested too deeply", ("tools",)) from error
        elif self.tool_format.trims:  # Mistral's templates insist on ids in Mistral's form
            turns = pair_tool_results(turns)
        text = self._render_any(_orders(turns), tools, continue_final)
        return self._tokenizer.encode_segments(self._segments(text), recent)

    def _render_any(
        self,
        orders: Iterator[Sequence[Message]],
        tools: Sequence[Tool] | None,
        continue_final: bool,
    ) -> str:
        """The text of the first order of the turns that the template takes."""
        refused: list[Sequence[Message]] = []
        problem = ChatError("there is no order of the messages to try")
        for order in orders:
            if order in refused:
                continue
            try:
                return self._render(order, tools, continue_final)
            except ChatError as error:
                refused.append(order)
                problem = error
        raise problem

    def _render(
        self, turns: Sequence[Message], tools: Sequence[Tool] | None, continue_final: bool
    ) -> str:
        try:
            dicts = [self._plain(message) for message in turns]
            guarded_tools = [self._guarded(t.to_openai(), words=True) for t in tools or ()] or None
        except RecursionError as error:
            raise ChatError("messages or tools are nested too deeply") from error
        if continue_final:
            dicts[-1]["content"] = dicts[-1].get("content", "") + self._end + " "
        budget = Budget(_characters(dicts) + _characters(guarded_tools))
        context = self._names | {
            "messages": dicts,
            "tools": guarded_tools,
            "documents": None,
            "add_generation_prompt": not continue_final,
            "range": budget.range,
        }
        try:
            text = "".join(budget.counted(self._template.generate(context)))
        except (jinja2.TemplateError, RecursionError, ArithmeticError, LookupError) as error:
            raise ChatError(f"the model's chat template refuses this: {_line(error)}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise ChatError(f"the model's chat template fails on this: {_line(error)}") from error
        return self._cut(text) if continue_final else text

    def _cut(self, text: str) -> str:
        """The text up to the end of the final message, trimmed if the template trims messages."""
        place = text.rfind(self._end)
        if place < 0:
            raise ChatError("the model's chat template cannot leave the last message open")
        cut = text[:place]
        return cut if text.startswith(self._end + " ", place) else cut.rstrip()

    def _plain(self, message: Message) -> dict[str, Any]:
        """The message as transformers hands it to a template: what is absent has no key."""
        words = message.role != "assistant"
        plain: dict[str, Any] = {"role": message.role}
        if message.content is not None:
            plain["content"] = self._guarded("\n".join(message.parts()), words=words)
        if message.name is not None:
            plain["name"] = self._guarded(message.name, words=True)
        if message.tool_calls:
            plain["tool_calls"] = [
                {
                    "type": "function",
                    **({} if call.id is None else {"id": self._guarded(call.id, words=True)}),
                    "function": {
                        "name": self._guarded(call.name, words=True),
                        "arguments": self._guarded(_arguments(call.arguments), words=True),
                    },
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            plain["tool_call_id"] = self._guarded(message.tool_call_id, words=True)
        return plain

    def _guarded(self, value: Any, *, words: bool) -> Any:
        """A copy of a JSON value in which no string spells a control token."""
        if isinstance(value, str):
            guarded = self._breaks(value)
            return self._word_breaks(guarded) if words else guarded
        if isinstance(value, Mapping):
            return {
                self._guarded(key, words=words): self._guarded(item, words=words)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._guarded(item, words=words) for item in value]
        return value

    def _segments(self, text: str) -> Iterator[str | int]:
        marked = any(nonce in text for nonce in self._nonces)
        start = 0
        for match in found_in(text, self._written, self._longest):
            piece = text[start : match.start()]
            if marked:
                yield from self._unmarked(piece)
            elif piece:
                yield piece
            yield self._control[match[0]]
            start = match.end()
        yield from self._unmarked(text[start:])

    def _unmarked(self, text: str) -> Iterator[str]:
        """The text as it was before it was guarded; apart where a word must not be found whole."""
        if not text:
            return
        for escaped, mark in self._escaped.items():
            text = text.replace(escaped, mark)
        for piece in text.split(self._word_mark):
            yield piece.replace(self._mark, "")


class _Breaker:
    """Puts a mark into every spelling of some tokens, and where half of one touches an edge.

    Two texts that a template writes side by side could otherwise join into a spelling.
    """

    def __init__(self, spellings: Mapping[str, int], mark: str) -> None:
        self._mark = mark
        self._inside = re.compile(_first_letters(spellings)) if spellings else None
        self._first = tuple({s[0] for s in spellings})
        self._starts = tuple({s[:n] for s in spellings for n in range(1, len(s))})
        self._ends = tuple({s[n:] for s in spellings for n in range(1, len(s))})
        self._longest = max(map(len, spellings), default=0)

    def __call__(self, text: str) -> str:
        if self._inside is None:
            return text
        if any(letter in text for letter in self._first):
            pieces, start = [], 0
            for match in found_in(text, self._inside, self._longest):
                pieces.append(text[start : match.end()])
                start = match.end()
            text = self._mark.join([*pieces, text[start:]])
        # Templates trim, so the edges are those of the trimmed text.
        begin = len(text) - len(text.lstrip())
        end = len(text.rstrip())
        starts, ends = (
            text.endswith(self._starts, begin, end),
            text.startswith(self._ends, begin, end),
        )
        if starts:
            text = text[:end] + self._mark + text[end:]
        if ends:
            text = text[:begin] + self._mark + text[begin:]
        return text


def found_in(text: str, pattern: re.Pattern[str], longest: int) -> Iterator[re.Match[str]]:
    """What `finditer` finds, if a match and what it looks at are `longest` characters at most.

    It looks at a stretch of the text at a time, since the interpreter's lock is held meanwhile.
    """
    at = 0
    while at < len(text):
        end = at + STRETCH
        for match in pattern.finditer(text, at, end + longest):
            if match.start() >= end:
                break
            yield match
            at = match.end()
        at = max(at, end)


def _orders(turns: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """What to try: strict templates want one system message, then user and assistant in turn; some
    want no system message at all."""
    yield turns
    merged = merge_turns(turns)
    yield merged
    yield without_system(merged)


def _characters(value: Any) -> int:
    """The characters in a JSON value; what is not text counts as a few."""
    if isinstance(value, str):
        return 2 + len(value)
    if isinstance(value, Mapping):
        return sum(_characters(key) + _characters(item) for key, item in value.items())
    return sum(map(_characters, value)) if isinstance(value, list) else 8


def _any_of(spellings: Mapping[str, int]) -> str:
    longest_first = sorted(spellings, key=len, reverse=True)
    return "|".join(map(re.escape, longest_first)) or "(?!)"


def _first_letters(spellings: Mapping[str, int]) -> str:
    """Matches the first letter of every spelling, of overlapping ones too."""
    rests: dict[str, list[str]] = {}
    for spelling in spellings:
        rests.setdefault(spelling[0], []).append(re.escape(spelling[1:]))
    return "|".join(f"{re.escape(c)}(?={'|'.join(found)})" for c, found in rests.items())


def _literals(tree: jinja2.nodes.Template) -> Iterator[str]:
    for data in tree.find_all(jinja2.nodes.TemplateData):
        yield data.data
    for const in tree.find_all(jinja2.nodes.Const):
        if isinstance(const.value, str):
            yield const.value


def _named_tokens(tokenizer: Tokenizer, source: TokenizerSource) -> dict[str, Any]:
    """`bos_token` and the others, as spelled."""
    names: dict[str, Any] = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token"):
        value = source.metadata.get(name)
        if isinstance(value, Mapping):
            value = value.get("content")
        key = source.metadata.get(f"tokenizer.ggml.{_NAMED_IN_GGUF.get(name, name + '_id')}")
        if isinstance(value, str):
            names[name] = value
        elif isinstance(key, int):
            names[name] = tokenizer.token_bytes(key).decode("utf-8", "replace")
    eos = next(iter(tokenizer.eos_token_ids), None)
    ids = {"bos_token": tokenizer.bos_token_id, "eos_token": eos}
    for name, token_id in ids.items():
        if name not in names and token_id is not None:
            names[name] = tokenizer.token_bytes(token_id).decode("utf-8", "replace")
    return names


def _arguments(text: str) -> Any:
    """What templates expect: an object; text that is none stays as the assistant wrote it."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def _line(error: Exception) -> str:
    return one_line(error) or type(error).__name__
