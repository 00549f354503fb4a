"""Varied text for the tokenizers: the standard library's sources, and corners of Unicode."""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

CORNERS = (
    "",
    " ",
    "Hello, world! It's 1,234,567.89 and they'll've done what I'd do: WE'RE HERE.",
    "  leading and trailing  ",
    "\r\n\r\n windows\r\nlines\r\n\r",
    "tabs\t\t\tand\x0bother\x0cspaces\u00a0\u2003\u3000\u200b\ufeff end",
    "a" * 700 + " " * 700 + "\n" * 700 + "!" * 700 + "0123456789" * 70,
    " \n \n\n  \n x \n\t\n",
    "中文字符與日本語のテキスト、한국어 문장도 있습니다。ไทยไม่มีช่องว่าง",
    "שלום עולם، مرحبا بالعالم ۱۲۳ ٤٥٦ \u202eright to left\u202c",
    "e\u0301a\u0308\u0323 Z\u0351\u036b\u0343\u036a\u0302 क्षत्रिय ง่าย",
    "👩‍👩‍👧‍👦 👍🏽 🇪🇸🏴\U000e0067\U000e0062\U000e007f ❤️‍🔥 \U0001faf1🏿\u200d\U0001faf2🏻",
    "\x00\x01\x1b[31mred\x7f\x80\x9f\u2028\u2029",
    "\U0001f600" * 40 + "\ufdd0\ufdd1\uffff\U0010ffff\ue000\U000f0000",
    "½ Ⅷ ² ① ٣ \U0001d7d8\U0001d7d9\U0001d7da x₁²+y³ ﬁ ǅ ʰ ª ß ẞ İ \u0131",
    "camelCaseAndPascalCase SCREAMING_SNAKE kebab-case dotted.path/to//file.py?x=1&y=%20",
    "def f(x):\n    return {\n        'a': [1, 2, 3],\n    }\n\n\n\tif x:\n\t\tpass  # end",
    "'s 't 're 've 'm 'll 'd 'S 'T 'RE don\u2019t rock\u2019n\u2019roll ''s",
)

_FRAGMENTS = (
    *("<|im_start|>", "<|im_end|>", "<|im_", "end|>", "[INST]", "[/INST]", "</s>", "<s>", "<"),
    *(
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "a",
        "The",
        " the",
        "é",
        "e\u0301",
        "中",
        "👩‍👧",
        "1",
        "12345",
    ),
    *("'s", "'LL", "!?", "...", "//", "_", "\ufffd", "\u0000", "\u200d", "ÿ", "\U0010ffff"),
)

# Any text at all, and text made of what tokenizers treat in special ways.
any_text = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from(_FRAGMENTS), max_size=25).map("".join)
)


@cache
def library_sources(limit: int = 600_000) -> tuple[str, ...]:
    """Python's own sources, `limit` characters of them, a file each."""
    folder = Path(sysconfig.get_path("stdlib"))
    found: list[str] = []
    for path in sorted(folder.glob("*.py")):
        if sum(map(len, found)) > limit:
            break
        found.append(path.read_text(encoding="utf-8", errors="replace"))
    return tuple(found)


@cache
def unicode_blocks() -> tuple[str, ...]:
    """Every character that can be encoded, 256 in a row, some of them with spaces between."""
    rows = []
    for start in range(0, 0x110000, 256):
        row = [chr(c) for c in range(start, start + 256) if not 0xD800 <= c < 0xE000]
        if row and (start < 0x32000 or start % 0x10000 == 0):
            rows.append("".join(row))
            if start < 0x3000:
                rows.append(" ".join(row))
    return tuple(rows)


def everything() -> tuple[str, ...]:
    return (*CORNERS, *unicode_blocks(), *library_sources())
