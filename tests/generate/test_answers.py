"""Answers as deltas, alike with asyncio and without; what they took, however they ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cierzo import LLM, SamplingParams
from cierzo.chat.messages import Message
from cierzo.engine.messages import EngineLaunch
from cierzo.engine.process.client import EngineClient
from cierzo.generate.answers import answers
from cierzo.generate.ask import Ask, Conversation
from cierzo.generate.delta import Delta
from cierzo.generate.job import Job
from cierzo.generate.model import Model, read_language
from cierzo.generate.prepare import prepare
from cierzo.generate.receipt import Receipt
from cierzo.generate.refused import Reason, Refused
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.settings import EngineSettings
from tests.support.checkpoints import TinyModel, write_gguf

HELLO = Conversation(messages=[Message("user", "Hello there")])
SETTINGS: dict[str, Any] = {"threads": 1, "kv_cache_memory_mb": 72, "kv_cache_disk_gb": 0.0}
ENDLESS = SamplingParams(temperature=0.0, ignore_eos=True)
Script = Callable[[EngineClient, Model], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    return write_gguf(folder / "tiny.gguf", TinyModel(max_position_embeddings=65_536))


@pytest.fixture(scope="module")
def llm(path: Path) -> Iterator[LLM]:
    with LLM(str(path), **SETTINGS) as opened:
        yield opened


@asynccontextmanager
async def started(path: Path, **settings: Any) -> AsyncIterator[tuple[EngineClient, Model]]:
    launch = EngineLaunch(path=str(path), settings=EngineSettings(**{**SETTINGS, **settings}))
    client = EngineClient(launch)
    await client.start()
    try:
        language = read_language(open_checkpoint(path).tokenizer)
        yield client, Model(language, client.info.max_model_len, client.info.vocab_size)
    finally:
        await client.stop(0)


def run(path: Path, script: Script, **settings: Any) -> None:
    async def main() -> None:
        async with started(path, **settings) as (client, model):
            await script(client, model)

    asyncio.run(main())


async def collected(
    client: EngineClient, model: Model, jobs: Sequence[Job], receipt: Receipt
) -> list[list[Delta]]:
    deltas: list[list[Delta]] = [[] for _ in jobs]
    found = answers(client, jobs, model.language.tokenizer, receipt, at_once=4)
    async with aclosing(found):
        async for index, delta in found:
            deltas[index].append(delta)
    return deltas


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def test_both_ways_give_the_same_answers(path: Path, llm: LLM) -> None:
    sampling = SamplingParams(seed=5, temperature=0.8)
    ask = Ask(prompt=HELLO, sampling=sampling, max_tokens=20, choices=3)

    async def script(client: EngineClient, model: Model) -> None:
        jobs = prepare(ask, model, "r")
        receipt = Receipt()
        found = await collected(client, model, jobs, receipt)
        assert len({text_of(deltas) for deltas in found}) == 3
        same = llm.generate([HELLO], SamplingParams(seed=5, temperature=0.8, max_tokens=20))[0]
        assert text_of(found[0]) == same.text
        assert receipt.prompt_tokens == len(same.prompt_token_ids)  # once for all choices
        assert receipt.completion_tokens == sum(len(d.token_ids) for ds in found for d in ds)
        assert sorted(receipt.outcomes) == sorted(ds[-1].finish_reason or "" for ds in found)

    run(path, script)


def test_an_answer_that_is_left_is_charged_what_it_took(path: Path) -> None:
    async def script(client: EngineClient, model: Model) -> None:
        jobs = prepare(Ask(prompt=HELLO, sampling=ENDLESS), model, "r")
        receipt = Receipt()
        found = answers(client, jobs, model.language.tokenizer, receipt, at_once=1)
        async with aclosing(found):
            async for _ in found:
                break
        assert receipt.prompt_tokens == len(jobs[0].prompt)
        assert receipt.completion_tokens >= 1
        assert receipt.outcomes == ["cancelled"]
        assert receipt.first_token_seconds is not None

    run(path, script)


def test_an_answer_that_is_refused_costs_nothing(path: Path) -> None:
    async def script(client: EngineClient, model: Model) -> None:
        ask = Ask(prompt=HELLO, sampling=ENDLESS)
        running = [
            asyncio.create_task(collected(client, model, prepare(ask, model, f"r{i}"), Receipt()))
            for i in range(2)
        ]
        await asyncio.sleep(0)
        while client.stats.running + client.stats.waiting < 2:
            await asyncio.sleep(0.01)
        receipt = Receipt()
        with pytest.raises(Refused) as caught:
            await collected(client, model, prepare(ask, model, "late"), receipt)
        assert caught.value.reason is Reason.BUSY
        assert caught.value.retry_after
        assert receipt == Receipt(outcomes=["refused"])
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    run(path, script, max_batch_sequences=1, max_queue=1)


def test_a_stop_string_is_named(path: Path, llm: LLM) -> None:
    (whole,) = llm.generate([[5, 6, 7]], SamplingParams(max_tokens=12, temperature=0.0))
    string = whole.text[3:5]
    deltas = list(
        llm.stream([5, 6, 7], SamplingParams(max_tokens=12, temperature=0.0), stop=[string])
    )
    assert deltas[-1].stop_string == string
    assert deltas[-1].finish_reason == "stop"
    assert text_of(deltas) == whole.text[: whole.text.index(string)]
