"""Requests made to stop everybody else: what bystander.py sends beside its own small ones.

Each is legal HTTP within the server's limits on size, and costs its sender next to nothing.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

MB = 1 << 20
LARGEST = 8 * MB  # a body
WORDS = (
    "the",
    "list",
    "of",
    "a",
    "file",
    "that",
    "was",
    "read",
    "by",
    "this",
    "test",
    "and",
    "then",
)

# What a client does: sends and reads; sends and never reads; only connects; or sends again and
# again as long as the others of its attack are at work.
Manner = Literal["asks", "never reads", "connects", "repeats"]


@dataclass(frozen=True)
class Client:
    """One connection."""

    body: bytes = b""
    manner: Manner = "asks"
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attack:
    """Clients that begin at the same moment. Making them may take a while and is not measured."""

    name: str
    clients: Callable[[], Sequence[Client]]


def chat(content: str, **fields: Any) -> bytes:
    """The body of a request with one message."""
    fields = {"max_tokens": 1, "temperature": 0} | fields
    return json.dumps({"messages": [{"role": "user", "content": content}], **fields}).encode()


def words(count: int, salt: int = 0) -> str:
    """Text of about so many tokens; another salt makes another text from the first word on."""
    return f"{salt} " + " ".join(WORDS[(i * i + salt) % len(WORDS)] for i in range(count - 1))


def _prompts(count: int, tokens: int) -> Callable[[], list[Client]]:
    return lambda: [Client(chat(words(tokens, salt))) for salt in range(count)]


def _same(count: int, make: Callable[[], bytes]) -> Callable[[], list[Client]]:
    return lambda: [Client(make())] * count


def _long_answers() -> list[Client]:
    """As many as a step has places for."""
    never = {"0": -100, "2": -100}  # SmolLM2's ends
    return [Client(chat(words(20, i), max_tokens=4_000, logit_bias=never)) for i in range(64)]


def _small_beside_large() -> list[Client]:
    small = [Client(chat(words(40, salt), max_tokens=4), "repeats") for salt in range(8)]
    return [Client(chat(words(4_500))), *small]


def _crowd() -> list[Client]:
    return [Client(chat(words(10, salt)), "repeats") for salt in range(64)]


def _cut_string() -> bytes:
    """A request that a proxy cut in the middle of a tool's result, itself JSON."""
    row = json.dumps({"path": "src/a.py", "line": 7, "text": 'print("hello")'})
    return chat(json.dumps([row] * 2_000))[:157_000]


def _filled(piece: str) -> Callable[[], bytes]:
    """As large as a body may be, of one piece, as a list in the place of the messages."""
    return lambda: (b'{"messages": [' + piece.encode() * (LARGEST // len(piece)))[: LARGEST - 64]


def _million_keys() -> bytes:
    keys = ",".join(f'"{i}": 0' for i in range(600_000))
    return chat("Hello", logit_bias={})[:-2] + keys.encode() + b"}}"


def _digits() -> bytes:
    return chat("Hello", seed=0)[:-2] + b"9" * (LARGEST - 1_024) + b"}"


def _same_names() -> bytes:
    return b'{"n":1' + b',"n":1' * (LARGEST // 6 - 64) + b',"messages":[]}'


def _arguments() -> bytes:
    call = {"function": {"name": "f", "arguments": '[{"a":[]}' + ',{"a":[]}' * 50_000 + "]"}}
    messages = [{"role": "assistant", "tool_calls": [call]}] * 12
    return json.dumps({"messages": messages}).encode()


def _many_messages() -> bytes:
    turns = [{"role": ("user", "assistant")[i % 2], "content": "ok"} for i in range(4_095)]
    return json.dumps({"messages": turns, "max_tokens": 1}).encode()


def _many_tools() -> bytes:
    """128 tools, together just within the bound on schemas."""

    def tool(index: int) -> dict[str, Any]:
        properties = {
            f"field_{index}_{i}": {"type": ["string", "null"], "pattern": f"^[a-z]{{{i + 1}}}$"}
            for i in range(90)
        }
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        return {"type": "function", "function": {"name": f"tool_{index}", "parameters": schema}}

    return chat("Call one.", tools=[tool(i) for i in range(128)], tool_choice="required")


def _stop_strings() -> bytes:
    stop = ["a" * 255 + letter for letter in "bcde"]
    return chat("Write aaaaaaaa without end.", stop=stop, max_tokens=1_000, stream=True)


def held_to(schema: Any, **fields: Any) -> bytes:
    """A request whose answer must follow the schema."""
    shape = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, "strict": True}}
    return chat("Fill in the form.", **{"response_format": shape, "max_tokens": 2_000} | fields)


def _patterns() -> list[Client]:
    """Patterns that a backtracking matcher never finishes, some left to the final check."""
    hard = [r"^(a+)+$", r"^(a|a)*$", r"^(.*,){12}P$", r"^([a-z]+[0-9]?)*!$", r"^(?=(a+)+$)a{40}b?$"]
    schemas = [
        {"type": "string", "minLength": 60, "maxLength": 90, "pattern": p, "not": {"pattern": q}}
        for p in ("^a+$", "^[a-z,]+$")
        for q in hard
    ]
    return [Client(held_to(schema, max_tokens=200)) for schema in schemas]


def _enumeration() -> bytes:
    """Of each item's choices the last alone is short, so the check tries all the others first."""
    choices = {"enum": [f"value {i:04d}" for i in range(9_990)]}
    item = {"anyOf": [{"$ref": "#/$defs/choices"}] * 100 + [{"const": 7}], "not": {"const": 8}}
    array = {"type": "array", "minItems": 60, "maxItems": 60, "items": item}
    return held_to({"$defs": {"choices": choices}, **array})


def _small_schemas() -> list[Client]:
    """60 kB each, and all that can be compared with each other in them."""
    names, numbers = [f"{'a' * 20}{i}" for i in range(500)], range(2_000)
    return [
        Client(held_to(schema))
        for schema in (
            {"oneOf": [{"type": "string", "maxLength": i} for i in numbers]},
            {"oneOf": [{"const": i} for i in numbers]},
            {"anyOf": [{"const": f"value {i}"} for i in numbers]},
            {"allOf": [{"properties": {"p": {"minLength": i}}} for i in numbers[:1_000]]},
            {"type": "object", "required": [f"p{i}" for i in numbers]},
            {
                "properties": {name: {} for name in names},
                "patternProperties": {f"^(a|a)*b{i}$": {"minLength": i} for i in range(500)},
            },
        )
        for _ in range(2)
    ]


def _forced() -> bytes:
    """A grammar after whose first letter 15 MB are certain."""
    return held_to({"type": "array", "items": {"const": "xyz " * 2_500}, "minItems": 1_500})


def _unions() -> list[Client]:
    """Definitions that double with each other: as unions, as properties, and under `not`."""

    def bomb(level: Callable[[dict[str, str], dict[str, str]], Any]) -> bytes:
        definitions = {
            f"d{i}": level({"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"})
            for i in range(40)
        }
        definitions["d40"] = {"type": "string", "maxLength": 3}
        return held_to({"$defs": definitions, "$ref": "#/$defs/d0"})

    return [
        Client(bomb(lambda a, b: {"anyOf": [a, b]})),
        Client(bomb(lambda a, b: {"allOf": [a, b]})),
        Client(bomb(lambda a, b: {"oneOf": [a, {"not": b}]})),
        Client(
            bomb(
                lambda a, b: {
                    "type": "object",
                    "properties": {"a": a, "b": b},
                    "required": ["a", "b"],
                    "additionalProperties": False,
                }
            )
        ),
    ]


def _gzip_bomb() -> list[Client]:
    """A gigabyte in a megabyte, in members that each inflate to sixteen."""
    member = gzip.compress(bytes(16 * MB))
    return [Client(member * 64, headers={"Content-Encoding": "gzip"})] * 2


def _slow_readers() -> list[Client]:
    fields = {"stream": True, "max_tokens": 4_000, "logprobs": True, "top_logprobs": 20}
    return [Client(chat(words(20, i), **fields), "never reads") for i in range(16)]


def _prompt_list() -> list[Client]:
    body = {"prompt": [words(200, i) for i in range(256)], "max_tokens": 1}
    return [Client(json.dumps(body).encode(), path="/v1/completions")]


FAMILY = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}\u200d\N{BOY}"

