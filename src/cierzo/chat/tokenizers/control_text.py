"""Text in which control tokens are spelled out, as the output of a chat template has them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cierzo.chat.tokenizers.tokenizer import Tokenizer


def encode_spelled(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text whose whole spellings of control tokens are those tokens.

    Prompts are never read so: there a spelling is text like any other.
    """
    return tokenizer.encode_segments(_segments(tokenizer, text)).tolist()


def _segments(tokenizer: Tokenizer, text: str) -> Iterator[str | int]:
    """The text between control tokens, and their ids. Takes time in proportion to the text.

    A spelling is found where none of its letters but the first is one that spellings begin with,
    which holds for all that stand in brackets.
    """
    control = {name: i for name, i in tokenizer.control_tokens.items() if name}
    first = "".join(sorted({re.escape(name[0]) for name in control}))
    if not first:
        yield text
        return
    lengths = sorted({len(name) for name in control}, reverse=True)
    begun = 0
    for found in re.finditer(f"[{first}][^{first}]*", text):
        run, start = found[0], found.start()
        size = next((n for n in lengths if n <= len(run) and run[:n] in control), None)
        if size is None:
            continue
        if begun < start:
            yield text[begun:start]
        yield control[run[:size]]
        begun = start + size
    if begun < len(text):
        yield text[begun:]
