"""The keys that clients must send, and the refusal to be reached by others without any."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

from cierzo.settings import ServerSettings, Settings, SettingsError

MOST_KEYS = 1_024  # as many as settings.server.api_keys takes
_FILE_BYTES = 1 << 20


def with_key_file(settings: Settings) -> Settings:
    """The settings with the keys of `server.api_key_file` among `server.api_keys`.

    A line of the file is a key; empty lines and those that begin with # are none. Raises
    SettingsError for a file that cannot be read or holds no key: it was meant to lock the door.
    """
    server = settings.server
    if not server.api_key_file:
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
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise SettingsError(f"{where}: holds no key; write one a line")
    keys = tuple(dict.fromkeys((*server.api_keys, *found)))
    if len(keys) > MOST_KEYS:
        raise SettingsError(f"{where}: {len(keys):,} keys are more than the {MOST_KEYS:,} allowed")
    return dataclasses.replace(settings, server=dataclasses.replace(server, api_keys=keys))


def check_exposure(server: ServerSettings, insecure: bool) -> None:
    """Raises SettingsError for a server that anyone on a network could use without a key."""
    guarded = server.api_keys or server.api_key_file
    if guarded or insecure or _is_loopback(server.host):
        return
    raise SettingsError(
        f"--host {server.host} lets everyone on the network use this server; set a key with "
        "CIERZO_API_KEY or --api-key-file, or say --insecure"
    )


def is_known(given: bytes, keys: Sequence[bytes]) -> bool:
    """Whether it is one of the keys. Each is compared whole, so that the time tells nothing."""
    return any([hmac.compare_digest(given, key) for key in keys])


def _is_loopback(host: str) -> bool:
    """Whether every address of the host can be reached from this machine only."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    addresses = [str(address[0]).partition("%")[0] for *_, address in found]
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)