ATTACKS = (
    Attack("nothing else", list),
    Attack("one prompt of 4,500 tokens", _prompts(1, 4_500)),
    Attack("four prompts of 4,500 tokens", _prompts(4, 4_500)),
    Attack("one prompt of 4,500 tokens and a stream of small ones", _small_beside_large),
    Attack("64 clients that ask small things again and again", _crowd),
    Attack("64 prompts of 400 tokens", _prompts(64, 400)),
    Attack("256 prompts of 400 tokens at once", _prompts(256, 400)),
    Attack("64 answers of 4,000 tokens", _long_answers),
    Attack("256 prompts of 200 tokens in one request", _prompt_list),
    Attack("157 kB cut inside a string with escaped quotes", _same(2, _cut_string)),
    Attack("8 MB of [],[],", _same(2, _filled("[],"))),
    Attack("8 MB of [[[[", _same(2, _filled("["))),
    Attack('8 MB of {"a":{"a":', _same(2, _filled('{"a":'))),
    Attack('8 MB of "[\\"[", in strings', _same(2, _filled('"[\\"[",'))),
    Attack("600,000 keys in logit_bias", _same(2, _million_keys)),
    Attack("8 MB of one name again and again", _same(2, _same_names)),
    Attack("twelve calls, 450 kB of arguments each", _same(2, _arguments)),
    Attack("a number of 8 million digits", _same(2, _digits)),
    Attack("gzip, 1 MB that inflates to 1 GB", _gzip_bomb),
    Attack("a word of 300,000 letters", _same(4, lambda: chat("a" * 300_000))),
    Attack("300,000 spaces", _same(4, lambda: chat(" " * 300_000))),
    Attack("75,000 joined emoji", _same(4, lambda: chat(FAMILY * 75_000))),
    Attack("4,095 messages", _same(4, _many_messages)),
    Attack("128 tools with large schemas", _same(4, _many_tools)),
    Attack("stop strings that almost match", _same(8, _stop_strings)),
    Attack("patterns that backtrack", _patterns),
    Attack("60 items, each of 100 enums of 9,990 values", _same(2, _enumeration)),
    Attack("an array of 1,500 constants of 10 kB", _same(2, _forced)),
    Attack("twelve schemas of 60 kB", _small_schemas),
    Attack("references that double 40 times", _unions),
    Attack("n of 8 under a schema", _same(4, lambda: held_to({"type": "object"}, n=8))),
    Attack("16 streams that nobody reads", _slow_readers),
    Attack("2,000 idle connections", lambda: [Client(manner="connects")] * 2_000),
)
