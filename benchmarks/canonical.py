"""How much of an answer is not found again when it comes back in the next request's history.

    python -m benchmarks.canonical --model smollm2-135m --answers 48 --tokens 160

The history is written in canonical tokens. A sampled answer may be spelled in others, with the same
text; from the first such token on it must be computed again, once. Temperature 0 would show models
that are sure of themselves; 1 is the worst that is usual.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cierzo import LLM, SamplingParams
from cierzo.chat.messages import Message
from cierzo.chat.tools import Tool, ToolChoice
from cierzo.generate.ask import Conversation

QUESTIONS = (
    "Why is the sky blue?",
    "Write a function that reverses a list in Python, and explain it.",
    "Tell me about the winds of the Ebro valley.",
    "List five commands of git with an example each.",
    "Translate 'good morning' into French, German, Spanish and Japanese.",
    "Write a short story about a lighthouse.",
    "How do I read a JSON file in Python? Show code.",
    "What is 17 times 23? Think step by step.",
)
TASKS = (
    "Look at the file src/main.py.",
    "Find where the function parse_date is defined.",
    "Fix the typo in README.md, line 3.",
    "Run the tests.",
)
_TEXT = {"type": "string", "maxLength": 200}
TOOLS = (
    Tool("bash", "Runs a command.", {"type": "object", "properties": {"command": _TEXT}}),
    Tool(
        "edit",
        "Replaces lines of a file.",
        {
            "type": "object",
            "properties": {"path": _TEXT, "line": {"type": "integer", "minimum": 1}, "text": _TEXT},
            "required": ["path", "line", "text"],
            "additionalProperties": False,
        },
    ),
)


@dataclass
class Loss:
    """What was generated, and what of it is not in the next prompt at its place."""

    prompts: list[int] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)

    def add(self, prompt: Sequence[int], answer: Sequence[int], history: Sequence[int]) -> None:
        """`history` is the next prompt."""
        found = [*prompt, *answer]
        same = next(
            (i for i, (a, b) in enumerate(zip(found, history, strict=False)) if a != b),
            min(len(found), len(history)),
        )
        self.prompts.append(len(history))
        self.generated.append(len(answer))
        self.lost.append(len(found) - same)

    def row(self) -> str:
        """A row of the table."""
        answers = sum(lost > 0 for lost in self.lost)
        lost, generated = sum(self.lost), sum(self.generated)
        return (
            f"| {len(self.lost)} | {answers} ({answers / len(self.lost):.0%}) "
            f"| {generated} | {lost} ({lost / generated:.1%}) "
            f"| {statistics.median(self.lost):.0f} | {lost / sum(self.prompts):.1%} |"
        )


def measure(llm: LLM, temperature: float, answers: int, tokens: int, *, calls: bool) -> Loss:
    """Answers questions, or calls tools, and sends each answer back."""
    tasks = TASKS if calls else QUESTIONS
    loss = Loss()
    for number in range(answers):
        asked = Conversation(
            messages=[Message("user", tasks[number % len(tasks)])],
            tools=TOOLS if calls else (),
            choice=ToolChoice("required") if calls else None,
            parallel=False,
        )
        params = SamplingParams(max_tokens=tokens, temperature=temperature, seed=number)
        (answer,) = llm.generate([asked], params)
        ids = list(answer.token_ids)
        if ids and ids[-1] in llm.tokenizer.eos_token_ids:
            ids.pop()
        sent_back = Message("assistant", answer.text, tool_calls=answer.tool_calls)
        next_turn = replace(asked, messages=[*asked.messages, sent_back], continue_final=False)
        loss.add(list(answer.prompt_token_ids), ids, llm.render(next_turn))
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--answers", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=160, help="of each answer, at most")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    print(
        "| what | temperature | answers | with another spelling | tokens | of them lost "
        "| median | of the next prompt |\n|---|---|---|---|---|---|---|---|"
    )
    with LLM(args.model, threads=args.threads) as llm:
        for calls in (False, True):
            for temperature in (0.15, 0.7, 1.0):
                loss = measure(llm, temperature, args.answers, args.tokens, calls=calls)
                print(f"| {'calls' if calls else 'text'} | {temperature} {loss.row()}", flush=True)


if __name__ == "__main__":
    main()
