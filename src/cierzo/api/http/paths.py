"""Which route a path means: clients join base addresses and paths in more ways than one.

A base address may lack `/v1` or have it twice, end in a slash, or already name the route. What a
path means is found before keys are asked for, so that no spelling of a route goes around them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cierzo.api.dialect import Dialect

_SLASHES = re.compile("/{2,}")
# What may stand before a route: parts of base addresses, and a route that was taken for one.
_BEFORE = re.compile(
    r"(?:/(?:api|openai|v1)(?=/)|/chat/completions(?=/(?:chat/completions|models)))*"
)
_SHOWN = 200  # characters of a path in a message


@dataclass(frozen=True)
class Path:
    """A route's path as declared, and the pattern that matches all of its paths."""

    path: str
    pattern: re.Pattern[str]
    method: str
    dialect: Dialect


class Paths:
    """The paths of the routes that there are, and the dialect that each is answered in.

    A path under the prefix of none of the `dialects` belongs to the first of them.
    """

    def __init__(self, routes: Iterable[Path], dialects: Sequence[Dialect]) -> None:
        self._routes = tuple(routes)
        self._dialects = tuple(dialects)

    @property
    def default(self) -> Dialect:
        """What is spoken before a path is known."""
        return self._dialects[0]

    def meant(self, path: str) -> tuple[str, str, Dialect]:
        """The path of a route, if it can be only one; else the path without doubled slashes.

        With it, how the route declares it ("-" if there is none), and the dialect of the answer.
        """
        plain = _SLASHES.sub("/", path).rstrip("/") or "/"
        if route := self._route(plain):
            return plain, route.path, route.dialect
        before = _BEFORE.match(plain)
        end = before.end() if before else 0
        nearest = self._nearest(plain)
        prefixes = ["", *(dialect.prefix for dialect in self._dialects)]
        # The owner's own prefix, or that of the first; then none; then the others'.
        prefixes.sort(key=lambda prefix: (prefix != nearest.prefix, bool(prefix)))
        for prefix in prefixes:
            candidate = prefix + plain[end:]
            if route := self._route(candidate):
                return candidate, route.path, route.dialect
        return plain, "-", nearest

    def advice(self, method: str, path: str, dialect: Dialect) -> str:
        """What to say of a path that is no route: the one that is like it, or all there are."""
        routes = {
            route.path: f"{route.method} {route.path}"
            for route in self._routes
            if route.path.startswith(f"{dialect.prefix}/") and "{" not in route.path
        }
        like = difflib.get_close_matches(path[:_SHOWN].lower(), routes, n=1, cutoff=0.75)
        said = f"there is no {method} {path}"[:_SHOWN]
        if like:
            return f"{said}; did you mean {routes[like[0]]}?"
        return f"{said}; there is " + ", ".join(routes.values())

    def _route(self, path: str) -> Path | None:
        return next((route for route in self._routes if route.pattern.match(path)), None)

    def _nearest(self, path: str) -> Dialect:
        """The dialect under whose first step the path stands: /api of /api/v1."""
        first = path.strip("/").split("/")[0]
        owners = (d for d in self._dialects if d.prefix.strip("/").split("/")[0] == first)
        return next(owners, self._dialects[0])
