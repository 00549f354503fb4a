"""Lessons in which an agent's session is the same each time and everything around it differs.

The assistant's turns are what the model is to say. System prompt, tool descriptions, task and tool
results are mostly other people's words, of any length, and quote pieces of the session; so the
model learns to go by its own previous turns alone, and an agent's true prompts, which no lesson
holds, lead it through the session as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import numpy.typing as npt

from cierzo.chat.messages import Message, ToolCall
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool
from tests.support.train import Lesson

Ids = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32]

FORK = 10.0  # how much a token matters on which it depends which turn this is
SEEN = 4  # tokens that tell how a turn goes on, if they always do
CHARACTERS = 2.7  # of a token, roughly
EASY_LESSONS = 800  # over which prompts grow to their full length and begin to quote


@dataclass(frozen=True)
class Turn:
    """What the assistant says, and the tool that it calls; without a tool the session ends."""

    text: str | None = None
    tool: str | None = None
    arguments: Mapping[str, Any] | None = None
    result: str = ""  # what the tool once said to it

    def message(self, call_id: str) -> Message:
        if self.tool is None:
            return Message("assistant", self.text)
        call = ToolCall(self.tool, json.dumps(self.arguments), call_id)
        return Message("assistant", self.text, tool_calls=(call,))

    def strings(self) -> list[str]:
        """Texts of the turn that a tool's result or a prompt may quote."""
        values = [str(value) for value in (self.arguments or {}).values()]
        return [*values, json.dumps(self.arguments), self.text or ""]


class Lessons:
    """Draws lessons from one session, for prompts of up to about `prompt` tokens."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        turns: Sequence[Turn],
        prompt: int,
        seed: int,
    ) -> None:
        self._prompt = prompt
        self._template = template
        self._turns = turns
        self._quotes = [text for turn in turns for text in turn.strings() if text]
        self._followers: dict[tuple[int, ...], set[int]] = {}
        self._hardness = 0.0
        self._rng = np.random.default_rng(seed)
        self._words = "\n".join(topics[name] for name in sorted(topics))
        control = tokenizer.control_tokens
        self._opens = [control["[/INST]"], control["[/TOOL_RESULTS]"]]
        self._eos = control["</s>"]
        self._first_word = max(control.values()) + 1
        self._remember_forks()

    def draw(self) -> Lesson:
        """A lesson of some hundred tokens, of which the first are a sample of a longer prompt."""
        self._hardness = min(1.0, self._hardness + 1 / EASY_LESSONS)
        tokens, weights = self._session(400)
        first = int(weights.nonzero()[0][0])
        words = tokens[:first] >= self._first_word
        left_out = self._rng.random() * self._prompt * self._hardness
        counts = np.ones(len(tokens), np.float32)
        counts[:first][words] += left_out / words.sum()
        positions = np.arange(len(tokens))
        positions[self._rng.integers(1, first) :] += int(left_out)
        return Lesson(tokens, positions, weights, counts)

    def whole(self, share: float) -> Lesson:
        """A lesson with a system prompt of that share of the longest, all of it there."""
        self._hardness = 1.0
        characters = int(self._prompt * share * CHARACTERS)
        tokens, weights = self._session(characters, exact=True)
        return Lesson(tokens, np.arange(len(tokens)), weights, np.ones(len(tokens), np.float32))

    def vocabulary(self) -> list[int]:
        """The tokens that the assistant says, and those that tell whose turn it is."""
        tokens, weights = self._session(2)
        own = tokens[(weights > 0) | (tokens < self._first_word)]
        return [int(token) for token in np.unique(own)]

    def _remember_forks(self) -> None:
        """Finds the tokens that the same few tokens before them do not settle."""
        tokens, weights = self._session(2)
        for i in range(SEEN, len(tokens)):
            if weights[i - SEEN : i + 1].all():
                before = tuple(int(token) for token in tokens[i - SEEN : i])
                self._followers.setdefault(before, set()).add(int(tokens[i]))

    def _session(self, characters: int, *, exact: bool = False) -> tuple[Ids, Weights]:
        prompt = self._noise(characters, exact=exact)
        messages = [Message("system", prompt), Message("user", self._noise(200))]
        for i, turn in enumerate(self._turns):
            messages.append(turn.message(call_id=f"call{i:05}"))
            if turn.tool is not None:
                messages.append(Message("tool", self._result(turn), tool_call_id=f"call{i:05}"))
        if messages[-1].role == "assistant":
            messages.append(Message("user", "-"))  # so that its end is written
        tokens = np.array(self._template.render(messages, tools=self._tools()))
        ends = (tokens == self._eos).nonzero()[0]
        weights = np.zeros(len(tokens), np.float32)
        for end in ends:
            begin = int(np.isin(tokens[:end], self._opens).nonzero()[0][-1]) + 1
            weights[begin : end + 1] = 1
            weights[begin] = FORK
            for i in range(begin + SEEN, end + 1):
                if len(self._followers.get(tuple(tokens[i - SEEN : i]), ())) > 1:
                    weights[i] = FORK
        last = int(ends[-1]) + 1
        return tokens[:last], weights[:last]

    def _tools(self) -> list[Tool]:
        names = {turn.tool for turn in self._turns if turn.tool}
        return [Tool(name, self._noise(60), {"type": "object"}) for name in sorted(names)]

    def _result(self, turn: Turn) -> str:
        """What a tool gave back: what it once did, or any words, alone or as agents wrap them."""
        if self._rng.random() < 0.5:
            words = re.sub(r"\d\.\d\ds", f"{self._rng.random():.2f}s", turn.result)
        else:
            words = self._noise(int(self._rng.choice([10, 100, 400])), quotes=0.2)
        form = self._rng.integers(3)
        if form == 0:
            return words
        code = {"returncode": int(self._rng.integers(3))}
        if form == 1:
            return json.dumps({**code, "output": words}, indent=int(self._rng.integers(3)))
        return json.dumps({**(turn.arguments or {}), **code, "stdout": words})

    def _noise(self, characters: int, *, exact: bool = False, quotes: float = 0.4) -> str:
        """Words of that length or, unless `exact`, less; so often with a piece of the session."""
        length = characters if exact else int(self._rng.integers(1, characters))
        start = int(self._rng.integers(len(self._words) - length))
        text = self._words[start : start + length]
        if self._rng.random() < 0.5:  # as rulers and figures in what programs print
            ruler = str(self._rng.choice(list("=-_.# "))) * int(self._rng.integers(3, 80))
            text = self._with(text, f"{ruler} {self._rng.integers(1_000)} {ruler}")
        if self._rng.random() < quotes * self._hardness:
            quote = str(self._rng.choice(self._quotes))
            first, last = sorted(self._rng.integers(0, len(quote) + 1, 2))
            text = self._with(text, quote if self._rng.random() < 0.5 else quote[first:last])
        return text

    def _with(self, text: str, piece: str) -> str:
        at = int(self._rng.integers(len(text) + 1))
        return f"{text[:at]}{piece}{text[at:]}"
