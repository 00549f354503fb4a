"""Answers under a constraint, on real tiny models: valid, deterministic, and with nothing left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from cierzo.backends.cpu import CpuBackend
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer, token_bytes_of
from cierzo.engine import step_costs
from cierzo.engine.engine import Engine
from cierzo.engine.sampling_params import SamplingParams
from cierzo.grammar.constraint import Check, Constraint
from cierzo.grammar.errors import BeginningError, GrammarError
from cierzo.grammar.pattern import Work
from cierzo.grammar.verifier import Verifier
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.model.runner import ModelRunner
from cierzo.settings import EngineSettings
from tests.engine.models import Answer, Request, make_engine, random_prompt, run
from tests.support.checkpoints import tekken_model, write_mistral

TOOL_CALLS, ARGS, EOS = 9, 32, 2  # of the cut Tekken vocabulary
SPELLING = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
SHORT_TEXT = {"type": "string", "maxLength": 6}
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": SHORT_TEXT, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def json_rule(name: str, schema: Any) -> str:
    return f"{name}[capture]: %json {json.dumps(schema | {'x-guidance': SPELLING})}\n"


def json_answer(schema: Any, check: Any = None) -> Constraint:
    checks = () if check is None else (Check("value", json.dumps(check)),)
    return Constraint(grammar="start: value\n" + json_rule("value", schema), checks=checks)


def calls(trigger: int | None, *names: str, **options: Any) -> Constraint:
    """A grammar of calls in Mistral's form, to any of some functions that take a person."""
    first = "" if trigger is not None else f"<[{TOOL_CALLS}]> "
    called = " | ".join(f'"{name}"' for name in names)
    grammar = f"start: {first}call (<[{TOOL_CALLS}]> call)*\ncall: ({called}) <[{ARGS}]> args\n"
    return Constraint(grammar=grammar + json_rule("args", PERSON), trigger=trigger, **options)


@pytest.fixture(scope="module")
def tekken_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tekken")
    write_mistral(folder, tekken_model())
    return folder


def knowing(engine: Engine, path: Path) -> tuple[Engine, Tokenizer]:
    tokenizer = load_tokenizer(open_checkpoint(path).tokenizer)
    engine.set_vocabulary(token_bytes_of(tokenizer))
    return engine, tokenizer


@pytest.fixture
def bpe(model_path: Path) -> tuple[Engine, Tokenizer]:
    return knowing(make_engine(model_path, eos=(EOS,)), model_path)


@pytest.fixture
def tekken(tekken_path: Path) -> tuple[Engine, Tokenizer]:
    return knowing(make_engine(tekken_path, eos=(EOS,)), tekken_path)


def text_of(tokenizer: Tokenizer, answer: Answer) -> str:
    return tokenizer.decode(answer.token_ids)


@pytest.mark.parametrize("vocabulary", ["bpe", "tekken"])
@pytest.mark.parametrize("seed", range(4))
def test_a_schema_holds_at_any_temperature(
    vocabulary: str, seed: int, request: pytest.FixtureRequest
) -> None:
    engine, tokenizer = request.getfixturevalue(vocabulary)
    params = SamplingParams(
        max_tokens=200, temperature=2.0, seed=seed, constraint=json_answer(PERSON)
    )
    answer = run(engine, {"r": Request(random_prompt(seed, 20), params)})["r"]
    assert answer.finish_reason == "stop"
    value = json.loads(text_of(tokenizer, answer))
    jsonschema.validate(value, PERSON)
    assert json.dumps(value, ensure_ascii=False) == text_of(tokenizer, answer)


def believed(mask: Any, schema: Any) -> SamplingParams:
    """An answer whose mask is believed to say all that its schema does."""
    check = Check("value", json.dumps(schema), held=False)
    constraint = Constraint(grammar=json_answer(mask).grammar, checks=(check,))
    return SamplingParams(max_tokens=200, seed=5, constraint=constraint)


