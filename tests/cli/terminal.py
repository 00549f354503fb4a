"""A `cierzo` command on a terminal of its own, for what only happens there: prompts, Ctrl-C."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.run import COMMAND, NO_DISK

SECONDS = 240.0  # of silence
CTRL_D = "\x04"


class Terminal:
    """What a person sees and types."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.seen = ""
        self._from = 0

    def type(self, text: str) -> None:
        """Presses keys. What is waited for afterwards is what is shown from now on."""
        self._from = len(self.seen)
        os.write(self._descriptor, text.encode())

    def press_ctrl_c(self) -> None:
        """What a terminal does with that key."""
        self._from = len(self.seen)
        self.process.send_signal(signal.SIGINT)

    def press_ctrl_c_until(self, text: str) -> None:
        """Again and again: Python loses the signal if it comes just before readline waits."""
        self.press_ctrl_c()
        for _ in range(int(SECONDS)):
            if text in self.seen[self._from :]:
                return
            if not self._read(seconds=1):
                self.process.send_signal(signal.SIGINT)
        raise AssertionError(f"no {text!r} in {self.seen[self._from :]!r}")

    def wait_for(self, text: str) -> None:
        """Returns once the text is on the screen. Raises AssertionError if it never is."""
        while text not in self.seen[self._from :]:
            assert self._read(), f"no {text!r} in {self.seen[self._from :]!r}"

    def wait_for_more(self, characters: int) -> None:
        """Returns once so much more than what was typed is shown."""
        while len(self.seen) < self._from + characters:
            assert self._read(), f"nothing more came after {self.seen[self._from :]!r}"

    def _read(self, seconds: float = SECONDS) -> bool:
        """Takes what is shown next; False if nothing is for so long."""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if not ready:
            return False
        try:
            self.seen += os.read(self._descriptor, 4096).decode(errors="replace")
        except OSError as error:  # the other end is closed
            raise AssertionError(f"the program ended after {self.seen!r}") from error
        return True


@contextmanager
def terminal(*arguments: str, cwd: Path) -> Iterator[Terminal]:
    """Runs the command on a new terminal, and ends it if the test does not."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env={**os.environ, **NO_DISK},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)
