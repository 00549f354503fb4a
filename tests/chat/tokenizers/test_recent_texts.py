"""Tokens that are remembered are those that were found, and no more are kept than may be."""

from __future__ import annotations

import threading

from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.recent_texts import RecentTexts
from tests.chat import texts
from tests.chat.vocabularies import tekken_source

LONG = "a" * 100


def test_a_text_is_found_again() -> None:
    known = RecentTexts()
    assert known.get(LONG) is None
    known[LONG] = [1, 131_071]
    assert known.get(LONG) == [1, 131_071]
    assert known.get(LONG + "b") is None


def test_what_is_given_out_is_the_callers_own() -> None:
    known = RecentTexts()
    known[LONG] = ids = [1, 2]
    ids.append(3)
    found = known.get(LONG)
    assert found == [1, 2]
    found.append(4)
    assert known.get(LONG) == [1, 2]


def test_the_latest_used_are_kept() -> None:
    known = RecentTexts(1000)
    for letter in "abcdefghij":
        known[letter * 100] = [ord(letter)]
    assert known.get("a" * 100) == [97]  # used again
    known["k" * 100] = [1]
    assert known.get("b" * 100) is None
    assert known.get("a" * 100) == [97]
    known["k" * 100] = [2]  # takes no more room
    assert known.get("c" * 100) == [99]


def test_what_is_short_or_would_push_out_the_others_is_not_kept() -> None:
    known = RecentTexts(1000)
    known["short"] = [1]
    known["x" * 251] = [1]
    assert known.get("short") is None
    assert known.get("x" * 251) is None


def test_threads() -> None:
    known = RecentTexts(2000)

    def work(start: int) -> None:
        for i in range(start, start + 500):
            text = f"{i % 40}".rjust(100)
            found = known.get(text)
            assert found is None or found == [i % 40]
            known[text] = [i % 40]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(known.get(f"{i}".rjust(100)) is not None for i in range(40)) == 20


def test_a_tokenizer_gives_the_same_tokens_again() -> None:
    tokenizer = load_tokenizer(tekken_source())
    for text in (*texts.CORNERS, *texts.library_sources(50_000)):
        first = tokenizer.encode(text)
        assert tokenizer.encode(text) == first
        assert tokenizer.decode(first) == text
