"""The detokenizer, in any cut of the tokens, gives the text of all of them up to a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cierzo.chat.answers.detokenizer import Detokenizer, Piece
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from tests.chat import texts
from tests.chat.vocabularies import (
    LLAMA2,
    gguf_source,
    hf_source,
    sentencepiece_json,
    tekken_source,
)
from tests.support.tokenizers import BPE_SPECIAL_TOKENS, bpe_vocabulary

many = settings(max_examples=400, deadline=None)
cuts = st.lists(st.integers(1, 5), max_size=40)


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    """512 tokens, so that any id is likely and characters are often cut."""
    tokens, merges = bpe_vocabulary()
    special = len(BPE_SPECIAL_TOKENS)
    return load_tokenizer(
        gguf_source(
            "smollm",
            metadata={
                "tokenizer.ggml.tokens": tokens,
                "tokenizer.ggml.merges": merges,
                "tokenizer.ggml.token_type": [3] * special + [1] * (len(tokens) - special),
            },
        )
    )


def run(
    tokenizer: Tokenizer, ids: Sequence[int], stop: Sequence[str], sizes: Sequence[int], **how: Any
) -> list[Piece]:
    """The pieces of an answer whose tokens come in groups of `sizes`, then one by one."""
    stream = Detokenizer(tokenizer, stop, **how)
    pieces = []
    start = 0
    for size in (*sizes, *[1] * len(ids)):
        if start >= len(ids):
            break
        pieces.append(stream.push(ids[start : start + size]))
        start += size
    return [*pieces, stream.finish()]


def reference(text: str, stop: Sequence[str]) -> tuple[str, str | None]:
    """The text up to the stop string that is complete first, the longest of those; and which."""
    for end in range(len(text) + 1):
        ending = [s for s in stop if text[:end].endswith(s)]
        if ending:
            longest = max(ending, key=len)
            return text[: end - len(longest)], longest
    return text, None


def check(
    tokenizer: Tokenizer, ids: Sequence[int], stop: Sequence[str], sizes: Sequence[int]
) -> None:
    expected, stopped_by = reference(tokenizer.decode(ids), stop)
    pieces = run(tokenizer, ids, stop, sizes)
    so_far = ""
    for piece in pieces:
        so_far += piece.text
        assert expected.startswith(so_far)
    assert so_far == expected
    assert [p.stop_string for p in pieces if p.stopped] == ([stopped_by] if stopped_by else [])
    tokens = [t for p in pieces for t in p.token_texts]
    assert [t.index for t in tokens] == list(range(len(tokens)))
    assert [t.token_id for t in tokens] == list(ids[: len(tokens)])
    visible = b"".join(t.bytes for t in tokens if not tokenizer.is_control(t.token_id))
    if stopped_by is None:
        assert len(tokens) == len(ids)
        assert visible.decode("utf-8", "replace") == expected


class TestAnyCut:
    @many
    @given(ids=st.lists(st.integers(0, 520), max_size=40), sizes=cuts)
    def test_pieces_are_the_whole(self, small: Tokenizer, ids: list[int], sizes: list[int]) -> None:
        check(small, ids, (), sizes)

    @many
    @given(
        ids=st.lists(st.integers(0, 520), max_size=40),
        sizes=cuts,
        stop=st.lists(st.text("abce t\n\ufffd", min_size=1, max_size=3), max_size=4),
    )
    def test_stop_strings_on_any_tokens(
        self, small: Tokenizer, ids: list[int], sizes: list[int], stop: list[str]
    ) -> None:
        check(small, ids, stop, sizes)

    @many
    @given(
        text=st.text("ab", max_size=40),
        sizes=cuts,
        stop=st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=4),
    )
    def test_stop_strings_that_overlap_themselves(
        self, small: Tokenizer, text: str, sizes: list[int], stop: list[str]
    ) -> None:
        ids = [i for letter in text for i in small.encode(letter)]
        check(small, ids, stop, sizes)

    @many
    @given(text=texts.any_text, sizes=cuts, data=st.data())
    def test_stop_strings_out_of_the_text(
        self, small: Tokenizer, text: str, sizes: list[int], data: st.DataObject
    ) -> None:
        start = data.draw(st.integers(0, len(text)))
        stop = text[start : start + data.draw(st.integers(1, 6))]
        check(small, small.encode(text), [stop] if stop else [], sizes)

    def test_tekken(self) -> None:
        tekken = load_tokenizer(tekken_source())
        for text in texts.CORNERS:
            check(tekken, tekken.encode(text), ("\n\n", "中文"), (1, 2, 3, 4, 5))


class TestStopStrings:
    def test_nothing_of_one_is_shown_before_it_is_refuted(self, small: Tokenizer) -> None:
        stream = Detokenizer(small, ("</end>",))
        shown = [stream.push([i]).text for c in "ab</en" for i in small.encode(c)]
        assert shown == ["a", "b", "", "", "", ""]
        assert stream.push(small.encode("x")).text == "</enx"
        assert stream.push(small.encode("y</")).text == "y"
        assert stream.finish().text == "</"

    def test_text_after_it_is_dropped_and_nothing_follows(self, small: Tokenizer) -> None:
        stream = Detokenizer(small, ("stop",))
        piece = stream.push(small.encode("go on stop and more"))
        assert (piece.text, piece.stopped, piece.stop_string) == ("go on ", True, "stop")
        assert stream.push(small.encode("more")) == Piece("")
        assert stream.finish() == Piece("")

    def test_the_one_complete_first_wins(self, small: Tokenizer) -> None:
        ids = [i for c in "xabcd" for i in small.encode(c)]
        assert run(small, ids, ("abcd", "bc"), (5,))[0] == Piece(
            "xa", True, "bc", run(small, ids, ("bc",), (5,))[0].token_texts
        )

    def test_log_probabilities_show_nothing_of_it(self, small: Tokenizer) -> None:
        ids = small.encode("the wind\n\nthe people")
        for sizes in ((), (99,)):
            pieces = run(small, ids, ("d\n\nt",), sizes)
            assert "".join(p.text for p in pieces) == "the win"
            assert "".join(t.text for p in pieces for t in p.token_texts) == "the win"

    def test_an_empty_one_is_refused(self, small: Tokenizer) -> None:
        with pytest.raises(ValueError, match="must not be empty"):
            Detokenizer(small, ("a", ""))


class TestTokenTexts:
    def test_offsets_count_characters(self, small: Tokenizer) -> None:
        ids = small.encode("né 中 x")
        tokens = [t for p in run(small, ids, (), ()) for t in p.token_texts]
        text = small.decode(ids)
        for token in tokens:
            whole = not token.text.startswith("\ufffd")
            if whole and not token.text.endswith("\ufffd"):
                assert text.startswith(token.text, token.offset)
        assert b"".join(t.bytes for t in tokens).decode() == text

    def test_control_tokens_are_spelled_but_are_no_text(self, small: Tokenizer) -> None:
        end = small.eos_token_ids[0]
        pieces = run(small, [*small.encode("hi"), end], (), ())
        assert "".join(p.text for p in pieces) == "hi"
        assert pieces[-2].token_texts[-1].text == "<|im_end|>"
        assert pieces[-2].token_texts[-1].offset == 2

    def test_without_them_the_text_is_the_same(self, small: Tokenizer) -> None:
        ids = small.encode("né 中 x stop y")
        for stop in ((), ("stop",)):
            spelled = run(small, ids, stop, (2, 3))
            plain = run(small, ids, stop, (2, 3), spell_tokens=False)
            assert any(p.token_texts for p in spelled)
            assert plain == [replace(p, token_texts=()) for p in spelled]

    def test_a_cut_character_at_the_end_becomes_a_replacement(self, small: Tokenizer) -> None:
        ids = small.encode("中")[:-1]
        pieces = run(small, ids, (), ())
        assert [p.text for p in pieces[:-1]] == [""] * len(ids)
        assert pieces[-1].text == "\ufffd"


def test_first_space_of_sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(sentencepiece_json(**LLAMA2))
    tokenizer = load_tokenizer(hf_source(path))
    ids = tokenizer.encode("the thing")
    assert "".join(p.text for p in run(tokenizer, ids, (), ())) == "the thing"
    assert "".join(p.text for p in run(tokenizer, ids, (), (), continues=True)) == " the thing"
