"""A server that others can reach asks for a key, unless it is told not to."""

from __future__ import annotations

import pytest

from cierzo.api.access.exposure import check_exposure
from cierzo.settings import ServerSettings, SettingsError


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_a_loopback_address_needs_no_key(host: str) -> None:
    check_exposure(ServerSettings(host=host), insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "no such host"])
def test_any_other_address_needs_one(host: str) -> None:
    with pytest.raises(SettingsError, match="CIERZO_API_KEY") as caught:
        check_exposure(ServerSettings(host=host), insecure=False)
    assert "--insecure" in str(caught.value)
    assert "\n" not in str(caught.value)
    check_exposure(ServerSettings(host=host), insecure=True)
    check_exposure(ServerSettings(host=host, api_keys=("k",)), insecure=False)
    check_exposure(ServerSettings(host=host, api_key_file="keys"), insecure=False)
