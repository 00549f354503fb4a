"""`cierzo chat`, with its own engine and with a server's, in a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import Live, start
from tests.cli.run import cierzo
from tests.cli.terminal import CTRL_D, terminal

SMALL: dict[str, Any] = {"engine__max_model_len": 2048}  # what the tests' server has memory for


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Live]:
    with start(model) as live:
        yield live


def test_a_server_and_an_engine_of_its_own_give_the_same_answers(
    model: Path, server: Live, tmp_path: Path
) -> None:
    # The server advises a temperature of its own.
    options = ["--max-tokens", "12", "--seed", "7", "--temperature", "1", "--threads", "1"]
    lines = "Hello\nAnd again?\n/reset\nHello\n"
    own = cierzo("chat", str(model), *options, cwd=tmp_path, stdin=lines)
    served = cierzo("chat", "--url", server.url, *options, cwd=tmp_path, stdin=lines)
    assert own.returncode == served.returncode == 0, own.stderr + served.stderr
    assert own.stdout == served.stdout
    assert len(own.stdout) > 12


def test_a_conversation_is_remembered_until_reset(model: Path, tmp_path: Path) -> None:
    options = ["--max-tokens", "8", "--temperature", "0"]

    def answers(lines: str) -> str:
        return cierzo("chat", str(model), *options, cwd=tmp_path, stdin=lines).stdout

    first = answers("One\n")
    both = answers("One\nTwo\n")
    fresh = answers("Two\n")
    assert both.startswith(first)
    assert both != first + fresh
    assert answers("One\n/reset\nTwo\n") == first + fresh


def test_the_system_message_is_said_first(model: Path, tmp_path: Path) -> None:
    options = ["--max-tokens", "8", "--temperature", "0"]
    plain = cierzo("chat", str(model), *options, cwd=tmp_path, stdin="One\n")
    with_system = cierzo(
        "chat", str(model), *options, "--system", "Be brief.", cwd=tmp_path, stdin="One\n"
    )
    assert plain.stdout != with_system.stdout


def test_commands_and_mistyped_ones(model: Path, tmp_path: Path) -> None:
    done = cierzo("chat", str(model), cwd=tmp_path, stdin="/help\n/halp\n\n/exit\nnever read\n")
    assert done.returncode == 0
    assert done.stdout == ""
    assert "/reset   forget the conversation" in done.stderr
    assert "/halp is no command" in done.stderr


def test_a_conversation_beyond_the_context_can_be_reset(model: Path, tmp_path: Path) -> None:
    long = "word " * 200
    done = cierzo(
        "chat",
        *[str(model), "--max-model-len", "128", "--max-tokens", "4"],
        cwd=tmp_path,
        stdin=f"{long}\nHi\n",
    )
    assert done.returncode == 0
    assert "the context is 128 tokens" in done.stderr
    assert "or /reset" in done.stderr
    assert len(done.stdout.splitlines()) >= 2


@pytest.mark.parametrize("served", [False, True], ids=["own engine", "server"])
def test_ctrl_c_stops_the_answer_and_not_the_program(
    default_model: Path, tmp_path: Path, served: bool
) -> None:
    with ExitStack() as stack:
        where = [str(default_model)]
        if served:
            where = ["--url", stack.enter_context(start(default_model, **SMALL)).url]
        person = stack.enter_context(terminal("chat", *where, "--temperature", "0", cwd=tmp_path))
        person.wait_for("> ")
        person.press_ctrl_c_until("/exit or Ctrl-D leaves.")
        # The model goes on with this list until it is stopped.
        person.type("List all the countries of the world, one a line.\r")
        person.wait_for_more(100)
        assert "\n> " not in person.seen[-20:]
        person.press_ctrl_c()
        person.wait_for("> ")
        person.type("/reset\r")
        person.wait_for("The conversation is forgotten.")
        person.wait_for("> ")
        person.type(CTRL_D)
        assert person.process.wait(240) == 0


def test_a_server_that_refuses_is_quoted(server: Live, tmp_path: Path) -> None:
    done = cierzo("chat", "nonesuch", "--url", server.url, cwd=tmp_path, stdin="Hello\n")
    assert "nonesuch" in done.stderr
    assert done.stdout == "\n"
