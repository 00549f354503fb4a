"""Files of nonsense in the place of a model's: one line that names the file, or a model; no more.

Each case opens all that a server reads before it listens, in a process of its own with a bound on
memory: a panic in a library, or a number that is taken for a size, would end these tests otherwise.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cierzo.chat.messages import ChatError, Message
from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import token_bytes_of
from cierzo.model.errors import ModelError
from cierzo.model.readers.checkpoint import open_checkpoint
from tests.support.checkpoints import write_hf, write_mistral

MEMORY = (
    4 << 30
)  # more than this process may have when it starts; a size of 2^31 entries has no room
CASES = 60  # of each layout in one run; another run has others

NONSENSE: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 2**70, 1e308, -0.5, float("nan"), float("inf"), "", "x",
    "\ud800", "x" * 5_000, [], [[]], {}, {"a": 1}, [None], [1, 2, 3], ["a", "b"],
    list(range(1_000)),
]  # fmt: skip
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "hf": write_hf,
    "sharded": lambda folder: write_hf(folder, shards=2, rope_parameters=True),
    "mistral": write_mistral,
    "mistral3": lambda folder: write_hf(folder, tokenizer="tekken", layout="mistral3"),
}


def use(path: Path) -> None:
    """All that a server does with the files before anybody can ask it something."""
    source = open_checkpoint(path).tokenizer
    tokenizer = load_tokenizer(source)
    token_bytes_of(tokenizer)
    tokenizer.decode(tokenizer.encode("Hello there, \u00e9", add_bos=True))
    with contextlib.suppress(ChatError):
        load_chat_template(source, tokenizer).render([Message("user", "Hello")])


def outcome(path: Path) -> str:
    """What using it gives in a process of its own: "" for a model, an error, or how it died."""
    receiver, sender = os.pipe()
    # A copy of this process, which has imported everything.
    process = multiprocessing.get_context("fork").Process(target=_report, args=(path, sender))
    process.start()
    os.close(sender)
    with open(receiver, "rb") as stream:
        said = stream.read().decode()
    process.join()
    code = process.exitcode
    process.close()
    return said if code == 0 else f"died of {code}"


def _report(path: Path, sender: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))  # seconds; the slowest takes one
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a panic says where it was
    try:
        use(path)
        said = ""
    except ModelError as error:
        said = str(error)
    except BaseException as error:
        said = f"not a ModelError but {type(error).__name__}: {error}"
    os.write(sender, said.encode("utf-8", "replace")[:4_000])


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something else could stand, all of it and each part; of long lists only the ends."""
    yield at
    if isinstance(value, dict):
        for i, (key, part) in enumerate(value.items()):
            if i < 40 or i > len(value) - 3:
                yield from places(part, (*at, key))
    elif isinstance(value, list):
        for i in {0, 1, len(value) - 1} if len(value) > 3 else range(len(value)):
            yield from places(value[i], (*at, i))


def replaced(value: Any, at: tuple[Any, ...], other: Any) -> Any:
    """A copy of a JSON value with another part in one place."""
    if not at:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = replaced(value[at[0]], at[1:], other)
    return copy


def check(path: Path, case: object) -> None:
    """Asserts that there is a model, or an error as it should be."""
    said = outcome(path)
    if said:
        assert said.startswith(f"{path}"), (case, said)
        assert "\n" not in said, (case, said)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whatever_stands_in_a_file_there_is_one_line_or_a_model(
    tmp_path: Path, layout: str
) -> None:
    path = LAYOUTS[layout](tmp_path / "model")
    assert outcome(path) == ""
    chance = random.Random()
    files = sorted(path.glob("*.json"))
    values = {file: json.loads(file.read_text()) for file in files}
    spots = {file: list(places(value)) for file, value in values.items()}
    for _ in range(CASES):
        file = chance.choice(files)
        at, other = chance.choice(spots[file]), chance.choice(NONSENSE)
        file.write_text(json.dumps(replaced(values[file], at, other)))
        check(path, (file.name, at, other))
        file.write_text(json.dumps(values[file]))


FILES = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
CONTENTS = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "another object": b"{}",
    "not UTF-8": b'{"\xff": 1}',
    "zeros": bytes(10_000),
    "depth": b'{"a":' * 100_000,
    "UTF-16": '{"a": 1}'.encode("utf-16"),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_of_something_else(tmp_path: Path, content: str) -> None:
    for layout, names in (("hf", FILES), ("mistral", ["params.json", "tekken.json"])):
        for name in names:
            path = LAYOUTS[layout](tmp_path / f"{layout} {name}")
            (path / name).write_bytes(CONTENTS[content])
            check(path, name)


@pytest.mark.parametrize(
    ("file", "at", "value"),
    [
        ("config.json", ("architectures", 0), {"a": 1}),
        ("tokenizer.json", ("model", "vocab", "%"), 2**31),
        ("tokenizer.json", ("model", "continuing_subword_prefix"), "x"),
        ("tokenizer.json", ("added_tokens", 0, "id"), 2**31),
        ("tekken.json", ("config",), []),
        ("tekken.json", ("config", "pattern"), ""),
        ("tekken.json", ("config", "pattern"), "x*"),
        ("tekken.json", ("config", "default_num_special_tokens"), 2**63),
        ("tekken.json", ("vocab", 0), []),
        ("tekken.json", ("special_tokens",), {}),
        ("tekken.json", ("special_tokens", 1, "token_str"), "<x>"),
        ("tekken.json", ("special_tokens", 2, "token_str"), "\ud800"),
    ],
)
def test_what_libraries_trust(tmp_path: Path, file: str, at: tuple[Any, ...], value: Any) -> None:
    """Each ended the process, took all memory, or raised something without the file's name."""
    path = LAYOUTS["mistral" if file == "tekken.json" else "hf"](tmp_path)
    whole = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps(replaced(whole, at, value)))
    said = outcome(path)
    assert said.startswith(f"{path / file}: ")
    assert "\n" not in said


def test_a_file_that_has_no_end_is_not_read_to_it(tmp_path: Path) -> None:
    path = write_hf(tmp_path)
    for name in FILES:
        whole = (path / name).rename(path / "kept")
        with (path / name).open("wb") as file:
            file.truncate(1 << 40)  # a hole: takes no room on the disk
        said = outcome(path)
        assert said.startswith(f"{path / name}: more than"), said
        whole.rename(path / name)
