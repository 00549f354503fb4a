"""What is asked for, in nobody's protocol: a prompt, how to sample, and bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from cierzo.chat.messages import Message, beginning_in
from cierzo.chat.tools import Tool, ToolChoice
from cierzo.engine.cache.hints import NO_HINTS, Hints
from cierzo.engine.sampling_params import SamplingParams

TokenIds: TypeAlias = Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Messages to answer, and what the answer may be: calls of tools, or a value of a schema."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    choice: ToolChoice | None = None  # None: the model chooses, if there are tools
    parallel: bool = True  # whether it may call several tools at once
    schema: object | None = None  # the JSON schema that the content must be valid under
    continue_final: bool = True  # a final message of the assistant's is the beginning of the answer

    @cached_property
    def beginning(self) -> str:
        """The beginning of the answer; empty where the answer is all of a message."""
        return beginning_in(self.messages) if self.continue_final else ""

    @property
    def turns(self) -> Sequence[Message]:
        """The messages without an empty beginning of the answer: it says no more than none."""
        final = self.messages[-1] if self.messages else None
        if self.continue_final and final and final.role == "assistant" and final.is_empty():
            return self.messages[:-1]
        return self.messages

    @property
    def tool_choice(self) -> ToolChoice:
        """Whether it must call something, and what it may call."""
        return self.choice or ToolChoice("auto" if self.tools else "none")


Prompt: TypeAlias = Conversation | str | TokenIds


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One prompt and how to answer it. `prepare` says whether it can be done."""

    prompt: Prompt
    sampling: SamplingParams = field(default_factory=SamplingParams)  # its max_tokens is not read
    max_tokens: int | None = None  # None: what the context leaves
    min_room: int = 1  # tokens of answer that must fit, where max_tokens asks for more than fits
    choices: int = 1
    stop: tuple[str, ...] = ()  # strings that end the answer; they are not part of it
    prediction: str = ""  # what the answer is likely to be; it changes nothing but the time
    cache_salt: str = ""  # what is cached is found by asks of the same salt alone
    retain: bool = True  # whether what is computed for it may be kept, in memory and on disk
    hints: Hints = NO_HINTS  # how it will be asked again; they change no answer
    add_bos: bool = True  # a text begins with the BOS token if the model was trained so