def test_a_schema_is_read_once_however_many_values_follow_it(
    bpe: tuple[Engine, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or many small calls of a tool with a large schema would be much work."""
    engine, tokenizer = bpe
    read = 0
    real = Verifier.__init__

    def counted(verifier: Verifier, schema: str, work: Work | None = None) -> None:
        nonlocal read
        read += 1
        real(verifier, schema, work)

    monkeypatch.setattr(Verifier, "__init__", counted)
    schema = {"enum": [1, 2, 3]}
    grammar = 'start: (value ";"){9}\n' + json_rule("value", schema)
    constraint = Constraint(grammar=grammar, checks=(Check("value", json.dumps(schema), False),))
    params = SamplingParams(max_tokens=50, seed=1, constraint=constraint)
    answer = run(engine, {"r": Request([5, 6], params)})["r"]
    assert text_of(tokenizer, answer).count(";") == 9
    assert read == 1


def test_no_mask_is_trusted(bpe: tuple[Engine, Tokenizer]) -> None:
    """Whoever believed it exact: what is not valid in the end does not leave as an answer."""
    engine, _ = bpe
    numbers = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 999}}
    mask = {**numbers, "minItems": 2, "maxItems": 5}
    wrong = {"items": {"type": "string"}}
    for schema, ending in ((wrong, "error"), (numbers, "stop")):
        answer = run(engine, {"r": Request(random_prompt(1, 20), believed(mask, schema))})["r"]
        assert answer.finish_reason == ending
        assert ("not valid" in (answer.error or "")) is (ending == "error")


def test_what_should_be_valid_is_given_out_as_it_comes(bpe: tuple[Engine, Tokenizer]) -> None:
    engine, _ = bpe
    params = believed(PERSON, PERSON)
    engine.add("r", random_prompt(1, 20), params)
    given: list[int] = []
    while engine.has_work():
        given += [len(output.token_ids) for output in engine.step() if output.token_ids]
    assert len(given) > 5
    plain = msgspec.structs.replace(params, constraint=json_answer(PERSON))
    engine.add("r", random_prompt(1, 20), plain)
    tokens = 0
    while engine.has_work():
        tokens += sum(len(output.token_ids) for output in engine.step())
    assert tokens == sum(given)


def test_forced_tokens_are_not_computed_one_by_one(bpe: tuple[Engine, Tokenizer]) -> None:
    engine, _ = bpe
    params = SamplingParams(max_tokens=200, seed=1, constraint=json_answer(PERSON))
    answer = run(engine, {"r": Request(random_prompt(1, 20), params)})["r"]
    assert engine.stats().steps < len(answer.token_ids) - 5
    assert engine.stats().generated_tokens == len(answer.token_ids)


def test_forced_tokens_are_no_prompt_to_the_step_budget(
    bpe: tuple[Engine, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or they would be taken for a prompt that is read slowly."""
    engine, _ = bpe
    observed: list[step_costs.Work] = []
    monkeypatch.setattr(
        step_costs.StepCosts, "observe", lambda _, work, seconds: observed.append(work)
    )
    params = SamplingParams(max_tokens=200, seed=1, constraint=json_answer(PERSON))
    answer = run(engine, {"r": Request(random_prompt(1, 40), params)})["r"]
    stats = engine.stats()
    assert stats.steps == len(observed) < len(answer.token_ids) - 5  # many were forced
    assert sum(work.prompt_tokens for work in observed) == stats.prompt_tokens == 40
    num_reading = sum(work.prompt_tokens > 0 for work in observed)
    decoding = [work.sequences for work in observed]
    assert decoding == [0] * num_reading + [1] * (stats.steps - num_reading)


def test_asking_for_log_probabilities_changes_no_token(bpe: tuple[Engine, Tokenizer]) -> None:
    engine, _ = bpe
    params = SamplingParams(max_tokens=200, seed=3, constraint=json_answer(PERSON))
    asking = msgspec.structs.replace(params, logprobs=2)
    prompt = random_prompt(2, 30)
    answers = run(engine, {"plain": Request(prompt, params), "asking": Request(prompt, asking)})
    assert answers["asking"].token_ids == answers["plain"].token_ids
    scores = answers["asking"].logprobs
    assert [score.token_id for score in scores] == answers["asking"].token_ids
    # They are the model's own, as a prompt of the same tokens has them.
    whole = prompt + answers["plain"].token_ids
    read = SamplingParams(max_tokens=0, prompt_logprobs=2)
    again = run(engine, {"r": Request(whole, read)})["r"]
    assert again.prompt_logprobs[len(prompt) - 1 :] == scores


def test_company_and_chunks_change_no_token(model_path: Path) -> None:
    requests = {
        str(seed): Request(
            random_prompt(seed, 40),
            SamplingParams(
                max_tokens=60,
                seed=seed,
                temperature=1.0 + seed % 2,
                constraint=json_answer(PERSON) if seed % 3 else None,
            ),
            arrives=seed % 4,
        )
        for seed in range(9)
    }
    engine, _ = knowing(make_engine(model_path, eos=(EOS,)), model_path)
    together = run(engine, requests)
    cramped, _ = knowing(
        make_engine(model_path, eos=(EOS,), num_blocks=5, max_batch_tokens=9,
                    max_batch_sequences=4),
        model_path,
    )  # fmt: skip
    again = run(cramped, requests)
    assert cramped.stats().preemptions > 0
    for name, request in requests.items():
        assert again[name].token_ids == together[name].token_ids
        alone = run(engine, {"r": Request(request.prompt, request.params)})["r"]
        assert alone.token_ids == together[name].token_ids


def test_max_tokens_inside_a_value_ends_with_length(bpe: tuple[Engine, Tokenizer]) -> None:
    engine, tokenizer = bpe
    for count in range(1, 12):
        params = SamplingParams(max_tokens=count, seed=5, constraint=json_answer(PERSON))
        answer = run(engine, {"r": Request([7, 8, 9], params)})["r"]
        assert (len(answer.token_ids), answer.finish_reason) == (count, "length")
    assert text_of(tokenizer, answer).startswith('{"name": "')


def test_a_text_is_free_until_the_trigger(tekken: tuple[Engine, Tokenizer]) -> None:
    engine, tokenizer = tekken
    prompt = random_prompt(4, 20)
    free = SamplingParams(max_tokens=12, seed=9, logit_bias={TOOL_CALLS: -100.0, EOS: -100.0})
    bound = msgspec.structs.replace(free, constraint=calls(TOOL_CALLS, "f"))
    answers = run(engine, {"free": Request(prompt, free), "bound": Request(prompt, bound)})
    assert answers["free"].token_ids == answers["bound"].token_ids
    calling = msgspec.structs.replace(bound, logit_bias={TOOL_CALLS: 100.0}, max_tokens=100)
    answer = run(engine, {"r": Request(prompt, calling)})["r"]
    assert answer.token_ids[0] == TOOL_CALLS
    assert answer.token_ids[1 : 1 + len(tokenizer.encode("f"))] == tokenizer.encode("f")


@pytest.mark.parametrize("seed", range(3))
def test_calls_are_to_known_functions_with_valid_arguments(
    tekken: tuple[Engine, Tokenizer], seed: int
) -> None:
    engine, tokenizer = tekken
    params = SamplingParams(
        max_tokens=400,
        temperature=2.0,
        seed=seed,
        constraint=calls(None, "greet", "grow", "gr"),
        logit_bias={EOS: 5.0},
    )
    answer = run(engine, {"r": Request(random_prompt(seed, 9), params)})["r"]
    assert answer.finish_reason == "stop"
    assert answer.token_ids[0] == TOOL_CALLS
    spelled = tokenizer.decode(answer.token_ids[1:-1], skip_control=False)
    for call in spelled.split("[TOOL_CALLS]"):
        name, _, arguments = call.partition("[ARGS]")
        assert name in ("greet", "grow", "gr")
        jsonschema.validate(json.loads(arguments), PERSON)


def test_white_space_around_a_text_is_taken_back(tekken: tuple[Engine, Tokenizer]) -> None:
    """Whatever is sampled, what is given out is what the encoder makes of the trimmed text."""
    engine, tokenizer = tekken
    spaces = {i: 8.0 for i in range(36, 640) if tokenizer.token_bytes(i).isspace()}
    rewound = 0
    for seed in range(12):
        params = SamplingParams(
            max_tokens=150,
            seed=seed,
            temperature=1.5,
            logit_bias=spaces | {TOOL_CALLS: 9.0, EOS: -100.0},
            constraint=calls(TOOL_CALLS, "f", trims=True),
        )
        answer = run(engine, {"r": Request(random_prompt(seed, 9), params)})["r"]
        before = answer.token_ids[: answer.token_ids.index(TOOL_CALLS)]
        text = tokenizer.decode(before)
        assert text == text.strip()
        rewound += engine.stats().generated_tokens > len(answer.token_ids)
    assert rewound > 0


def test_an_answer_that_goes_on_with_a_text_may_begin_in_white_space(
    tekken: tuple[Engine, Tokenizer],
) -> None:
    engine, tokenizer = tekken
    space = tokenizer.encode(" ")[0]
    bias = {space: 100.0}
    found = {}
    for prefix in ("", "I will"):
        rule = calls(TOOL_CALLS, "f", trims=True, beginning=prefix)
        params = SamplingParams(max_tokens=1, seed=2, logit_bias=bias, constraint=rule)
        found[prefix] = run(engine, {"r": Request([5, 6], params)})["r"].token_ids
    assert found["I will"] == [space]
    assert not tokenizer.decode(found[""])[:1].isspace()


def test_an_answer_that_ends_in_white_space_ends_before_it(
    tekken: tuple[Engine, Tokenizer],
) -> None:
    engine, tokenizer = tekken
    newline = tokenizer.encode("\n")[0]
    letters = {i: -100.0 for i in range(640) if tokenizer.token_bytes(i) != b"a"}
    allowed = letters | {newline: 2.0, EOS: 0.0}
    texts = []
    for seed in range(10):
        params = SamplingParams(
            max_tokens=300,
            seed=seed,
            temperature=2.0,
            logit_bias=allowed,
            constraint=calls(TOOL_CALLS, "f", trims=True),
        )
        answer = run(engine, {"r": Request([5, 6], params)})["r"]
        assert answer.finish_reason == "stop"
        assert answer.token_ids[-1] == EOS
        texts.append(tokenizer.decode(answer.token_ids))
    assert any("\n" in text for text in texts)
    assert [text.strip() for text in texts] == texts


UNIQUE: dict[str, Any] = {
    "type": "array",
    "items": {"enum": ["a", "b", "c", "d"]},
    "minItems": 4,
    "maxItems": 4,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_invalid_value_is_searched_again(
    bpe: tuple[Engine, Tokenizer], temperature: float
) -> None:
    engine, tokenizer = bpe
    check = UNIQUE | {"uniqueItems": True}
    params = SamplingParams(
        max_tokens=100, temperature=temperature, seed=4, constraint=json_answer(UNIQUE, check)
    )
    prompt = random_prompt(6, 15)
    free = msgspec.structs.replace(params, constraint=json_answer(UNIQUE))
    answers = run(engine, {"free": Request(prompt, free), "checked": Request(prompt, params)})
    assert len(set(json.loads(text_of(tokenizer, answers["free"])))) < 4  # there was a need to
    assert sorted(json.loads(text_of(tokenizer, answers["checked"]))) == ["a", "b", "c", "d"]
    again = run(engine, {"r": Request(prompt, params)})["r"]
    assert again.token_ids == answers["checked"].token_ids
    asking = msgspec.structs.replace(params, logprobs=0)
    scored = run(engine, {"r": Request(prompt, asking)})["r"]
    assert scored.token_ids == again.token_ids
    assert [score.token_id for score in scored.logprobs] == scored.token_ids


def test_nothing_is_given_out_before_it_is_verified(bpe: tuple[Engine, Tokenizer]) -> None:
    engine, tokenizer = bpe
    check = UNIQUE | {"uniqueItems": True}
    params = SamplingParams(max_tokens=100, seed=4, constraint=json_answer(UNIQUE, check))
    engine.add("r", random_prompt(6, 15), params)
    shown: list[int] = []
    while engine.has_work():
        for output in engine.step():
            assert not shown, "the value came in one piece"
            shown += output.token_ids
    assert sorted(json.loads(tokenizer.decode(shown))) == ["a", "b", "c", "d"]


def test_a_search_that_cannot_succeed_is_an_error(bpe: tuple[Engine, Tokenizer]) -> None:
    engine, _ = bpe
    never = UNIQUE | {"uniqueItems": True, "contains": {"const": "e"}}
    params = SamplingParams(max_tokens=100, seed=4, constraint=json_answer(UNIQUE, never))
    fine = SamplingParams(max_tokens=100, seed=4, constraint=json_answer(PERSON))
    prompt = random_prompt(6, 15)
    answers = run(engine, {"never": Request(prompt, params), "fine": Request(prompt, fine)})
    assert answers["never"].finish_reason == "error"
    assert answers["never"].token_ids == []
    assert "no answer was found that is valid" in (answers["never"].error or "")
    assert answers["fine"].finish_reason == "stop"


def test_a_grammar_that_is_none_is_refused(bpe: tuple[Engine, Tokenizer]) -> None:
    engine, _ = bpe
    params = SamplingParams(constraint=Constraint(grammar="start: missing_rule"))
    with pytest.raises(GrammarError, match="missing_rule"):
        engine.add("r", [5], params)
    assert not engine.has_work()


def test_an_answer_goes_on_with_its_beginning(bpe: tuple[Engine, Tokenizer]) -> None:
    engine, tokenizer = bpe
    begun = '{"name": "Zo'
    constraint = msgspec.structs.replace(json_answer(PERSON), beginning=begun)
    params = SamplingParams(max_tokens=100, seed=1, constraint=constraint)
    answer = run(engine, {"r": Request(tokenizer.encode(begun), params)})["r"]
    value = json.loads(begun + text_of(tokenizer, answer))
    assert value["name"].startswith("Zo")
    jsonschema.validate(value, PERSON)
    wrong = msgspec.structs.replace(constraint, beginning="Sure")
    with pytest.raises(BeginningError, match="begins with"):
        engine.add("r", [5], SamplingParams(constraint=wrong))


def test_without_a_vocabulary_a_constraint_is_refused(model_path: Path) -> None:
    engine = make_engine(model_path)
    with pytest.raises(ValueError, match="vocabulary"):
        engine.add("r", [5], SamplingParams(constraint=json_answer(PERSON)))


def test_logits_wider_than_the_vocabulary_are_never_chosen(tmp_path: Path) -> None:
    """Checkpoints pad their embeddings."""
    write_mistral(tmp_path, tekken_model(vocab_size=704))
    checkpoint = open_checkpoint(tmp_path)
    runner = ModelRunner(checkpoint, CpuBackend(threads=1), num_blocks=40)
    engine, tokenizer = knowing(Engine(runner, (EOS,), EngineSettings()), tmp_path)
    assert tokenizer.vocab_size < checkpoint.config.vocab_size == 704
    padding = dict.fromkeys(range(tokenizer.vocab_size, 704), 100.0)
    params = SamplingParams(
        max_tokens=100, seed=1, logit_bias=padding, constraint=json_answer(PERSON)
    )
    answer = run(engine, {"r": Request([5, 6], params)})["r"]
    assert max(answer.token_ids) < tokenizer.vocab_size
    jsonschema.validate(json.loads(text_of(tokenizer, answer)), PERSON)


def test_choices_share_the_blocks_of_their_prompt(model_path: Path) -> None:
    prompt = random_prompt(8, 200)
    params = [SamplingParams(max_tokens=5, seed=seed) for seed in range(4)]
    engine = make_engine(model_path)
    alone = [run(engine, {"r": Request(prompt, p)})["r"].token_ids for p in params]
    engine = make_engine(model_path)
    before = engine.stats()
    for index, p in enumerate(params):
        engine.add(str(index), prompt, p)
    answers = {str(index): Answer() for index in range(4)}
    cached: set[tuple[str, int]] = set()
    while engine.has_work():
        for output in engine.step():
            answers[output.request_id].take(output)
            cached.add((output.request_id, output.num_cached_tokens))
    assert [answers[str(index)].token_ids for index in range(4)] == alone
    assert cached == {("0", 0), ("1", 192), ("2", 192), ("3", 192)}
    after = engine.stats()
    assert after.computed_tokens - before.computed_tokens == 200 + 3 * 8 + 4 * 4
    assert after.cached_tokens - before.cached_tokens == 3 * 192
    assert after.free_blocks == after.num_blocks


@pytest.mark.parametrize("leave_at", [0, 1, 2])
def test_a_choice_goes_on_when_the_first_one_leaves(model_path: Path, leave_at: int) -> None:
    engine = make_engine(model_path, max_batch_tokens=32, max_batch_sequences=4)
    prompt = random_prompt(8, 100)
    params = SamplingParams(max_tokens=5, seed=1)
    expected = run(engine, {"r": Request(prompt, params)})["r"].token_ids
    engine.add("first", prompt, params)
    engine.add("second", prompt, params)
    found: list[int] = []
    step = 0
    while engine.has_work():
        if step == leave_at:
            engine.abort("first")
        for output in engine.step():
            if output.request_id == "second":
                found += output.token_ids
        step += 1
    assert found == expected
    assert engine.stats().free_blocks == engine.stats().num_blocks


def test_shared_blocks_are_given_up_when_there_are_too_few(model_path: Path) -> None:
    prompt = random_prompt(8, 100)
    params = [SamplingParams(max_tokens=60, seed=seed) for seed in range(5)]
    roomy = make_engine(model_path)
    alone = [run(roomy, {"r": Request(prompt, p)})["r"].token_ids for p in params]
    engine = make_engine(model_path, num_blocks=6, max_batch_sequences=2)
    for index, p in enumerate(params):
        engine.add(str(index), prompt, p)
    answers = {str(index): Answer() for index in range(5)}
    while engine.has_work():
        for output in engine.step():
            answers[output.request_id].take(output)
    assert [answers[str(index)].token_ids for index in range(5)] == alone
    assert engine.stats().free_blocks == engine.stats().num_blocks
