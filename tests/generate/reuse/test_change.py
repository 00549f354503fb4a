"""What kind of difference it is tells a client what to mend."""

from __future__ import annotations

import pytest

from cierzo.generate.reuse.change import change_of
from cierzo.generate.reuse.diagnosis import Change


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ("at 10:00:01 we", "at 10:00:02 we", Change.TIME),
        ("at 9:59 we", "at 10:00 we", Change.TIME),
        ("on 2026-11-25T23:59:59.120Z.", "on 2026-11-26T00:00:00.004Z.", Change.TIME),
        ("on 25.11.2026", "on 26.11.2026", Change.TIME),
        ("Wednesday, November 25, 2026", "Thursday, November 26, 2026", Change.TIME),
        ("t=1795655163123", "t=1795655164456", Change.TIME),
        ("id: 15977c3f-b46a", "id: 25977c3f-b46a", Change.IDENTIFIER),
        ("<cch=a1b2c>", "<cch=99fe0>", Change.IDENTIFIER),
        ("(7 files)", "(12 files)", Change.NUMBER),
        ("used 41%", "used 42%", Change.NUMBER),
        ("a  b", "a b", Change.SPACE),
        ("end\n", "end", Change.SPACE),
        ("one\r\ntwo", "one\ntwo", Change.SPACE),
        ("a decade", "a facade", Change.TEXT),
        ("we may go", "we can go", Change.TEXT),
        ("one", "one two", Change.TEXT),
        ("", "x", Change.TEXT),
    ],
)
def test_changes_have_kinds(before: str, now: str, change: Change) -> None:
    pairs = zip(before, now, strict=False)
    shortest = min(len(before), len(now))
    at = next((at for at, (old, new) in enumerate(pairs) if old != new), shortest)
    for around in ("", "Some words before. "):
        shared = around + before[:at]
        assert change_of(shared, before[at:], now[at:]) is change
        assert change_of(shared, now[at:], before[at:]) is change
