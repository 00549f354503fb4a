"""Models may be loaded by several threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.first_use import run_first_at_once


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (
            "TEKKEN_JSON",
            '{"config": {"pattern": "a", "default_vocab_size": 1, "default_num_special_tokens": 0, '
            '"version": "v3"}, "vocab": [{"rank": 0, "token_bytes": "YQ==", "token_str": "a"}]}',
        ),
        ("TOKENIZER_JSON", '{"model": {"vocab": {"a": 0}}}'),
    ],
)
def test_the_first_may_be_loaded_at_once(form: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(text)
    run_first_at_once(
        f"""
from pathlib import Path
from cierzo.chat.tokenizers.vocabulary_files import {form}, load
from cierzo.model.readers.contents import TokenizerSource
source = TokenizerSource("tekken", Path({str(path)!r}), None, None, (), False, {{}})
""",
        f"load(source, {form}, Path)",
        processes=20,
    )
