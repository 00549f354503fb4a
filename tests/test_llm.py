"""The Python door: `LLM`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cierzo import LLM, SamplingParams
from cierzo.backends.tensor import StorageType
from cierzo.chat.messages import Message
from cierzo.engine.errors import EngineError
from cierzo.generate.refused import Refused, TooLong
from cierzo.grammar.constraint import Constraint
from cierzo.model.errors import ModelError
from cierzo.settings import SettingsError
from tests.support.checkpoints import TinyModel, write_gguf

GREEDY = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    path = write_gguf(tmp_path_factory.mktemp("llm") / "tiny.gguf", TinyModel(), StorageType.Q8_0)
    with LLM(
        str(path), threads=1, kv_cache_memory_mb=72, max_batch_tokens=32, max_batch_sequences=16
    ) as made:
        yield made


def test_answers_come_in_the_order_of_the_prompts(llm: LLM) -> None:
    prompts = [[5, 6, 7], [8] * 70, [9, 10]]
    together = llm.generate(prompts, GREEDY)
    assert [list(answer.prompt_token_ids) for answer in together] == prompts
    assert together == [llm.generate([prompt], GREEDY)[0] for prompt in prompts]
    assert all(len(answer.token_ids) == 12 for answer in together)
    assert {answer.finish_reason for answer in together} == {"length"}


def test_more_prompts_than_the_engine_takes_at_once(llm: LLM) -> None:
    prompts = [[5 + i % 20, 6] for i in range(150)]
    answers = llm.generate(prompts, SamplingParams(max_tokens=2, temperature=0.0))
    assert len(answers) == 150
    assert answers[0] == answers[20]


def test_a_text_is_encoded_as_the_tokenizer_says(llm: LLM) -> None:
    (answer,) = llm.generate("Hello there", GREEDY)
    assert list(answer.prompt_token_ids) == llm.encode("Hello there")
    shown = [i for i in answer.token_ids if not llm.tokenizer.is_control(i)]
    assert answer.text == llm.tokenizer.decode(shown)


def test_log_probabilities_agree_with_the_logits(llm: LLM) -> None:
    prompt = [5, 6, 7, 8, 9] * 20
    params = SamplingParams(max_tokens=1, temperature=0.0, logprobs=3, prompt_logprobs=3)
    (answer,) = llm.generate([prompt], params)
    logits = llm.logits(prompt).astype(np.float64)
    assert logits.shape == (100, llm.info.vocab_size)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert len(answer.prompt_logprobs) == 99
    rows = [*answer.prompt_logprobs, *answer.logprobs]
    for row, token, found in zip(expected, [*prompt[1:], *answer.token_ids], rows, strict=True):
        assert found.token_id == token
        assert found.logprob == pytest.approx(row[token], abs=1e-4)
        assert [i for i, _ in found.top] == list(np.argsort(-row, kind="stable")[:3])


def test_logits_do_not_depend_on_the_chunks(llm: LLM) -> None:
    prompt = list(range(5, 105))
    long, short = llm.logits(prompt), llm.logits(prompt[:17])
    assert np.array_equal(long[:17], short)


def test_a_stop_string_ends_the_text_before_it(llm: LLM) -> None:
    (whole,) = llm.generate([[5, 6, 7]], GREEDY)
    middle = whole.text[3:5]
    (cut,) = llm.generate(
        [[5, 6, 7]],
        GREEDY,
        stop=(middle,),
    )
    assert cut.text == whole.text[: whole.text.index(middle)]
    assert cut.finish_reason == "stop"
    assert not llm.engine.has_work()


def test_a_stream_is_the_answer_in_pieces(llm: LLM) -> None:
    pieces = list(llm.stream([5, 6, 7], GREEDY))
    (answer,) = llm.generate([[5, 6, 7]], GREEDY)
    assert "".join(piece.text for piece in pieces) == answer.text
    assert pieces[-1].finish_reason == "length"


def test_a_stream_that_is_closed_frees_its_blocks(llm: LLM) -> None:
    stream = llm.stream([5] * 50, GREEDY)
    next(iter(stream))
    assert llm.engine.has_work()
    stream.close()
    stats = llm.engine.stats()
    assert not llm.engine.has_work()
    assert stats.free_blocks == stats.num_blocks


def test_chat_takes_dictionaries_and_messages(llm: LLM) -> None:
    as_dictionary = llm.chat([{"role": "user", "content": "Hello"}], GREEDY)
    assert as_dictionary == llm.chat([Message("user", "Hello")], GREEDY)
    with pytest.raises(Refused, match="messages"):
        llm.chat([])


def test_what_is_wrong_is_said_in_one_line(llm: LLM, tmp_path: Path) -> None:
    with pytest.raises(TooLong, match="context"):
        llm.generate([[5] * 5_000], GREEDY)
    with pytest.raises(Refused, match="temperature"):
        llm.generate([[5]], SamplingParams(temperature=float("nan")))
    with pytest.raises(Refused, match="token ids must be from 0 to"):
        llm.logits([10**6])
    with pytest.raises(ModelError, match="no such file"):
        LLM(str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=r"engine\.threadz"):
        LLM("smollm2-135m", threadz=1)
    with pytest.raises(SettingsError, match="a whole number, 0 to 1,024"):
        LLM("smollm2-135m", threads=-1)
    assert not llm.engine.has_work()


def test_settings_come_from_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", TinyModel(), StorageType.F16)
    (tmp_path / "cierzo.toml").write_text("[engine]\nmax_model_len = 64\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIERZO_MAX_MODEL_LEN", "64")
    with LLM(str(path), threads=1, kv_cache_memory_mb=72) as made:
        assert made.info.max_model_len == 1_024


def test_a_closed_one_says_so(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", TinyModel(), StorageType.F16)
    made = LLM(str(path), threads=1, kv_cache_memory_mb=72)
    made.close()
    made.close()
    with pytest.raises(EngineError, match="closed"):
        made.generate("Hello")


def test_a_damaged_file_is_an_engine_or_model_error(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "tiny.gguf", TinyModel(), StorageType.F16).read_bytes()
    half = tmp_path / "half.gguf"
    half.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"half\.gguf"):
        LLM(str(half))


def test_the_default_model_answers(default_model: Path) -> None:
    with LLM(str(default_model), max_model_len=512, kv_cache_memory_mb=72) as made:
        asked = "What is the capital of France? Answer in one sentence."
        answer = made.chat([{"role": "user", "content": asked}], GREEDY)
    assert "Paris" in answer.text


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import sys, cierzo; assert 'numpy' not in sys.modules; cierzo.LLM, cierzo.__version__"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_answer_can_be_held_to_a_grammar(llm: LLM) -> None:
    constraint = Constraint(grammar="start: /[a-f]{3}-[0-9]{4}/", stops=False)
    params = SamplingParams(max_tokens=40, seed=1, constraint=constraint)
    for answer in llm.generate(["One", "Two"], params, stop=("-",)):
        assert re.fullmatch(r"[a-f]{3}-[0-9]{4}", answer.text)
        assert answer.finish_reason == "stop"


PICK = {
    "type": "function",
    "function": {
        "name": "pick",
        "parameters": {
            "type": "object",
            "properties": {"colour": {"enum": ["red", "blue"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    },
}


def test_it_calls_tools_and_reads_what_came_of_them(llm: LLM) -> None:
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Pick one"}]}]
    params = SamplingParams(max_tokens=200, seed=1)
    answer = llm.chat(messages, params, tools=[PICK], tool_choice="required")
    assert answer.finish_reason == "tool_calls"
    for call in answer.tool_calls:
        assert call.name == "pick"
        assert json.loads(call.arguments)["colour"] in ("red", "blue")
    (first, *_) = answer.tool_calls
    called = {"id": first.id, "function": {"name": "pick", "arguments": first.arguments}}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": first.id, "content": "done"},
    ]
    assert llm.chat(messages, params, tools=[PICK]).text is not None
    with pytest.raises(Refused, match=r"tools\[0\]"):
        llm.chat(messages, params, tools=[{"type": "web_search"}])


def test_it_answers_with_a_value_of_a_schema(llm: LLM) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"n": {"type": "integer", "maximum": 9}},
    }
    schema |= {"required": ["n"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    params = SamplingParams(max_tokens=200, seed=1)
    answer = llm.chat([{"role": "user", "content": "A digit"}], params, response_format=form)
    assert json.loads(answer.text)["n"] <= 9


def test_what_is_not_held_to_is_a_warning(llm: LLM) -> None:
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"type": "string"}}}
    params = SamplingParams(max_tokens=5, seed=1)
    with pytest.warns(UserWarning, match="held to a JSON object only"):
        llm.chat([{"role": "user", "content": "x"}], params, tools=[odd])
