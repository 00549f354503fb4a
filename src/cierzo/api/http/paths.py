"""Which route a path means: clients join base addresses and paths in more ways than one.

A base address may lack `/v1` or have it twice, end in a slash, or already name the route. What a
path means is found before keys are asked for, so that no spelling of a route goes around them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_SLASHES = re.compile("/{2,}")
# What may stand before a route: parts of base addresses, and a route that was taken for one.
_BEFORE = re.compile(
    r"(?:/(?:api|openai|v1)(?=/)|/chat/completions(?=/(?:chat/completions|models)))*"
)
_OPENROUTER, _OPENAI = "/api/v1", "/v1"
_SHOWN = 200  # characters of a path in a message


@dataclass(frozen=True)
class Route:
    """A route of the app: its path as declared, the pattern of all its paths, its methods."""

    path: str
    pattern: re.Pattern[str]
    methods: frozenset[str]


class Paths:
    """The paths of the routes that there are."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)

    def meant(self, path: str) -> str:
        """The path of a route, if it can be only one; else the path without doubled slashes."""
        plain = _SLASHES.sub("/", path).rstrip("/") or "/"
        if self._is_route(plain):
            return plain
        before = _BEFORE.match(plain)
        end = before.end() if before else 0
        owners = (_OPENAI, "", _OPENROUTER)
        if plain[:end].startswith("/api"):
            owners = (_OPENROUTER, _OPENAI, "")
        for owner in owners:
            candidate = owner + plain[end:]
            if self._is_route(candidate):
                return candidate
        return plain

    def advice(self, method: str, path: str) -> str:
        """What to say of a path that is no route: the one that is like it, or all there are."""
        owner = _OPENROUTER if path.startswith("/api/") else _OPENAI
        known = {
            route.path: f"{method if method in route.methods else min(route.methods)} {route.path}"
            for route in self._routes
            if route.path.startswith(f"{owner}/") and "{" not in route.path
        }
        like = difflib.get_close_matches(path[:_SHOWN].lower(), known, n=1, cutoff=0.75)
        said = f"there is no {method} {path}"[:_SHOWN]
        if like:
            return f"{said}; did you mean {known[like[0]]}?"
        return f"{said}; there is " + ", ".join(known.values())

    def _is_route(self, path: str) -> bool:
        return any(route.pattern.match(path) for route in self._routes)
