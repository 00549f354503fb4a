"""A key file that is named holds keys, or the server does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from cierzo.api.access.key_file import with_key_file
from cierzo.settings import ServerSettings, Settings, SettingsError


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "holds no key"),
        (b"# only words\n\n", "holds no key"),
        (b"\xff\xfe", "not UTF-8"),
        (b"k\n" * 600_000, "larger than"),
        (b"".join(b"key-%d\n" % i for i in range(2000)), "more than the 1,024"),
    ],
)
def test_a_key_file_that_locks_nothing_is_refused(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=words) as caught:
        with_key_file(Settings(server=ServerSettings(api_key_file=str(file))))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
