"""Patterns: read as ECMA-262 and Python read them, matched in bounded time, rewritten for masks."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher

from cierzo.grammar.pattern import (
    MatchError,
    PatternError,
    Work,
    excluding,
    in_rust,
    matches,
)
from tests.support.masks import byte_tokenizer

PATTERNS = [
    "^[a-c]+$",
    "a|b",
    "^(a|b)*c?$",
    "b{2,3}",
    "^a{2}$",
    "[^ab]",
    "^$",
    "c$",
    "^a",
    "(ab)+",
    "a.c",
    "^(?:a|^b)c",
    "(a$|b)",
    r"\bab\b",
    r"\Ba",
    r"^\w+\s\w+$",
    r"^\d{1,2}$",
    r"^[\d-]+$",
    r"^[\w.]+$",
    "(?=a)[ab]+",
    "^(?!ab)[abc]+$",
    "^(?!a$|bc)[abc]*$",
    "^(?=.*b)[abc]+$",
    "(?<=a)b",
    "(?<!a)b",
    r"^[^\s]*$",
    "^a*?b+?$",
    "^[]a]+$",
    r"^\u0061\x62$",
    r"^a\/b$",
    "^(?i)AB$",
    "^[a-]$",
    "^.{0,2}$",
    r"^\S+$",
    "^(a|b|c|ab|bc)+$",
    "x*",
    "^a{,2}$",
    "^[.]$",
]
TEXTS = [
    "",
    "a",
    "b",
    "c",
    "ab",
    "ba",
    "abc",
    "bbb",
    "aa",
    "a c",
    "a/b",
    "1",
    "12",
    "1-2",
    "-",
    "a.b",
    "]",
    "bca",
    "cab",
    "ab c",
    "AB",
    "aB",
    " ",
    "ccc",
    "a{,2}",
    "acb",
    "ca\nb",
    "é",
    ".",
    "bc",
    "aab",
]


def python(pattern: str, text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "(?i)" in pattern:
            return (
                re.search(pattern.replace("(?i)", ""), text, re.IGNORECASE | re.ASCII) is not None
            )
        return re.search(pattern, text, re.ASCII) is not None


def through_mask(patterns: tuple[str, ...], text: str) -> bool:
    """Whether llguidance, too, takes the text; the way a string's content reaches it."""
    for pattern in patterns:
        grammar = LLMatcher.grammar_from_regex(pattern.removeprefix("^").removesuffix("$"))
        matcher = LLMatcher(byte_tokenizer(), grammar, log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        data = list(text.encode())
        if matcher.try_consume_tokens(data) != len(data) or not matcher.is_accepting():
            return False
    return True


@pytest.mark.parametrize("pattern", PATTERNS)
def test_matching_is_python_s(pattern: str) -> None:
    for text in TEXTS:
        assert matches(pattern, text) == python(pattern, text), text


@pytest.mark.parametrize("pattern", PATTERNS)
def test_masks_allow_what_matches_and_nothing_else_where_they_say_so(pattern: str) -> None:
    found = in_rust(pattern)
    for text in TEXTS:
        if matches(pattern, text):
            assert through_mask(found.patterns, text), text
        elif found.exact:
            assert not through_mask(found.patterns, text), text


@pytest.mark.parametrize(
    "pattern", ["^(?=.*b)[abc]+$", "^(?!ab)[abc]+$", "(a$|b)", "^(?!a$|bc)[abc]*$"]
)
def test_what_leads_a_pattern_can_be_said_exactly(pattern: str) -> None:
    assert in_rust(pattern).exact


@pytest.mark.parametrize("pattern", [r"\bab\b", "(?<=a)b", "a(?!b)c|d"])
def test_what_masks_cannot_say_is_left_out_and_noted(pattern: str) -> None:
    assert not in_rust(pattern).exact


@given(st.lists(st.text("abé", max_size=4), min_size=1, max_size=5), st.text("abcé", max_size=5))
def test_all_texts_but_a_few(excluded: list[str], text: str) -> None:
    assert through_mask((excluding(excluded),), text) == (text not in excluded)


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^(a|a)*$", "^(.*a){12}$", "^(a?){30}a{30}$", "(x+x+)+y"]
)
def test_no_pattern_runs_away(pattern: str) -> None:
    assert not matches(pattern, "a" * 5_000 + "x" * 50 + "!")


def test_too_much_work_is_an_error_and_not_an_answer() -> None:
    with pytest.raises(MatchError):
        matches("(a*b*)*c", "ab" * 50_000, Work(200))


@pytest.mark.parametrize(
    "pattern",
    ["(a", "a)", "[a", "*a", "a{3,1}", r"(a)\1", "(?<n>a)\\k<n>", "[z-a]", "\\", r"\p{Foo}"],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        in_rust(pattern)


def test_sets_exclude_what_any_engine_means_by_them() -> None:
    assert not matches(r"^\d$", "٣")
    assert not matches(r"^\D$", "٣")
    assert not matches(r"^[^\w]$", "é")
    assert matches(r"^\p{L}+$", "éß")
    assert not matches(r"^\p{Lu}$", "é")


@pytest.mark.parametrize("text", ["", "a", "*", "*b", "$", "$c", "b"])
@pytest.mark.parametrize(
    "pattern", [r"^(?!\*).*$", r"^(?!\$).*$", r"^(?!a|\*b).*$", r"^(?!\$$|\*).*$"]
)
def test_signs_of_patterns_are_letters_like_others(pattern: str, text: str) -> None:
    found = in_rust(pattern)
    assert found.exact
    assert through_mask(found.patterns, text) == matches(pattern, text)


def test_signs_of_patterns_are_excluded_like_other_letters() -> None:
    for text in ("", "*", "$", "**", "a"):
        assert through_mask((excluding(["*", "$"]),), text) == (text not in ("*", "$"))


def test_a_long_word_that_is_excluded_is_left_to_the_check() -> None:
    found = in_rust("^(?!" + "a" * 3_000 + ").*$")
    assert not found.exact
    assert through_mask(found.patterns, "ab")
