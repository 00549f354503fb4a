"""Constraints through the engine process: compiled beside the loop, known again after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer, token_bytes_of
from cierzo.engine.errors import EngineError
from cierzo.engine.process.client import EngineClient
from cierzo.engine.sampling_params import SamplingParams
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import GrammarError
from cierzo.model.readers.checkpoint import open_checkpoint
from tests.engine.models import Answer, random_prompt
from tests.engine.process.test_client import begun, complete, started, until

DIGITS = Constraint(grammar="start: /[0-9]{5}/")
BROKEN = Constraint(grammar="start: nowhere")
# Takes a good while to compile: all subsets of thirty words, in order.
SLOW = Constraint(
    grammar="start: " + " ".join(f'(/[a-z]{{1,{i + 20}}}x/ | "w{i}")?' for i in range(60)) + "\n"
)


@pytest.fixture(scope="module")
def tokenizer(long_model: Path) -> Tokenizer:
    return load_tokenizer(open_checkpoint(long_model).tokenizer)


def held_to(constraint: Constraint, seed: int = 1) -> SamplingParams:
    return SamplingParams(max_tokens=50, seed=seed, constraint=constraint)


def is_digits(tokenizer: Tokenizer, answer: Answer) -> bool:
    return tokenizer.decode(answer.token_ids).isdigit() and answer.finish_reason == "stop"


def test_a_constraint_is_checked_before_it_is_used(
    long_model: Path,
    tokenizer: Tokenizer,
) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            client.set_vocabulary(token_bytes_of(tokenizer))
            await client.check_constraint(DIGITS)
            with pytest.raises(GrammarError, match="nowhere"):
                await client.check_constraint(BROKEN)
            assert is_digits(tokenizer, await complete(client, [5, 6], held_to(DIGITS)))
            with pytest.raises(EngineError, match="nowhere"):
                await complete(client, [5, 6], held_to(BROKEN))
            assert is_digits(tokenizer, await complete(client, [5, 6], held_to(DIGITS)))

    asyncio.run(main())


def test_without_a_vocabulary_a_constraint_is_an_error(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            with pytest.raises(EngineError, match="vocabulary"):
                await client.check_constraint(DIGITS)

    asyncio.run(main())


def test_an_engine_that_is_replaced_knows_the_vocabulary(
    long_model: Path,
    tokenizer: Tokenizer,
) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            client.set_vocabulary(token_bytes_of(tokenizer))
            before = await complete(client, [5, 6], held_to(DIGITS))
            os.kill(client.info.pid, signal.SIGSTOP)  # or it might answer first
            asking = asyncio.create_task(client.check_constraint(SLOW))
            await asyncio.sleep(0)
            os.kill(client.info.pid, signal.SIGKILL)
            with pytest.raises(EngineError):
                await asking
            await until(lambda: client.restarts == 1)
            after = await complete(client, [5, 6], held_to(DIGITS))
            assert after.token_ids == before.token_ids

    asyncio.run(main())


def test_a_request_that_leaves_while_it_is_compiled_leaves_nothing(
    long_model: Path,
    tokenizer: Tokenizer,
) -> None:
    async def leave(client: EngineClient) -> None:
        async with aclosing(client.generate([5], held_to(SLOW))) as outputs:
            waiting = asyncio.ensure_future(anext(outputs))
            await asyncio.sleep(0.005)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def main() -> None:
        async with started(long_model) as client:
            client.set_vocabulary(token_bytes_of(tokenizer))
            await leave(client)
            answer = await complete(client, [5, 6], held_to(DIGITS))  # compiled after the other
            assert is_digits(tokenizer, answer)
            assert client.stats.running == client.stats.waiting == 0
            assert client.stats.free_blocks == client.stats.num_blocks
            assert client.stats.requests == client.stats.finished + client.stats.aborted

    asyncio.run(main())


def test_others_get_tokens_while_a_grammar_is_compiled(
    long_model: Path,
    tokenizer: Tokenizer,
) -> None:
    """Counted in steps of the engine, since a test asserts no times."""

    async def main() -> None:
        async with started(long_model) as client:
            client.set_vocabulary(token_bytes_of(tokenizer))
            await client.check_constraint(DIGITS)  # the vocabulary is in place
            other = await begun(client, random_prompt(0, 20))
            hostile = json.dumps({"enum": [f"{i:05}" * 4 for i in range(20_000)]})
            grammar = f"start: value\nvalue: %json {hostile}\n"
            before = client.stats.steps
            with contextlib.suppress(GrammarError):
                await client.check_constraint(Constraint(grammar=grammar))
            await until(lambda: client.stats.steps > before)
            assert client.stats.steps - before > 5
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)

    asyncio.run(main())


def test_a_small_grammar_does_not_wait_for_large_ones(
    long_model: Path, tokenizer: Tokenizer
) -> None:
    """Though it is asked for after all of them."""
    names = [f"name {i:05}" for i in range(40)]
    nested = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    large = {"anyOf": [{"properties": {f"{i} {name}": nested for name in names}} for i in range(9)]}
    slow = Constraint(grammar=f"start: value\nvalue: %json {json.dumps(large)}\n")

    async def main() -> None:
        async with started(long_model) as client:
            client.set_vocabulary(token_bytes_of(tokenizer))
            done: list[str] = []

            async def ask(name: str, constraint: Constraint) -> None:
                with contextlib.suppress(GrammarError):
                    await client.check_constraint(constraint)
                done.append(name)

            asking = [asyncio.create_task(ask("large", slow)) for _ in range(4)]
            await asyncio.sleep(0)  # all of them were sent
            await asyncio.gather(ask("small", DIGITS), *asking)
            assert done[-1] == "large"

    asyncio.run(main())
