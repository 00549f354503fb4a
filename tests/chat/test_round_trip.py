"""A turn that comes back in the next request has the tokens that were generated."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby, product
from pathlib import Path
from typing import Any

import pytest

from cierzo.chat.answers.reader import call_id
from cierzo.chat.calls.tool_format import output_constraints
from cierzo.chat.messages import Message, ToolCall
from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import ToolChoice
from cierzo.grammar.constraint import Constraint
from tests.chat import vocabularies
from tests.chat.sampled import accepts, sample
from tests.chat.templates.jinja_examples import CHATML
from tests.chat.templates.jinja_examples import TOOLS as TAGGED
from tests.chat.templates.test_mistral_template import VERSIONS, tekken_of
from tests.chat.vocabularies import gguf_source, tekken_source
from tests.chat.written_answers import (
    ARGUMENTS,
    CONTENTS,
    TOOLS,
    answer_to,
    calls_of,
    text_of,
    turn_of,
)
from tests.support.tokenizers import tekken_json

Model = tuple[ChatTemplate, Tokenizer]
ASKED = [Message("system", "Be brief."), Message("user", "Go on.")]
WORDS = ("Let me see.", "é 中", "I'll read it:\n\n- first", "<tool> [TOOL_CALLS] 1")
REQUIRED, AUTO = ToolChoice("required"), ToolChoice("auto")
ids_of = partial(call_id, 7)


def mistral(folder: Path, text: str) -> Model:
    path = folder / "tekken.json"
    path.write_text(text)
    source = tekken_source(path)
    tokenizer = load_tokenizer(source)
    return load_chat_template(source, tokenizer), tokenizer


def jinja(template: str, *words: str) -> Model:
    source = gguf_source("llama-bpe", template=template, user_defined=words)
    tokenizer = load_tokenizer(source)
    return load_chat_template(source, tokenizer), tokenizer


@pytest.fixture(scope="module", params=[*VERSIONS, "tags", "tags in text", "prompt"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param == "tags":
        return jinja(TAGGED, "<tool_call>", "</tool_call>")
    if request.param in ("tags in text", "prompt"):
        return jinja(TAGGED if request.param == "tags in text" else CHATML)
    return mistral(tmp_path_factory.mktemp("tekken"), tekken_of(request.param))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Tekken's 131,072 tokens, with the control tokens of v13."""
    full = dict(vocabularies.tekken_data())
    special = json.loads(tekken_json())["special_tokens"]
    for rank in range(len(special), full["config"]["default_num_special_tokens"]):
        special.append({"rank": rank, "token_str": f"<SPECIAL_{rank}>", "is_control": True})
    full |= {"special_tokens": special, "config": full["config"] | {"version": "v13"}}
    return mistral(tmp_path_factory.mktemp("tekken"), json.dumps(full))


def constraint(template: ChatTemplate, choice: ToolChoice, **how: Any) -> Constraint:
    found = output_constraints(template.tool_format, tools=TOOLS, choice=choice, **how)(ids_of)
    assert found is not None
    return found


def has_room_for_words(template: ChatTemplate) -> bool:
    """v3 cannot hold words beside calls."""
    call = ToolCall("read", "{}", "abcdefgh1")
    turns = [Message("assistant", content, tool_calls=(call,)) for content in (None, "words")]
    return list(template.render([*ASKED, turns[0]])) != list(template.render([*ASKED, turns[1]]))


def as_the_encoder_cuts(
    template: ChatTemplate, tokenizer: Tokenizer, ids: Sequence[int]
) -> list[int]:
    """The same answer in canonical tokens: its texts between control tokens, encoded."""
    own = template.tool_format.tokens
    segments: list[str | int] = []
    for fixed, group in groupby(ids, key=lambda i: i in own):
        part = list(group)
        segments += part if fixed else [tokenizer.decode(part, skip_control=False)]
    return list(tokenizer.encode_segments(segments))


