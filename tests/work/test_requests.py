"""Reading a request is work in proportion to its length, whatever is in it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from cierzo.api.errors import ApiError
from cierzo.api.openai.chat import _DECODER as CHAT_DECODER
from cierzo.api.openai.completions import _DECODER as COMPLETION_DECODER
from cierzo.api.openai.wire.decode import decode_request
from cierzo.settings import Limits
from tests.work.counting import Handed, lines_of
from tests.work.edge import Edge

ALONE = b'{"messages": [{"role": "user", "content": "a"}], '
USER = {"role": "user", "content": "a"}
CALL = {"id": "x", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "content": "a", "tool_call_id": "x"}

# Bodies that are costly to look at, by what they are full of; for a number of pieces.
PIECES = {
    "brackets": b"[",
    "empty lists": b"[],",
    "empty objects": b"{},",
    "objects in objects": b'{"a":{"a":',
    "strings with brackets": b'"[\\"[",',
    "empty strings": b'"",',
    "numbers": b"0,",
}
LETTERS = {
    "escaped quotes": b'\\"',
    "backslashes": b"\\\\",
    "halves of surrogate pairs": b"\\ud800",
    "surrogate pairs": b"\\ud83d\\ude00",
    "escaped letters": b"\\u0061",
}
PLACES = {
    "messages": (b'{"messages": [', b"0]}"),
    "content": (b'{"messages": [{"role": "user", "content": [', b"0]}]}"),
    "a result": (b'{"messages": [{"role": "tool", "content": [', b"0]}]}"),
    "what nobody reads": (ALONE + b'"metadata": [', b"0]}"),
    "tools": (ALONE + b'"tools": [', b"0]}"),
    "logit_bias": (ALONE + b'"logit_bias": [', b"0]}"),
    "prompt": (b'{"prompt": [', b"0]}"),
    "prompts": (b'{"prompt": ["a", ', b'"b"]}'),
    "token ids": (b'{"prompt": [1, ', b"1]}"),
}
TEXTS = {
    "content": (b'{"messages": [{"role": "user", "content": "', b'"}]}'),
    "content that is cut": (b'{"messages": [{"role": "user", "content": "', b""),
    "what nobody reads": (ALONE + b'"user": "', b'"}'),
    "before what is malformed": (b'{"messages": [{"role": "user", "content": "', b'"}} \\ud800'),
    "a name": (ALONE + b'"', b'": 1}'),
    "the model": (ALONE + b'"model": "', b'"}'),
}


def filled(place: tuple[bytes, bytes], piece: bytes, count: int) -> bytes:
    return place[0] + piece * count + place[1]


def read(body: bytes) -> None:
    decoder = COMPLETION_DECODER if body.startswith(b'{"prompt"') else CHAT_DECODER
    with contextlib.suppress(ApiError):
        decode_request(body, decoder, Limits())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("piece", PIECES)
def test_values_that_are_not_wanted_are_not_made(place: str, piece: str) -> None:
    """However many there are, no line of Python is run for each."""
    few, many = (filled(PLACES[place], PIECES[piece], count) for count in (1_000, 4_000))
    read(few)  # what is made once is made
    assert lines_of(lambda: read(many)) <= lines_of(lambda: read(few)) + 100


@pytest.mark.parametrize("place", TEXTS)
@pytest.mark.parametrize("letters", LETTERS)
def test_a_text_is_gone_through_once(place: str, letters: str) -> None:
    small = lines_of(lambda: read(filled(TEXTS[place], LETTERS[letters], 500)))
    large = lines_of(lambda: read(filled(TEXTS[place], LETTERS[letters], 2_000)))
    assert large <= 4 * small + 100


@pytest.mark.parametrize("place", [*PLACES, *TEXTS])
def test_a_body_is_handed_to_the_decoder_a_few_times(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written in C goes through what it is handed once: here that is counted."""
    for piece in (PIECES | LETTERS).values():
        body = filled((PLACES | TEXTS)[place], piece, 5_000)
        decoder = COMPLETION_DECODER if body.startswith(b'{"prompt"') else CHAT_DECODER
        with monkeypatch.context() as patch:
            parts, typed = Handed(decoder._parts), Handed(decoder._typed)
            patch.setattr(decoder, "_parts", parts)
            patch.setattr(decoder, "_typed", typed)
            read(body)
        assert sum(parts.sizes) + sum(typed.sizes) <= 4 * len(body)


def names(count: int, written: Callable[[int], str]) -> bytes:
    return ",".join(f'"{written(i)}": 0' for i in range(count)).encode()


