"""What an answer may look like: which calls, and which JSON, for what was asked."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cierzo.chat.answers.reader import call_id
from cierzo.chat.calls.mistral_calls import mistral_format
from cierzo.chat.calls.text_calls import TextCalls, text_format
from cierzo.chat.calls.tool_format import CallIds, ToolFormat, output_constraints
from cierzo.chat.messages import ChatError, Part
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool, ToolChoice
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import GrammarError
from cierzo.grammar.verifier import Verifier
from tests.chat.answers.test_answer import MISTRAL
from tests.chat.sampled import accepts, compiler_of, sample
from tests.chat.templates.test_mistral_template import tekken_of
from tests.chat.vocabularies import gguf_source, tekken_source
from tests.chat.written_answers import TOOLS, answer_to, calls_of, text_of

FORMS = (*MISTRAL, "text", "tags")
REQUIRED = ToolChoice("required")
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
Case = tuple[Tokenizer, ToolFormat]


@pytest.fixture(scope="module", params=FORMS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name: str = request.param
    if name not in MISTRAL:
        words = load_tokenizer(gguf_source("llama-bpe"))
        return words, TextCalls() if name == "text" else text_format(words, "\n", "\n")
    path: Path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(tekken_of("v13"))
    tekken = load_tokenizer(tekken_source(path))
    args, ids = MISTRAL[name]
    form = mistral_format(tekken, args=args, ids=ids)
    assert form is not None
    return tekken, form


def constraint(form: ToolFormat, call_ids: CallIds | None = None, **how: Any) -> Constraint:
    found = output_constraints(form, **how)(call_ids)
    assert found is not None
    return found


def called(case: Case, rule: Constraint, seeds: int = 12) -> list[list[tuple[str, str]]]:
    """The calls of some answers that a grammar allows."""
    tokenizer, form = case
    found = []
    for seed in range(seeds):
        ids = sample(tokenizer, rule, random.Random(seed), limit=60)
        if rule.trigger is not None:
            ids = [rule.trigger, *ids]
        steps = answer_to(tokenizer, form, ids)
        assert text_of(steps) == ""
        found.append([(call.name, call.arguments) for call in calls_of(steps)])
    return found


def valid(name: str, arguments: str) -> bool:
    schema = next(tool.parameters for tool in TOOLS if tool.name == name)
    verifier = Verifier(schema or {"type": "object", "maxProperties": 0})
    return verifier.violation(arguments.encode()) is None


class TestChoice:
    def test_required_always_makes_valid_calls(self, case: Case) -> None:
        rule = constraint(case[1], tools=TOOLS, choice=REQUIRED)
        assert rule.trigger is None
        found = called(case, rule, 30)
        assert all(found)
        assert all(valid(*call) for calls in found for call in calls)
        assert {name for calls in found for name, _ in calls} == {tool.name for tool in TOOLS}
        assert any(len(calls) > 1 for calls in found)

    def test_one_function_is_the_only_one_called(self, case: Case) -> None:
        rule = constraint(case[1], tools=TOOLS, choice=ToolChoice("required", ("read",)))
        names = {name for calls in called(case, rule) for name, _ in calls}
        assert names == {"read"}  # and not read_file

    def test_allowed_tools_are_the_only_ones_called(self, case: Case) -> None:
        allowed = ("stop-it", "read_file")
        rule = constraint(case[1], tools=TOOLS, choice=ToolChoice("required", allowed))
        assert {name for calls in called(case, rule, 30) for name, _ in calls} == set(allowed)

    def test_one_call_where_calls_must_not_be_parallel(self, case: Case) -> None:
        for ids in (None, call_id):
            rule = constraint(
                case[1],
                tools=TOOLS,
                choice=REQUIRED,
                parallel=False,
                call_ids=ids and partial(call_id, 1),
            )
            assert {len(calls) for calls in called(case, rule)} == {1}

    def test_none_forbids_the_token_and_holds_to_nothing(self, case: Case) -> None:
        form = case[1]
        assert output_constraints(form, tools=TOOLS, choice=ToolChoice("none"))(None) is None
        forbidden = form.forbidden("none")
        assert (form.trigger in forbidden) == (form.trigger is not None)
        assert form.forbidden("auto") == form.forbidden("required") == ()

    def test_no_tools_hold_to_nothing(self, case: Case) -> None:
        assert output_constraints(case[1])(None) is None

    def test_auto_leaves_text_alone(self, case: Case) -> None:
        tokenizer, form = case
        rule = constraint(form, tools=TOOLS)
        if form.trigger is not None:
            assert rule.trigger == form.trigger  # the grammar begins there
            assert all(called(case, rule))
            return
        for text in ("", "Well.", "\n<tool", "{}", "<tool_call", "é 中\n\n- a"):
            assert accepts(tokenizer, rule, tokenizer.encode(text)), text
        call = 'Well.\n<tool_call>\n{"name": "stop-it", "arguments": {}}\n</tool_call>'
        assert accepts(tokenizer, rule, tokenizer.encode(call))
        for wrong in ("stop", "stop-its", 'read", "arguments": {"mode": 7'):
            broken = f'Well.\n<tool_call>\n{{"name": "{wrong}"'
            assert not accepts(tokenizer, rule, tokenizer.encode(broken))

    def test_a_call_after_an_open_message(self, case: Case) -> None:
        tokenizer, form = case
        rule = constraint(form, tools=TOOLS, choice=REQUIRED, beginning="Let me see.")
        assert rule.beginning == ""
        ids = sample(tokenizer, rule, random.Random(1), limit=60)
        assert calls_of(answer_to(tokenizer, form, [*tokenizer.encode("Let me see."), *ids]))


class TestSchema:
    def test_content_alone(self, case: Case) -> None:
        tokenizer, form = case
        rule = constraint(form, schema=PERSON)
        assert (rule.trigger, rule.beginning, rule.trims) == (None, "", False)
        for seed in range(10):
            text = tokenizer.decode(sample(tokenizer, rule, random.Random(seed), limit=60))
            assert Verifier(PERSON).violation(text.encode()) is None

    def test_with_tools_content_or_calls(self, case: Case) -> None:
        tokenizer, form = case
        rule = constraint(form, tools=TOOLS, schema=PERSON)
        assert accepts(tokenizer, rule, tokenizer.encode('{"name": "é", "age": 3}'))
        assert not accepts(tokenizer, rule, tokenizer.encode('{"name": "é"}'))
        assert not accepts(tokenizer, rule, tokenizer.encode("Well."))
        calls = constraint(form, tools=TOOLS, choice=REQUIRED)
        ids = sample(tokenizer, calls, random.Random(3), limit=60)
        assert accepts(tokenizer, rule, ids)

    def test_a_call_goes_before_it_where_one_is_required(self, case: Case) -> None:
        rule = constraint(case[1], tools=TOOLS, choice=REQUIRED, schema=PERSON)
        assert all(called(case, rule))

    def test_what_the_content_began_with_is_part_of_it(self, case: Case) -> None:
        tokenizer, form = case
        rule = constraint(form, tools=TOOLS, schema=PERSON, beginning='{"name": "a')
        assert rule.beginning == '{"name": "a'
        assert accepts(tokenizer, rule, tokenizer.encode('b", "age": 1}'))
        with pytest.raises(GrammarError):
            compiler_of(tokenizer).take(
                constraint(form, tools=TOOLS, schema=PERSON, beginning="Well")
            )

    def test_what_a_mask_cannot_say_is_checked(self, case: Case) -> None:
        unique = {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True}
        schema = {"type": "object", "properties": {"a": unique}, "required": ["a"]}
        rule = constraint(case[1], tools=[TOOLS[2], Tool("f", None, schema)], schema=schema)
        held = {check.rule: json.loads(check.schema) for check in rule.checks if check.held}
        assert held == {"args_1": schema, "value": schema}
        assert all(f"{check.rule}[capture]: " in rule.grammar for check in rule.checks)

    def test_what_a_mask_can_say_is_verified_too(self, case: Case) -> None:
        rule = constraint(case[1], tools=TOOLS, schema=PERSON)
        checks = {check.rule: check.held for check in rule.checks}
        assert checks.pop("value") is False
        assert set(checks) == {f"args_{index}" for index in range(len(TOOLS))}

    def test_stop_strings_are_for_texts_alone(self, case: Case) -> None:
        assert not constraint(case[1], tools=TOOLS, schema=PERSON).stops
        assert constraint(case[1], tools=TOOLS).stops


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            *("mcp.server/tool:1", "two words", "n" * 128, "n" * 256, "naïve_é中🙂", "-", 'a"b\\c'),
            *("[ARGS]", "</tool_call>", "{}", " padded ", "#x%y", "$ref"),
        ],
    )
    def test_a_call_has_the_name_as_it_was_given(self, case: Case, name: str) -> None:
        tools = [Tool(name, None, None), TOOLS[2]]
        for ids in (None, lambda index: call_id(1, index)):
            choice = ToolChoice("required", (name,))
            rule = constraint(case[1], tools=tools, choice=choice, call_ids=ids)
            for calls in called(case, rule, 4):
                assert set(calls) == {(name, "{}")}


class TestParameters:
    @pytest.mark.parametrize(
        "parameters", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}]
    )
    def test_none_are_an_empty_object(self, case: Case, parameters: Any) -> None:
        tool = Tool("f", None, parameters)
        rule = constraint(case[1], tools=[tool], choice=REQUIRED)
        assert {call for calls in called(case, rule) for call in calls} == {("f", "{}")}

    @pytest.mark.parametrize(
        "parameters",
        [
            {"properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False},
            {"type": ["object", "null"], "properties": {"a": {"const": 1}}, "required": ["a"]}
            | {"additionalProperties": False},
        ],
    )
    def test_arguments_are_an_object(self, case: Case, parameters: Any) -> None:
        rule = constraint(case[1], tools=[Tool("f", None, parameters)], choice=REQUIRED)
        assert {call for calls in called(case, rule) for call in calls} == {("f", '{"a": 1}')}

    def test_anything_goes_where_the_schema_says_so(self, case: Case) -> None:
        tool = Tool("f", None, {"type": "object", "additionalProperties": True})
        rule = constraint(case[1], tools=[tool], choice=REQUIRED)
        assert any(arguments != "{}" for calls in called(case, rule, 20) for _, arguments in calls)


class TestErrors:
    @pytest.mark.parametrize(
        ("how", "part", "message"),
        [
            ({"tools": [Tool("a\tb")]}, ("tools", 0, "name"), r"'a\\tb' must be"),
            ({"tools": [Tool("")]}, ("tools", 0, "name"), "'' must be 1 to 256"),
            ({"tools": [Tool("a"), Tool("x" * 257)]}, ("tools", 1, "name"), "1 to 256"),
            ({"tools": [Tool("f\n")]}, ("tools", 0, "name"), "1 to 256"),
            ({"tools": [Tool("a\0b")]}, ("tools", 0, "name"), "1 to 256"),
            ({"tools": [Tool("f"), Tool("f")]}, ("tools", 1, "name"), "'f' is the name of another"),
            (
                {"tools": [Tool("f")], "choice": ToolChoice("required", ("g",))},
                ("tool_choice",),
                "'g' is not one",
            ),
            (
                {"tools": [Tool("f")], "choice": ToolChoice("auto", ("f", "g"))},
                ("tool_choice",),
                "'g' is not one",
            ),
            ({"choice": REQUIRED}, ("tool_choice",), "there are no tools"),
            (
                {"tools": [Tool("f"), Tool("g", None, {"type": "string"})]},
                ("tools", 1, "parameters", "type"),
                "must be 'object'",
            ),
            (
                {"tools": [Tool("f", None, {"properties": {"a": {"pattern": "("}}})]},
                ("tools", 0, "parameters", "properties", "a"),
                ".",
            ),
            (
                {"schema": {"type": "object", "properties": {"a": {"minimum": "x"}}}},
                ("schema", "properties", "a"),
                ".",
            ),
            (
                {"schema": {"allOf": [{"type": "string"}, {"type": "null"}]}},
                ("schema",),
                "no value can be valid",
            ),
        ],
    )
    def test_name_the_part(self, case: Case, how: dict[str, Any], part: Part, message: str) -> None:
        with pytest.raises(ChatError, match=message) as caught:
            output_constraints(case[1], **how)
        assert caught.value.part[: len(part)] == part
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "parameters",
        [
            {"type": "string"},
            {"properties": {"a": {"pattern": "("}}},
            {"properties": {"a": {"type": "nothing"}}},
            {"properties": {"a": {"$ref": "#/nowhere"}}},
            {
                "properties": {"a": {"allOf": [{"type": "string"}, {"type": "null"}]}},
                "required": ["a"],
            },
        ],
    )
    def test_a_schema_without_sense_does_not_end_the_turn(
        self, case: Case, parameters: dict[str, Any]
    ) -> None:
        """Its tool is called with any object; the others as ever. A strict tool is refused."""
        warnings: list[tuple[str, Part]] = []

        def warn(line: str, part: Part) -> None:
            warnings.append((line, part))

        tools = [Tool("bad", None, parameters), TOOLS[2]]
        rule = constraint(case[1], tools=tools, choice=REQUIRED, warn=warn)
        ((line, part),) = warnings
        assert part[:3] == ("tools", 0, "parameters")
        assert line.endswith("arguments of 'bad' are held to a JSON object only")
        found = {call for calls in called(case, rule, 40) for call in calls}
        assert {name for name, _ in found} == {"bad", TOOLS[2].name}
        for name, arguments in found:
            assert isinstance(json.loads(arguments), dict)
            assert name == "bad" or valid(name, arguments)
        strict = [Tool("bad", None, parameters, strict=True)]
        with pytest.raises(ChatError) as caught:
            output_constraints(case[1], tools=strict, choice=REQUIRED, warn=warn)
        assert caught.value.part[:3] == ("tools", 0, "parameters")

    def test_choices_share_all_but_the_ids_of_calls(self, case: Case) -> None:
        warnings: list[str] = []
        bad = Tool("bad", None, {"type": "string"})
        constraint_of = output_constraints(
            case[1], tools=[bad], choice=REQUIRED, warn=lambda line, _: warnings.append(line)
        )
        one, other = (constraint_of(ids) for ids in (lambda at: f"{at:09}", lambda at: f"{at:x>9}"))
        assert (one != other) == case[1].writes_ids
        assert len(warnings) == 1

    def test_a_schema_that_is_too_large_is_refused(self, case: Case) -> None:
        tool = Tool("f", None, {"properties": {"a": {"enum": list(range(100_000))}}})
        with pytest.raises(ChatError) as caught:
            output_constraints(case[1], tools=[tool], choice=REQUIRED, warn=lambda *_: None)
        assert caught.value.part == ("tools", 0, "parameters", "properties", "a", "enum")

    def test_a_schema_nested_without_end(self, case: Case) -> None:
        schema: dict[str, Any] = {}
        for _ in range(5000):
            schema = {"items": schema}
        with pytest.raises(ChatError) as caught:
            output_constraints(case[1], schema=schema)
        assert caught.value.part[0] == "schema"
