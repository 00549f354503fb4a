"""JSON of any form in a request: skipped, or read within bounds."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from cierzo.api.errors import ApiError
from cierzo.api.openai.wire.unread import Unread, check_depth, is_given, value_of


class Request(msgspec.Struct, forbid_unknown_fields=True):
    field: Unread = UNSET


def sent(body: str | bytes) -> Unread:
    return msgspec.json.decode(body, type=Request).field


def refusal(field: Unread) -> ApiError:
    with pytest.raises(ApiError) as caught:
        value_of(field, "field", most_bytes=50, most_depth=3)
    assert caught.value.param == "field"
    return caught.value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{}"\\a\u00e9\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((depth_of(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(inner) for inner in value), default=0)
    return 0


@given(json_values)
def test_what_was_sent_is_read_when_it_is_asked_for(value: object) -> None:
    field = sent(json.dumps({"field": value}))
    assert is_given(field) == (value is not None)
    assert value_of(field, "field", most_bytes=10_000, most_depth=64) == value


def test_nothing_is_nothing() -> None:
    assert not is_given(sent("{}"))
    assert value_of(sent("{}"), "field", most_bytes=10, most_depth=1) is None


@given(json_values)
def test_the_depth_is_that_of_the_deepest_value(value: object) -> None:
    depth = depth_of(value)
    check_depth(value, "field", depth)
    if depth:
        with pytest.raises(ApiError, match="field: nested deeper than"):
            check_depth(value, "field", depth - 1)


def test_length_is_checked_before_anything_is_built() -> None:
    error = refusal(sent('{"field": ' + json.dumps([[]] * 1000) + "}"))
    assert "4,000 bytes are more than the 50 allowed" in str(error)


@pytest.mark.parametrize("json_text", ["[[[[1]]]]", "[" * 20 + "]" * 20])
def test_what_is_too_deep_is_refused(json_text: str) -> None:
    assert "deeper than 3 levels" in str(refusal(sent(f'{{"field": {json_text}}}')))


def test_what_overflows_the_decoder_is_too_deep() -> None:
    field = sent('{"field": ' + "[" * 900 + "]" * 900 + "}")
    with pytest.raises(ApiError, match="deeper than 64 levels"):
        value_of(field, "field", most_bytes=10_000, most_depth=64)


@pytest.mark.parametrize(
    ("value", "words"),
    [(b'"\xff"', "not UTF-8"), (b"1e999", "number out of range")],
)
def test_values_that_cannot_be_read_are_explained(value: bytes, words: str) -> None:
    assert words in str(refusal(sent(b'{"field": ' + value + b"}")))
