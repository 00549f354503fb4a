"""The file with keys, one a line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cierzo.settings import Settings, SettingsError

MOST_KEYS = 1_024  # as many as settings.server.api_keys takes
_FILE_BYTES = 1 << 20


def with_key_file(settings: Settings) -> Settings:
    """The settings with the keys of `server.api_key_file` among `server.api_keys`.

    A line of the file is a key; empty lines and those that begin with # are not. Raises
    SettingsError for a file that cannot be read or holds no key: it was meant to lock the door.
    """
    server = settings.server
    if server.api_key_file is None:
        return settings
    where = f"server.api_key_file: {server.api_key_file}"
    try:
        with Path(server.api_key_file).expanduser().open("rb") as file:
            text = file.read(_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{where}: cannot be read: {error.strerror}") from error
    if len(text) > _FILE_BYTES:
        raise SettingsError(f"{where}: larger than {_FILE_BYTES:,} bytes; this is no file of keys")
    try:
        lines = [line.strip() for line in text.decode().splitlines()]
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: is not UTF-8 text") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise SettingsError(f"{where}: holds no key; write one a line")
    together = tuple(dict.fromkeys((*server.api_keys, *keys)))
    if len(together) > MOST_KEYS:
        raise SettingsError(
            f"{where}: {len(together):,} keys are more than the {MOST_KEYS:,} allowed"
        )
    return dataclasses.replace(settings, server=dataclasses.replace(server, api_keys=together))
