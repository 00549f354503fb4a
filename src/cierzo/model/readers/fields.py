"""Typed reading of a checkpoint's settings: JSON objects and GGUF metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from cierzo.model.errors import ModelError

_JSON_BYTES = 64 << 20  # a large tokenizer_config.json has 1 MB


class Fields:
    """Values by key, each read as one type. Errors name the file and the key."""

    def __init__(self, values: Mapping[str, object], file: Path, prefix: str = "") -> None:
        self.values = values
        self.file = file
        self.prefix = prefix

    def __contains__(self, key: str) -> bool:
        return self.values.get(self.prefix + key) is not None

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; `default` when absent or null, if there is one."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, value, "a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, value, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._wrong(key, value, "a finite number")
        return number

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a string")
        return value

    def group(self, key: str) -> Fields | None:
        """A nested object, or None when absent or null."""
        if key not in self:
            return None
        value = self.values[self.prefix + key]
        if not isinstance(value, Mapping):
            raise self._wrong(key, value, "an object")
        return Fields(value, self.file)

    def _get(self, key: str, default: object) -> object:
        value = self.values.get(self.prefix + key)
        if value is None:
            value = default
        if value is None:
            raise ModelError(
                f"{self.file}: {self.prefix}{key} is missing; the file is incomplete or of an "
                "unknown layout"
            )
        return value

    def _wrong(self, key: str, value: object, wanted: str) -> ModelError:
        shown = repr(value)[:60]
        return ModelError(
            f"{self.file}: {self.prefix}{key} is {shown}, not {wanted}; the file is damaged"
        )


def read_json(file: Path) -> Fields:
    """The object in a JSON file."""
    return parse_json(read_bounded(file, _JSON_BYTES), file)


def read_bounded(file: Path, most: int) -> bytes:
    """The bytes of a file that has at most so many."""
    try:
        with file.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    if len(data) > most:
        raise ModelError(f"{file}: more than {most} bytes are too many for such a file")
    return data


def parse_json(data: bytes, file: Path) -> Fields:
    """The JSON object in `data`, which lies in `file`."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        line = str(error).splitlines()[0][:100]
        raise ModelError(f"{file}: not valid JSON ({line}); fetch the file again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file}: holds no JSON object; fetch the file again")
    return Fields(value, file)