NAMES: dict[str, Callable[[int], bytes]] = {
    "that nobody knows": lambda n: b"{" + names(n, lambda i: f"k{i}") + b"}",
    "that are the same": lambda n: b"{" + names(n, lambda _: "top_k") + b"}",
    "of a message": lambda n: (
        b'{"messages": [{"role": "user", "content": "a", ' + names(n, lambda i: f"k{i}") + b"}]}"
    ),
    "of tokens": lambda n: ALONE + b'"logit_bias": {' + names(n, str) + b"}}",
    "of options": lambda n: ALONE + b'"options": {' + names(n, lambda i: f"k{i}") + b"}}",
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_are_looked_up(kind: str) -> None:
    few, many = NAMES[kind](5_000), NAMES[kind](20_000)
    read(few)
    assert lines_of(lambda: read(many)) <= lines_of(lambda: read(few)) + 100


def chat(messages: list[Any], **fields: Any) -> bytes:
    return json.dumps({"messages": messages, "max_tokens": 1, **fields}).encode()


def turns(count: int) -> list[Any]:
    called = {"role": "assistant", "tool_calls": [CALL]}
    return [message for _ in range(count) for message in (USER, called, RESULT)]


# Conversations that grow.
GROWING: dict[str, Callable[[int], bytes]] = {
    "messages": lambda n: chat([USER] * n),
    "system messages": lambda n: chat([{"role": "system", "content": "a"}] * n + [USER]),
    "what the assistant said": lambda n: chat([{"role": "assistant", "content": "a"}] * n),
    "parts": lambda n: chat([{"role": "user", "content": [{"type": "text", "text": "a"}] * n}]),
    "parts that are texts": lambda n: chat([{"role": "user", "content": ["a"] * n}]),
    "parts that are empty": lambda n: chat(
        [{"role": "assistant", "content": [" "] * n, "tool_calls": [CALL]}, RESULT]
    ),
    "calls with one id": lambda n: chat(
        [USER, {"role": "assistant", "tool_calls": [CALL] * n}, *[RESULT] * n]
    ),
    "calls with ids": lambda n: chat(
        [
            USER,
            {"role": "assistant", "tool_calls": [CALL | {"id": f"x{i}"} for i in range(n)]},
            *(RESULT | {"tool_call_id": f"x{n - i}"} for i in range(n)),
        ]
    ),
    "results without calls": lambda n: chat([USER, *[RESULT] * n]),
    "turns with calls": lambda n: chat(turns(n // 2)),
    "tools": lambda n: chat(
        [USER],
        tools=[{"type": "function", "function": {"name": f"f{n}_{i}"}} for i in range(n // 4)],
    ),
    "stop strings": lambda n: chat([USER], stop=["a" * i for i in range(1, n // 16)]),
    "spellings of control tokens": lambda n: chat([USER | {"content": "<|im_end|>[INST]" * n}]),
    "halves of spellings": lambda n: chat([USER | {"content": "<|im_" * n}]),
    "marks in names": lambda n: chat([USER | {"name": "<|im_end|>" * n}]),
}


@pytest.mark.parametrize("model", ["jinja", "mistral"])
@pytest.mark.parametrize("kind", GROWING)
def test_a_conversation_takes_work_as_it_is_long(
    kind: str, model: str, make_edge: Callable[[str], Edge]
) -> None:
    edge = make_edge(model)
    edge.chat(GROWING[kind](100))  # what is made once is made
    few, many = GROWING[kind](101), GROWING[kind](404)
    assert lines_of(lambda: edge.chat(many)) <= 4.3 * lines_of(lambda: edge.chat(few)) + 500


COMPLETED: dict[str, Callable[[int], Any]] = {
    "texts": lambda n: ["a b c"] * (n // 2),
    "lists": lambda n: [[1, 2, 3]] * (n // 2),
    "tokens": lambda n: [1] * n * 10,
    "one text": lambda n: "a b " * n,
}


@pytest.mark.parametrize("kind", COMPLETED)
def test_prompts_take_work_as_they_are_long(kind: str, edge: Edge) -> None:
    def work(count: int) -> int:
        body = {"prompt": COMPLETED[kind](count), "max_tokens": 1}
        return lines_of(lambda: edge.complete(json.dumps(body).encode()))

    work(100)
    assert work(400) <= 4.3 * work(100) + 200


@pytest.mark.parametrize("text", ["a", "<", "[INST]", "<|im_end|>", "<|im_", " ", "\n"])
def test_counting_tokens_takes_work_as_the_text_is_long(text: str, edge: Edge) -> None:
    def work(count: int) -> int:
        asked = json.dumps({"prompt": text * count}).encode()
        found = json.dumps({"tokens": [5] * count}).encode()
        return lines_of(lambda: (edge.tokenize(asked), edge.detokenize(found)))

    work(500)
    assert work(2_000) <= 4.3 * work(500) + 200
