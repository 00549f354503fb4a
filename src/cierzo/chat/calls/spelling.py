"""Fixed text of a grammar in the very tokens that the history has for it."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import pairwise, product

from cierzo.chat.tokenizers.tokenizer import Tokenizer

# What may follow the text of a call's beginning: any arguments.
ARGUMENTS = ("{}", '{"a": 1}', '{"_1": ""}', '{"é": ""}')


def literal(text: str) -> str:
    """Text as Lark has it."""
    return json.dumps(text, ensure_ascii=False)


@lru_cache(maxsize=4096)
def spelled(
    tokenizer: Tokenizer | None,
    text: str,
    before: tuple[str, ...] = ("",),
    after: tuple[str, ...] = ("",),
) -> str:
    """Lark for `text` in its canonical tokens, as far as these are the same whatever is around it.

    `before` and `after` are texts that may be there; where a token reaches into them, and where
    there is no tokenizer, it is left open how the text is cut.
    """
    if tokenizer is None or tokenizer.drops_leading_space:
        return literal(text)
    size = len(text.encode())
    shared: set[tuple[int, int, int]] | None = None
    for first, last in product(before, after):
        tokens = _places(tokenizer, first, text + last, size)
        shared = tokens if shared is None else shared & tokens
    run = sorted(shared or ())
    if not run or any(a[1] != b[0] for a, b in pairwise(run)):
        return literal(text)
    data = text.encode()
    parts = [data[: run[0][0]], data[run[-1][1] :]]
    head, tail = (literal(part.decode()) if part else "" for part in parts)
    return " ".join(p for p in (head, *(f"<[{i}]>" for _, _, i in run), tail) if p)


def _places(tokenizer: Tokenizer, before: str, text: str, size: int) -> set[tuple[int, int, int]]:
    """Begin, end and id of the tokens that lie in the first `size` bytes of `text`."""
    start = -len(before.encode())
    places = set()
    for token_id in tokenizer.encode(before + text):
        end = start + len(tokenizer.token_bytes(token_id))
        if start >= 0 and end <= size:
            places.add((start, end, token_id))
        start = end
    return places
