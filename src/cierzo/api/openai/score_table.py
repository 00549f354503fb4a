"""OpenAI's older table of log-probabilities: four columns, one row a token."""

from __future__ import annotations

from cierzo.api.openai.wire.completions import CompletionLogprobs


class ScoreTable:
    """Rows of `CompletionLogprobs`."""

    def __init__(self) -> None:
        self._empty()

    def add(self, name: str, logprob: float | None, top: dict[str, float] | None, at: int) -> None:
        """One row."""
        self._names.append(name)
        self._logprobs.append(logprob)
        self._tops.append(top)
        self._offsets.append(at)

    def take(self) -> CompletionLogprobs:
        """The rows since the last time."""
        rows = CompletionLogprobs(self._names, self._logprobs, self._tops, self._offsets)
        self._empty()
        return rows

    def _empty(self) -> None:
        self._names: list[str] = []
        self._logprobs: list[float | None] = []
        self._tops: list[dict[str, float] | None] = []
        self._offsets: list[int] = []


def token_name(data: bytes) -> str:
    """A token as a text; OpenAI's spelling for one that is a part of a character."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def joined(
    before: CompletionLogprobs | None, after: CompletionLogprobs | None
) -> CompletionLogprobs | None:
    """Two tables as one. The first is extended in place, so that many steps cost linear time."""
    if before is None or after is None:
        return after
    before.tokens.extend(after.tokens)
    before.token_logprobs.extend(after.token_logprobs)
    before.top_logprobs.extend(after.top_logprobs)
    before.text_offset.extend(after.text_offset)
    return before
