"""What it costs to find out why a prompt was missed in the cache, beside preparing the prompt.

    python -m benchmarks.missed --model smollm2-135m --calls 130

All of it happens in a thread, once the first token is out. Preparing the prompt, which is timed
too, tells how busy the machine is.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cierzo.chat.messages import Message, ToolCall
from cierzo.chat.tools import Tool
from cierzo.generate.ask import Ask, Conversation
from cierzo.generate.model import Model, read_language
from cierzo.generate.prepare import prepare
from cierzo.generate.reuse.diagnosis import Diagnosis
from cierzo.generate.reuse.recent import RecentRequests
from cierzo.generate.reuse.watch import Watch, Watched
from cierzo.model.fetch.registry import resolve
from cierzo.model.readers.checkpoint import open_checkpoint

WORDS = ("parser", "file", "test", "return", "value", "index", "change", "where", "find", "lines")
ROUNDS = 15
_CONTEXT = 1_000_000


@dataclass
class Times:
    """In milliseconds, of each round."""

    prepare: list[float]
    look: list[float]
    end: list[float]

    def line(self, name: str, tokens: int, diagnosis: Diagnosis) -> str:
        """Medians, and what was found."""
        shown = ", ".join(f"{statistics.median(times):.2f}" for times in (self.look, self.end))
        causes = ", ".join(miss.cause for miss in diagnosis.misses) or "a hit"
        prepared = statistics.median(self.prepare)
        return f"{name}: {tokens:,} tokens, prepared in {prepared:.0f} ms; {shown} ms: {causes}"


def measure(model: Model, name: str, turns: Callable[[int], Conversation]) -> str:
    """One request after the other, each compared with the one before it."""
    recent, times = RecentRequests(), Times([], [], [])
    for turn in range(ROUNDS):
        conversation = turns(turn)
        began = time.perf_counter()
        (job,) = prepare(Ask(prompt=conversation), model, str(turn))
        prepared = time.perf_counter()
        watched = Watched(id=str(turn), prompt=conversation, tokens=job.prompt)
        watch = Watch(watched, recent, model.language.vocabulary.tokens)
        watch.look()
        looked = time.perf_counter()
        diagnosis = watch.diagnose(len(job.prompt) if name == "goes on" else 0)
        watch.keep()
        if turn:
            times.prepare.append(1e3 * (prepared - began))
            times.look.append(1e3 * (looked - prepared))
            times.end.append(1e3 * (time.perf_counter() - looked))
    return times.line(name, len(job.prompt), diagnosis)


def history(calls: int) -> tuple[list[Message], Sequence[Tool]]:
    """A session of an agent with so many calls and their results."""
    chance = random.Random(0)

    def text(words: int) -> str:
        return " ".join(f"{chance.choice(WORDS)}{chance.randrange(99)}" for _ in range(words))

    messages = [Message("system", text(3_000)), Message("user", text(50))]
    for at in range(calls):
        call = ToolCall("read", f'{{"pattern": "{text(8)}", "path": "src"}}', id=f"call{at}")
        messages.append(Message("assistant", text(10), tool_calls=(call,)))
        messages.append(Message("tool", text(160), tool_call_id=f"call{at}"))
    described = {"type": "string", "description": text(10)}
    schema = {"type": "object", "properties": {f"p{at}": described for at in range(6)}}
    return messages, [Tool(f"tool{at}", text(60), schema) for at in range(20)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--calls", type=int, default=130)
    arguments = parser.parse_args()
    language = read_language(open_checkpoint(resolve(arguments.model).path).tokenizer)
    model = Model(language, _CONTEXT, len(language.vocabulary.tokens))
    messages, tools = history(arguments.calls)

    def goes_on(turn: int) -> Conversation:
        more = [Message("user" if at % 2 else "assistant", "And?") for at in range(2 * turn)]
        return Conversation(messages=[*messages, *more], tools=tools)

    def changes(turn: int) -> Conversation:
        system = Message("system", f"It is 10:{turn:02}. {messages[0].content}")
        return Conversation(messages=[system, *messages[1:]], tools=tools)

    print("milliseconds to look, and at the end of the answer (medians)")
    for name, turns in (("goes on", goes_on), ("changes in front", changes)):
        print(measure(model, name, turns))


if __name__ == "__main__":
    main()
