"""Parts of a schema that no value fits: allowed where they may be left out, and named where not."""

from __future__ import annotations

from typing import Any

from cierzo.grammar.schema.dialect import Path
from cierzo.grammar.schema.subset.edits import problem
from cierzo.grammar.schema.subset.infinite import finite_definitions, fits
from cierzo.grammar.schema.subset.inlining import unsatisfiable

MOST_TRIES = 60


def drop_contradictions(mask: dict[str, Any]) -> bool:
    """Makes definitions that contradict themselves `false`; says whether there were any.

    llguidance refuses a mask that only refers to one, even where nothing needs it.
    """
    definitions = mask["$defs"]
    anything = dict.fromkeys(definitions, True)
    found = False
    for name, body in list(definitions.items())[:MOST_TRIES]:
        if isinstance(body, dict):
            message = problem({**body, "$defs": anything})
            if message is not None and unsatisfiable(message):
                definitions[name] = False
                found = True
    return found


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
            message = problem({**body, "$defs": definitions})
            if message is not None and unsatisfiable(message):
                return str(name)
    return None
