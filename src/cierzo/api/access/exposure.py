"""The refusal to be reached by others where no key is asked for."""

from __future__ import annotations

import ipaddress
import socket

from cierzo.settings import ServerSettings, SettingsError


def check_exposure(server: ServerSettings, insecure: bool) -> None:
    """Raises SettingsError for a server that anyone on a network could use without a key."""
    guarded = server.api_keys or server.api_key_file
    if guarded or insecure or _is_loopback(server.host):
        return
    raise SettingsError(
        f"--host {server.host} lets everyone on the network use this server; set a key with "
        "CIERZO_API_KEY or --api-key-file, or say --insecure"
    )


def _is_loopback(host: str) -> bool:
    """Whether every address of the host can be reached from this machine only."""
    try:
        places = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    addresses = [str(address[0]).partition("%")[0] for *_, address in places]
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)
