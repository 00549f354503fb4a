"""Requests that arrive at random, whether those before are answered or not."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cierzo.cli.bench.target import Answered, Target
from cierzo.cli.bench.words import words
from cierzo.engine.errors import EngineError


@dataclass(frozen=True)
class Load:
    """What is sent."""

    arrivals: Sequence[float]  # seconds after the beginning
    prompt_words: int
    max_tokens: int
    seed: str  # of the prompts

    def prompt(self, index: int) -> str:
        """Random from its first words on."""
        return " ".join(words(f"{self.seed} {index}", self.prompt_words))


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    answers: tuple[Answered, ...]
    failures: tuple[str, ...]
    wall_s: float  # from the beginning to the last answer


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of a Poisson process of `rate` a second up to `seconds`; one at least."""
    random_numbers = random.Random(f"{seed} {rate}")
    times = [0.0]  # the first is awaited by nobody
    while (after := times[-1] + random_numbers.expovariate(rate)) < seconds:
        times.append(after)
    return times


def send(target: Target, load: Load, progress: Callable[[str], None]) -> Outcome:
    """Sends all and waits for all, as long as the target lets an answer take."""
    done: queue.SimpleQueue[Answered | str] = queue.SimpleQueue()

    def ask(prompt: str) -> None:
        messages = [{"role": "user", "content": prompt}]
        try:
            done.put(target.ask(messages, max_tokens=load.max_tokens))
        except EngineError as error:
            done.put(str(error))
        except Exception as error:  # what a server sent broke the reading of it
            done.put(repr(error))

    def arrive() -> None:
        for index, at in enumerate(load.arrivals):
            prompt = load.prompt(index)
            time.sleep(max(0.0, began + at - time.perf_counter()))
            threading.Thread(target=ask, args=(prompt,), daemon=True).start()

    # Daemons: who breaks off does not wait for a server's answers.
    began = time.perf_counter()
    threading.Thread(target=arrive, daemon=True).start()
    answers: list[Answered] = []
    failures: list[str] = []
    for _ in load.arrivals:
        item = done.get()
        if isinstance(item, str):
            failures.append(item)
            progress("one failed")
        else:
            answers.append(item)
            progress(f"took {item.wall_s:.2f} s")
    return Outcome(tuple(answers), tuple(failures), time.perf_counter() - began)
