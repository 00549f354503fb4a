"""Which part of a schema it is that no value fits."""

from __future__ import annotations

from typing import Any

from cierzo.grammar.schema.dialect import Path
from cierzo.grammar.schema.subset.edits import written
from cierzo.grammar.schema.subset.infinite import finite_definitions, fits
from cierzo.grammar.schema.subset.inlining import unsatisfiable

MOST_TRIES = 60


def contradiction(mask: dict[str, Any], paths: dict[str, Path]) -> Path:
    """The way to the part that makes a mask impossible, as deep as can be told."""
    definitions = mask["$defs"]
    finite = finite_definitions(definitions)
    part: Any = mask
    path: Path = ()
    for _ in range(MOST_TRIES):
        if isinstance(part, dict) and "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            part, path = definitions.get(name, True), paths.get(name, path)
        below = _impossible(part, definitions, finite)
        if below is None:
            return path
        part, path = part["properties"][below], (*path, "properties", below)
    return path


def _impossible(part: Any, definitions: dict[str, Any], finite: set[str]) -> str | None:
    """The required property that nothing fits."""
    if not isinstance(part, dict):
        return None
    properties = part.get("properties", {})
    for name in part.get("required", ())[:MOST_TRIES]:
        body = properties.get(name, True)
        if not fits(body, finite):
            return str(name)
        if isinstance(body, dict):
            message = written({**body, "$defs": definitions}).problem
            if message is not None and unsatisfiable(message):
                return str(name)
    return None
