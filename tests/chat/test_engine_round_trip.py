"""Turns that the engine generates come back as the text, and the tokens, that they were."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from cierzo import LLM, SamplingParams
from cierzo.chat.answers.reader import call_id
from cierzo.chat.calls.tool_format import output_constraints
from cierzo.chat.messages import Message
from cierzo.chat.tools import ToolChoice
from cierzo.grammar.vocabulary import WHITE_SPACE
from tests.chat.templates.test_mistral_template import tekken_of
from tests.chat.written_answers import TOOLS, answer_to, calls_of, text_of, turn_of
from tests.support.checkpoints import write_mistral
from tests.support.tiny_model import tekken_model

ids_of = partial(call_id, 9)


@pytest.fixture(scope="module", params=["v7", "v11", "v13"])
def llm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder = write_mistral(tmp_path_factory.mktemp("model") / "tiny", tekken_model())
    (folder / "tekken.json").write_text(tekken_of(request.param))
    with LLM(str(folder), threads=1, kv_cache_memory_mb=72) as made:
        yield made


def test_words_then_calls(llm: LLM) -> None:
    """The model is random; it is made to like calls, and white space beside them."""
    tokenizer, template = llm.tokenizer, llm.template
    form = template.tool_format
    assert form.trigger is not None
    spaces = [
        i
        for i in range(tokenizer.vocab_size)
        if not tokenizer.is_control(i) and not tokenizer.token_bytes(i).strip(WHITE_SPACE)
    ]
    bias = {form.trigger: 4.0, **dict.fromkeys(spaces, 2.0), tokenizer.encode('"')[0]: 4.0}
    messages = [Message("user", "Go on.")]
    seen = {"calls": 0, "words": 0, "tokens": 0, "kept": 0}
    for seed in range(12):
        prompt = list(template.render(messages, tools=TOOLS))
        choice = ToolChoice("auto")
        constraint = output_constraints(form, tools=TOOLS, choice=choice, parallel=False)(ids_of)
        (answer,) = llm.generate(
            [prompt],
            SamplingParams(max_tokens=300, seed=seed, logit_bias=bias, constraint=constraint),
        )
        ids = [i for i in answer.token_ids if i not in tokenizer.eos_token_ids]
        steps = answer_to(tokenizer, form, ids, (3, 1, 2), call_ids=ids_of)
        if answer.finish_reason != "stop" or not calls_of(steps):
            continue
        words = text_of(steps)
        assert words == words.strip(WHITE_SPACE.decode())
        turn = turn_of(steps, content="with space around", arguments="indented")
        again = list(template.render([*messages, turn], tools=TOOLS))[len(prompt) :]
        text = tokenizer.decode(ids, skip_control=False)
        assert "\ufffd" in text or tokenizer.decode(again, skip_control=False) == f"{text}</s>"
        seen["calls"] += 1
        seen["words"] += bool(words)
        seen["tokens"] += len(ids)
        same = next((i for i, (a, b) in enumerate(zip(ids, again, strict=False)) if a != b), None)
        seen["kept"] += len(ids) if same is None else same
    assert seen["calls"] > 5
    assert seen["words"] > 2
    assert seen["kept"] > 0


@pytest.fixture(scope="module")
def smollm2() -> Iterator[LLM]:
    with LLM("smollm2-135m", threads=1, max_model_len=512) as made:
        yield made


def test_text_that_follows_of_itself_is_in_the_tokens_of_the_history(smollm2: LLM) -> None:
    """A quote that is sampled alone is one token with the comma or brace that must follow it."""
    llm, tokenizer = smollm2, smollm2.tokenizer
    digits = {"type": "string", "pattern": "^[0-9]{1,3}$"}
    schema = {
        "type": "object",
        "properties": {"a": digits, "b": digits},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    constraint = output_constraints(llm.template.tool_format, schema=schema)(None)
    assert constraint is not None
    (quote,) = tokenizer.encode('"')
    assert len(tokenizer.encode('",')) == 1
    for seed in range(6):
        for logprobs in (None, 0):
            params = SamplingParams(
                max_tokens=60,
                seed=seed,
                logit_bias={quote: 20.0},
                constraint=constraint,
                logprobs=logprobs,
            )
            (answer,) = llm.generate([[5, 6, 7]], params)
            ids = [i for i in answer.token_ids if i not in tokenizer.eos_token_ids]
            assert ids == tokenizer.encode(answer.text)
            assert logprobs is None or len(answer.logprobs) == len(answer.token_ids)
