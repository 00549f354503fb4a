"""Texts, and what comes of tokens: each character is looked at a bounded number of times."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

import pytest

from cierzo.chat.answers.detokenizer import Detokenizer
from cierzo.chat.answers.reader import AnswerReader
from cierzo.chat.answers.stop_strings import StopStrings
from cierzo.chat.messages import Message
from cierzo.chat.templates import jinja
from tests.work.counting import Handed, lines_of
from tests.work.edge import Edge

FAMILY = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}\u200d\N{BOY}"
TEXTS = {
    "one word": "a",
    "spaces": " ",
    "new lines": "\n",
    "joined emoji": FAMILY,
    "combining marks": "\u0301",
    "digits": "1",
    "beginnings of control tokens": "<",
    "control tokens": "<|im_end|>",
    "backslashes": "\\",
    "NUL": "\0",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_is_handed_to_the_encoder_once(
    kind: str, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the encoder does with it is linear, too, off the lock, and no work of ours."""
    words = edge.model.language.tokenizer
    text = TEXTS[kind] * (300_000 // len(TEXTS[kind]))
    pipeline = Handed(vars(words)["_pipeline"])
    monkeypatch.setattr(words, "_pipeline", pipeline)
    edge.model.language.template.render([Message("user", text)])
    assert len(text) <= sum(pipeline.sizes) <= 4 * len(text) + 1_000
    assert len(pipeline.sizes) < 20


class Stretches:
    """A pattern that counts the characters it is to look at."""

    def __init__(self, pattern: object) -> None:
        self.pattern = pattern
        self.sizes: list[int] = []

    def finditer(self, text: str, start: int, end: int) -> object:
        self.sizes.append(min(end, len(text)) - start)
        return self.pattern.finditer(text, start, end)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", TEXTS)
def test_a_stretch_at_a_time_is_searched(kind: str) -> None:
    """The lock is held for a stretch; and what is found is what one search would find."""
    plain = re.compile(r"<(?=\|im_end\|>)|aaa")
    counted = Stretches(plain)
    text = TEXTS[kind] * 70_000
    found = jinja.found_in(text, cast("re.Pattern[str]", counted), 10)
    assert [match.start() for match in found] == [match.start() for match in plain.finditer(text)]
    assert max(counted.sizes) <= jinja.STRETCH + 10
    assert sum(counted.sizes) <= len(text) + 10 * len(counted.sizes)


STOPS: dict[str, list[str]] = {
    "one": ["b"],
    "that almost match": ["a" * n + "b" for n in range(224, 256)],
    "that begin alike": ["a" * 200 + chr(0x4E00 + n) for n in range(32)],
    "that begin again": ["ab" * 127 + "c", "a" * 255 + "b"],
}


@pytest.mark.parametrize("kind", STOPS)
def test_stop_strings_are_found_in_steps_that_their_number_does_not_change(kind: str) -> None:
    def work(count: int) -> int:
        strings = StopStrings(STOPS[kind])
        return lines_of(lambda: strings.find("a" * count))

    assert work(1_000) <= 8 * 1_000
    assert work(4_000) <= 8 * 4_000


@pytest.mark.parametrize("kind", STOPS)
def test_an_answer_costs_the_same_for_each_token(kind: str, edge: Edge) -> None:
    """And no more text is held back than a stop string has."""
    words, form = edge.model.language.tokenizer, edge.model.language.template.tool_format
    (letter,) = words.encode("a")

    def streamed(count: int) -> int:
        text = Detokenizer(words, STOPS[kind])
        answer = AnswerReader(words, form, stop=STOPS[kind], call_ids=str)

        def run() -> None:
            for _ in range(count):
                text.push([letter])
                answer.push([letter])
                assert len(text._held) <= 256

        return lines_of(run)

    assert streamed(2_000) <= 4.2 * streamed(500) + 500


CALL = b'<tool_call>\n{"name": "f", "arguments": '
SPLIT: dict[str, Callable[[int], bytes]] = {
    "letters of several bytes": lambda n: "é".encode() * n,
    "half a letter again and again": lambda n: b"\xe4\xb8" * n,
    "beginnings of calls": lambda n: b"<tool_call" * n,
    "calls that do not end": lambda n: (
        b'<tool_call>\n{"name": "f", "arguments": {"a": "' + b"x" * n
    ),
    "brackets in a call": lambda n: b'<tool_call>\n{"name": "f", "arguments": [' + b"[" * n,
    "escapes in a call": lambda n: b'<tool_call>\n{"name": "f", "arguments": {"a": "' + b"\\" * n,
}


@pytest.mark.parametrize("kind", SPLIT)
def test_answers_in_bytes_cost_the_same_for_each(kind: str, edge: Edge) -> None:
    words, form = edge.model.language.tokenizer, edge.model.language.template.tool_format
    of_byte = {words.token_bytes(i): i for i in range(words.vocab_size)}

    def streamed(count: int) -> int:
        answer = AnswerReader(words, form, call_ids=str)
        tokens = [of_byte[bytes([byte])] for byte in SPLIT[kind](count)]

        def run() -> None:
            for token in tokens:
                answer.push([token])
            answer.finish()

        return lines_of(run)

    assert streamed(1_200) <= 4.3 * streamed(300) + 1_000
