"""`cierzo chat`: a conversation in the terminal, with a server or with an engine of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from cierzo.chat.messages import Message
from cierzo.cli.options import model_argument, takes_settings
from cierzo.cli.output import download_progress, error, note
from cierzo.engine.errors import EngineError
from cierzo.generate.refused import Refused, TooLong
from cierzo.settings import Settings

if TYPE_CHECKING:
    from cierzo.llm import LLM

HELP = """\
/reset   forget the conversation
/exit    leave (so does Ctrl-D)
/help    this text
Ctrl-C   stop the answer"""


class Partner(Protocol):
    """Who answers."""

    name: str

    def answer(self, messages: list[Message]) -> Iterator[str]:
        """The answer's text as it comes; it ends soon after `interrupt`."""

    def interrupt(self) -> None:
        """Ends the answer. Called from a signal handler."""

    def close(self) -> None:
        """Lets go of what it holds."""


@takes_settings("engine.*")
def chat(
    settings: Settings,
    *,
    model: Annotated[str | None, model_argument()] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Talk to this server, such as http://localhost:8000."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="System message to begin with.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="0 always takes the likeliest token.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Longest answer, in tokens.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same seed gives the same answers.")
    ] = None,
) -> None:
    """Chat in the terminal. Without --url the model runs in this process.

    Reads stdin line by line when it is not a terminal.
    """
    wishes = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    given = {name: value for name, value in wishes.items() if value is not None}
    partner: Partner
    if url is not None:
        from cierzo.cli.http_partner import HttpPartner

        keys = settings.server.api_keys
        partner = HttpPartner(url, model, keys[0] if keys else None, given)
    else:
        from cierzo.llm import LLM

        with download_progress() as progress:
            partner = _Local(LLM.from_settings(settings, progress), given)
    try:
        converse(partner, [Message("system", system)] if system else [])
    finally:
        partner.close()


def converse(partner: Partner, opening: list[Message]) -> None:
    """Reads lines and prints answers until the end of input or /exit."""
    interactive = sys.stdin.isatty()
    if interactive:
        note(f"{partner.name}. /help lists the commands.")
        _edit_lines()
    messages = list(opening)
    while True:
        try:
            line = input("> " if interactive else "").strip()
            if line == "/exit":
                return
            _act(partner, messages, opening, line)
        except EOFError:
            return
        except KeyboardInterrupt:  # anywhere but in an answer
            if not interactive:
                raise
            note("\n/exit or Ctrl-D leaves.")


def _act(partner: Partner, messages: list[Message], opening: list[Message], line: str) -> None:
    """Does what a line asks for."""
    if line == "/help":
        note(HELP)
    elif line == "/reset":
        messages[:] = opening
        note("The conversation is forgotten.")
    elif line.startswith("/"):
        note(f"{line.split(maxsplit=1)[0]} is no command; /help lists them.")
    elif line:
        _turn(partner, messages, line)


def _turn(partner: Partner, messages: list[Message], line: str) -> None:
    """One question and its answer. A turn that failed leaves no trace in the conversation."""
    asked = Message("user", line)
    parts: list[str] = []
    try:
        with _interrupts(partner):
            for text in partner.answer([*messages, asked]):
                parts.append(text)
                print(text, end="", flush=True)
    except TooLong as problem:
        error(f"{problem}; or /reset")
        return
    except (EngineError, Refused) as problem:
        error(str(problem))
        return
    finally:
        print(flush=True)
    if parts:
        messages.extend([asked, Message("assistant", "".join(parts))])


@contextmanager
def _interrupts(partner: Partner) -> Iterator[None]:
    """Ctrl-C stops the answer while the answer runs."""
    before = signal.signal(signal.SIGINT, lambda number, frame: partner.interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _edit_lines() -> None:
    """Arrow keys and history, where Python was built with them."""
    try:
        import readline
    except ImportError:
        return
    readline.set_auto_history(True)


class _Local:
    """An engine in this process."""

    def __init__(self, llm: LLM, wishes: dict[str, float]) -> None:
        self.name = f"{llm.name} on {llm.info.backend}"
        self._llm = llm
        self._params = llm.advised(**wishes)
        self._stopped = False

    def answer(self, messages: list[Message]) -> Iterator[str]:
        self._stopped = False
        for delta in self._llm.stream(self._llm.conversation(messages), self._params):
            yield delta.text
            if self._stopped:
                return

    def interrupt(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._llm.close()
