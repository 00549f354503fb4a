"""JSON in a request that is not made into objects on the way in.

What is read costs as much memory and time as its values are many, and holds the interpreter's lock
meanwhile: eight megabytes of `[],[],` are a second in which nobody else is served. So fields that
nothing depends on are skipped, which is fifty times as fast, and JSON of any form (a schema) is
read once its length is known to be in bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec
from msgspec import UnsetType

from cierzo.api.errors import ApiError, bad_request

# Any JSON at all. As a field's type it takes whatever is sent; its default is UNSET.
Unread: TypeAlias = msgspec.Raw | UnsetType


def is_given(json: Unread) -> bool:
    """Whether it was sent, and not as null."""
    return isinstance(json, msgspec.Raw) and bytes(memoryview(json)[:5]) != b"null"


def value_of(json: Unread, param: str, *, most_bytes: int, most_depth: int) -> Any:
    """The value; None if nothing was sent. Raises ApiError for what is too long or too deep."""
    if not isinstance(json, msgspec.Raw):
        return None
    check_size(json, param, most_bytes)
    try:
        value = msgspec.json.decode(json)
    except RecursionError:
        raise _too_deep(param, most_depth) from None
    except UnicodeDecodeError:
        raise bad_request(f"{param}: a text in it is not UTF-8", param) from None
    except msgspec.ValidationError as error:
        message = str(error).partition(" - at ")[0]
        raise bad_request(f"{param}: {message[:1].lower()}{message[1:]}", param) from None
    check_depth(value, param, most_depth)
    return value


def check_size(json: msgspec.Raw, param: str, most: int) -> None:
    """Raises ApiError for JSON of more than so many bytes."""
    size = memoryview(json).nbytes
    if size > most:
        raise bad_request(f"{param}: {size:,} bytes are more than the {most:,} allowed", param)


def check_depth(value: Any, param: str, most: int) -> None:
    """Raises ApiError for lists and objects nested deeper than `most`. Looks at each value once."""
    level = [value]
    for _ in range(most):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    if any(isinstance(item, dict | list) for item in level):
        raise _too_deep(param, most)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep(param: str, most: int) -> ApiError:
    return bad_request(f"{param}: nested deeper than {most} levels", param)