def generated(model: Model, seed: int, words: str = "") -> list[int]:
    """An answer with calls, in canonical tokens, that its grammar allows."""
    template, tokenizer = model
    rule = constraint(template, REQUIRED, beginning=words)
    drawn = sample(tokenizer, rule, random.Random(seed), limit=60)
    ids = as_the_encoder_cuts(template, tokenizer, [*tokenizer.encode(words), *drawn])
    rest = ids if not words else as_the_encoder_cuts(template, tokenizer, drawn)
    assert accepts(tokenizer, rule, rest)
    return ids


def reformatted() -> Iterator[tuple[str, str]]:
    yield from product(CONTENTS, ARGUMENTS)


@pytest.mark.parametrize("words", ["", *WORDS])
def test_every_reformatting_has_the_same_tokens(model: Model, words: str) -> None:
    template, tokenizer = model
    if words and not has_room_for_words(template):
        words = ""
    prompt = list(template.render(ASKED, tools=TOOLS))
    for seed in range(6):
        ids = generated(model, seed, words)
        steps = answer_to(tokenizer, template.tool_format, ids, call_ids=ids_of)
        assert text_of(steps) == words
        assert calls_of(steps)
        for content, arguments in reformatted():
            turn = turn_of(steps, content, arguments)
            again = list(template.render([*ASKED, turn], tools=TOOLS))
            assert again[: len(prompt) + len(ids)] == [*prompt, *ids], (content, arguments)


def test_any_sampled_answer_has_the_same_text(model: Model) -> None:
    """Tokens that the encoder would cut otherwise are all that can be lost."""
    template, tokenizer = model
    prompt = list(template.render(ASKED, tools=TOOLS))
    for seed in range(40):
        ids = sample(tokenizer, constraint(template, REQUIRED), random.Random(seed), limit=60)
        steps = answer_to(tokenizer, template.tool_format, ids, call_ids=ids_of)
        assert text_of(steps) == ""
        again = list(template.render([*ASKED, turn_of(steps)], tools=TOOLS))
        text = tokenizer.decode([*prompt, *ids], skip_control=False)
        assert tokenizer.decode(again, skip_control=False).startswith(text)


def test_the_whole_vocabulary(whole: Model) -> None:
    template, tokenizer = whole
    prompt = list(template.render(ASKED, tools=TOOLS))
    for seed in range(20):
        ids = generated(whole, seed, WORDS[0])
        steps = answer_to(tokenizer, template.tool_format, ids, call_ids=ids_of)
        again = list(template.render([*ASKED, turn_of(steps, arguments="indented")], tools=TOOLS))
        assert again[:-1] == [*prompt, *ids]


def test_a_session_of_generated_turns_only_grows(model: Model) -> None:
    template, tokenizer = model
    messages = list(ASKED)
    cached: list[int] = []
    for seed in range(4):
        prompt = list(template.render(messages, tools=TOOLS))
        assert prompt[: len(cached)] == cached
        ids = generated(model, 100 + seed)
        cached = [*prompt, *ids]
        steps = answer_to(tokenizer, template.tool_format, ids, call_ids=ids_of)
        turn = turn_of(steps, arguments="compact")
        results = [
            Message("tool", f"result {call.id}", tool_call_id=call.id) for call in turn.tool_calls
        ]
        messages += [turn, *reversed(results)]


def test_after_the_trigger_the_rest_is_the_same(model: Model) -> None:
    template, tokenizer = model
    form = template.tool_format
    if form.trigger is None:
        pytest.skip("begins calls with text")
    free = constraint(template, AUTO)
    assert free.trigger == form.trigger
    forced = constraint(template, REQUIRED)
    assert forced.trigger is None
    for seed in range(10):
        ids = sample(tokenizer, free, random.Random(seed), limit=60)
        assert accepts(tokenizer, forced, [form.trigger, *ids])
