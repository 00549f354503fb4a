"""Finished values are held to the schema, and the place that can mend them is told."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import ValidationError

from cierzo.grammar.pattern import MOST_WORK, Work
from cierzo.grammar.validation import Unverifiable
from cierzo.grammar.values import brief
from cierzo.grammar.verifier import Verifier

DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"

FAULTS = [
    ({"properties": {"a": {"type": "integer"}}}, '{"a": "x", "b": 1}', '"x"'),
    ({"properties": {"é": {"maxLength": 1}}}, '{"é": "éé"}', '"éé"'),
    ({"required": ["b"]}, '{"a": 1}', "}"),
    ({"minItems": 3}, "[1, 2]", "]"),
    ({"maxItems": 1}, "[1, 2, 3]", ", "),
    ({"maxProperties": 1}, '{"a": 1, "b": 2}', ", "),
    ({"minLength": 3}, '"ab"', '"'),
    ({"uniqueItems": True}, '["x", "y", "x", "z"]', '"x"'),
    ({"additionalProperties": False, "properties": {"a": {}}}, '{"a": 1, "b": 2}', '"b"'),
    ({"properties": {"b": False}}, '{"a": 1, "b": 2}', '"b"'),
    ({"propertyNames": {"pattern": "^a"}}, '{"ab": 1, "ba": 2}', '"ba"'),
    ({"properties": {"a": {}}, "unevaluatedProperties": False}, '{"a": 1, "b": 2}', '"b"'),
    ({"contains": {"type": "string"}}, "[1, 2]", "]"),
    ({"anyOf": [{"type": "string"}, {"properties": {"a": {"type": "null"}}}]}, '{"a": "x"}', '"x"'),
    ({"properties": {"a": {"minimum": 3}}}, '{"a": 12, "b": {"a": 1}}', None),
    ({"items": {"minimum": 3}}, "[5, 1, 7]", "1,"),
    ({"not": {"required": ["a"]}}, '{"a": 1}', '{"a": 1}'),
    ({"pattern": "^(a+)+$"}, '"' + "a" * 60 + '!"', '"' + "a" * 60 + '!"'),
    ({"format": "date"}, '"2023-02-29"', '"2023-02-29"'),
    ({}, '{"a": 1, "a": 2}', '"a"'),
    ({}, "NaN", "N"),
    ({}, "[1,]", "]"),
    ({}, "1e999", "1e999"),
    ({}, "[1e30999999]", "1e309"),
    ({}, "1 2", "2"),
]


@pytest.mark.parametrize(("schema", "text", "fault"), FAULTS)
def test_the_fault_is_found_where_it_is(schema: Any, text: str, fault: str | None) -> None:
    violation = Verifier(schema).violation(text.encode())
    if fault is None:
        assert violation is None
        return
    assert violation is not None
    assert text.encode()[violation.start : violation.end].decode() == fault
    assert violation.message


def test_of_several_faults_the_first_in_the_text_is_told() -> None:
    verifier = Verifier({"items": {"type": "integer"}, "maxItems": 2})
    violation = verifier.violation(b'[1, "x", 2, "y"]')
    assert violation is not None
    assert (violation.start, violation.end) == (4, 7)


def test_after_a_number_more_digits_could_have_come() -> None:
    violation = Verifier({"minimum": 10}).violation(b"3")
    assert violation is not None
    assert violation.end == 2


def test_equal_numbers_are_equal_and_true_is_none() -> None:
    verifier = Verifier({"uniqueItems": True})
    assert verifier.violation(b"[1, true, 0, false]") is None
    assert verifier.violation(b"[1, 1.0]") is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {"^(a|a)+$": True}, "additionalProperties": False},
        {"propertyNames": {"pattern": "^(a|a)+$"}},
        {"patternProperties": {"^(a|a)+$": True}, "unevaluatedProperties": False},
    ],
)
def test_names_cannot_make_it_run_away(schema: Any) -> None:
    violation = Verifier(schema).violation(b'{"' + b"a" * 60 + b'!": 1}')
    assert violation is not None


def test_too_much_work_counts_as_wrong() -> None:
    schema = {"items": {"anyOf": [{"type": "string"}] * 20}}
    text = json.dumps([1] * 200).encode()
    violation = Verifier(schema, Work(10_000)).violation(text)
    assert violation is not None
    assert "cannot be verified" in violation.message


def test_references_are_followed_and_never_fetched() -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}
    assert Verifier(schema).violation(b"1") is None
    violation = Verifier({"$ref": "http://example.com/x"}).violation(b"1")
    assert violation is not None
    assert "cannot be verified" in violation.message


def test_deep_nesting_is_refused() -> None:
    assert Verifier({}).violation(b"[" * 5000 + b"]" * 5000) is not None


def test_bytes_that_are_no_text_are_refused() -> None:
    violation = Verifier({}).violation(b'"\xff"')
    assert violation is not None
    assert (violation.start, violation.end) == (1, 2)


def words(count: int) -> list[str]:
    return [f"word {number:06}" for number in range(count)]


def work_for(schema: Any, value: Any) -> int:
    """How much is done for a value, the second one: what is learnt of a schema is learnt once."""
    work = Work(1 << 60)
    verifier = Verifier(schema, work)
    text = json.dumps(value).encode()
    verifier.violation(text)
    before = work.left
    verifier.violation(text)
    return before - work.left


def lines_for(schema: Any, value: Any) -> int:
    """How many lines of Python that takes, whatever it was charged."""
    verifier = Verifier(schema, Work(1 << 60))
    text = json.dumps(value).encode()
    verifier.violation(text)
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        verifier.violation(text)
    finally:
        sys.settrace(before)
    return lines


def referring(count: int) -> Any:
    return {"allOf": [{"$ref": "#/$defs/a"}] * count, "$defs": {"a": {"enum": words(500)}}}


# By what grows: the schema and the value for a size, and how much more may be done for four times
# as much.
GROWING: dict[str, tuple[Callable[[int], tuple[Any, Any]], float]] = {
    "values of an enum": (lambda n: ({"enum": words(n)}, "no such word"), 1.0),
    "values of an enum that are objects": (
        lambda n: ({"enum": [{"a": [word]} for word in words(n)]}, {"a": ["no"]}),
        1.0,
    ),
    "items under an enum": (lambda n: ({"items": {"enum": words(500)}}, words(n)), 4.5),
    "references to an enum": (lambda n: (referring(n), words(1)[0]), 4.5),
    "a large constant": (lambda n: ({"const": words(n)}, words(n)), 4.5),
    "items that are unique": (lambda n: ({"uniqueItems": True}, words(n)), 4.5),
    "a union of constants": (
        lambda n: ({"anyOf": [{"const": word} for word in words(n)]}, "no such word"),
        4.5,
    ),
    "one of many": (
        lambda n: ({"oneOf": [{"const": word} for word in words(n)]}, words(n)[-1]),
        4.5,
    ),
    "a text for a pattern that backtracks": (
        lambda n: ({"pattern": "^(a|a)*(a|a)*(a+)+$"}, "a" * n + "!"),
        4.5,
    ),
    "a text that nothing looks like": (lambda n: ({"pattern": "(?=.*x)y"}, "ab" * n), 4.5),
    "a text of as many letters": (
        lambda n: ({"pattern": "^[^a]*$"}, "".join(map(chr, range(0x4E00, 0x4E00 + n)))),
        4.5,
    ),
    "names for a pattern": (
        lambda n: (
            {"patternProperties": {"^(a|a)*b": True}, "additionalProperties": False},
            dict.fromkeys(words(n), 1),
        ),
        4.5,
    ),
    "unknown keywords": (
        lambda n: ({"items": dict.fromkeys(words(n), 1)}, [1] * 10),
        4.5,
    ),
    "not one of many": (lambda n: ({"not": {"enum": words(n)}}, words(n)[-1]), 1.0),
}


@pytest.mark.parametrize("kind", GROWING)
def test_work_grows_no_faster_than_what_is_touched(kind: str) -> None:
    case, most = GROWING[kind]
    for measured in (work_for, lines_for):
        small, large = measured(*case(200)), measured(*case(800))
        assert large <= most * small + 40


@pytest.mark.parametrize("kind", GROWING)
def test_all_work_is_charged(kind: str) -> None:
    case, _ = GROWING[kind]
    schema, value = case(800)
    assert lines_for(schema, value) < 12 * work_for(schema, value)


def test_messages_do_not_hold_what_they_are_about() -> None:
    """However large: to print a value takes as long as the value is large."""
    huge = words(9_000)
    wide = dict.fromkeys(huge, 1)
    false = {"$ref": "#/$defs/no", "$defs": {"no": False}}
    for schema, value in [
        ({"enum": huge}, huge),
        ({"const": huge}, wide),
        ({"not": {"items": {"enum": huge}}}, huge),
        ({"type": "integer"}, wide),
        ({"oneOf": [{"maxItems": 9_000}, {"items": {"enum": huge}}]}, huge),
        ({"anyOf": [{"enum": huge}]}, wide),
        ({"contains": {"const": huge}}, huge),
        ({"maxItems": 3}, huge),
        ({"maxLength": 3}, "long" * 10_000),
        ({"pattern": "^" + "x?" * 9_000 + "$"}, "long" * 100),
        ({"items": False}, huge),
        ({"unevaluatedItems": False}, [huge]),
        ({"additionalProperties": {"type": "null"}}, wide),
        ({"unevaluatedProperties": {"type": "null"}}, wide),
        (false, huge),
    ]:
        verifier = Verifier(schema, Work(1 << 40))
        instance = brief(value)
        for error in verifier._validator.iter_errors(instance):
            assert len(error.message) < 400


def test_a_schema_that_names_its_draft_is_bounded_where_it_refers_to_itself() -> None:
    """jsonschema itself goes on with a validator of its own there."""
    for draft in ("http://json-schema.org/draft-07/schema#", DRAFT_2020):
        schema = {"$schema": draft, "items": {"$ref": "#"}, "pattern": "^(a|a)+$"}
        work = Work()
        violation = Verifier(schema, work).violation(b'["' + b"a" * 60 + b'!"]')
        assert violation is not None
        assert work.left < MOST_WORK - 60
    inner = {"$schema": "http://json-schema.org/draft-04/schema#", "exclusiveMinimum": True}
    verifier = Verifier({"items": {**inner, "minimum": 3}})
    assert verifier.violation(b"[3]") is not None
    assert verifier.violation(b"[4]") is None


def test_values_share_the_work() -> None:
    work = Work(3_000)
    verifiers = [Verifier({"items": {"type": "integer"}}, work) for _ in range(2)]
    text = json.dumps([1] * 20).encode()
    found = [verifiers[turn % 2].violation(text) for turn in range(20)]
    assert found[0] is None
    assert found[-1] is not None
    assert "too much work" in found[-1].message
    work.grant(10_000)
    assert verifiers[0].violation(text) is None


def test_one_value_does_not_take_all_the_work() -> None:
    work = Work(10 * MOST_WORK)
    schema = {"items": {"anyOf": [*([{"type": "string"}] * 100), True]}}
    violation = Verifier(schema, work).violation(json.dumps([1] * 2_000).encode())
    assert violation is not None
    assert "too much work" in violation.message
    assert work.left > 7 * MOST_WORK


def test_whoever_works_pauses_now_and_then() -> None:
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1

    work = Work(10 * MOST_WORK)
    work.pause = pause
    schema = {"items": {"anyOf": [{"type": "string"}] * 50}}
    Verifier(schema, work).violation(json.dumps([1] * 1_000).encode())
    assert pauses > (10 * MOST_WORK - work.left) // 20_000


@pytest.mark.parametrize(
    "schema", [{"$id": 5}, {"properties": {"a": {"$id": []}}}, {"$id": "http://[bad"}]
)
def test_identifiers_that_are_none_are_said(schema: Any) -> None:
    with pytest.raises(Unverifiable, match="identifier"):
        Verifier(schema)


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "contains"])
def test_few_errors_are_kept_however_many_there_are(keyword: str) -> None:
    """Python looks for circles among them, and nobody can do anything meanwhile."""

    def kept(size: int) -> int:
        never = [{"type": "string"}, {"anyOf": [{"type": "null"}] * size}] * size
        schema = {"items": {keyword: never if keyword != "contains" else {"anyOf": never}}}
        verifier = Verifier(schema, Work(1 << 40))
        assert verifier.violation(json.dumps([[1]] * size).encode())
        return sum(issubclass(type(thing), ValidationError) for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert max(kept(20), kept(20), kept(20), kept(80)) < 10_000
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("options", "faults"),
    [(0, 1), (1, 0), (2, 1)],
)
def test_one_of_several(options: int, faults: int) -> None:
    """As jsonschema has it, inside of what only asks whether a value is valid, too."""
    one_of = {"oneOf": [{"type": "string"}, *[{"type": "integer"}] * options, {"type": "null"}]}
    for schema, wrong in ((one_of, faults), ({"not": one_of}, 1 - faults)):
        found = Verifier(schema).violation(b"1")
        assert (found is not None) == bool(wrong)
