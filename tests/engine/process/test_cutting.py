"""A request that is dropped does not keep others waiting for the step that it is in."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from cierzo.engine.process.client import EngineClient
from cierzo.engine.sampling_params import SamplingParams
from tests.engine.models import Request, make_engine, random_prompt, run
from tests.engine.process.test_client import complete, launch, until

# The engine process, in which a step that reads a prompt of one token begins anew when it ends, and
# leaves a mark.
ENDLESS = 500
SCRIPT = """
from pathlib import Path
from cierzo.engine.process import main
from cierzo.model.runner import ModelRunner
compute = ModelRunner.run

def run(self, batch):
    endless = (batch.token_ids == {endless}).sum() > 4
    while endless:
        Path({mark!r}).touch()
        compute(self, batch)
    return compute(self, batch)

ModelRunner.run = run
main.main()
"""
PARAMS = SamplingParams(max_tokens=20, logprobs=1, seed=1)


def test_a_step_that_nobody_needs_is_cut_and_others_get_what_they_always_get(
    long_model: Path, tmp_path: Path
) -> None:
    prompts = {f"other {i}": random_prompt(i, 50 + 30 * i) for i in range(3)}
    engine = make_engine(long_model, num_blocks=2_048)
    expected = run(engine, {name: Request(prompt, PARAMS) for name, prompt in prompts.items()})

    async def main() -> None:
        mark = tmp_path / "mark"
        script = SCRIPT.format(endless=ENDLESS, mark=str(mark))
        command = (sys.executable, "-c", script)
        client = EngineClient(launch(long_model), command=command)
        await client.start()
        try:
            pid = client.info.pid
            for _ in range(3):
                before = client.stats.requests
                endless = asyncio.create_task(complete(client, [ENDLESS] * 5_000))
                await until(mark.exists)
                others = {
                    name: asyncio.create_task(complete(client, prompt, PARAMS))
                    for name, prompt in prompts.items()
                }
                await asyncio.sleep(0)
                endless.cancel()
                with suppress(asyncio.CancelledError):
                    await endless
                assert {name: await task for name, task in others.items()} == expected
                mark.unlink()
                assert client.stats.requests == before + 4
            assert client.stats.aborted == 3
            assert client.info.pid == pid
        finally:
            await client.stop(0)

    asyncio.run(main())
