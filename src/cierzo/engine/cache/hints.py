"""What a request says of how it will be used again: it changes what stays, and no answer."""

from __future__ import annotations

import msgspec


class Hints(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Wishes, never a lock: what they are worth is `eviction.py`'s to say."""

    session: bytes = b""  # names who asks one thing after the other; empty: nobody says
    seconds: float = 0.0  # for so long it may be asked again; 0: nobody says


NO_HINTS = Hints()
