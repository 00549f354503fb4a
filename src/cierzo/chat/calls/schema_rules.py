"""Grammar rules for JSON values: arguments of tools, and content that a schema governs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from cierzo.chat.messages import ChatError, Part
from cierzo.chat.tools import Tool
from cierzo.grammar.constraint import Check
from cierzo.grammar.schema import (
    DEFAULT_LIMITS,
    SchemaError,
    SchemaLimits,
    SchemaTooLarge,
    enforce,
)

_KEPT = 512  # schemas, none of them large; an agent sends the same ones with every request
_LARGE = 50_000  # characters
# A schema of these alone, without properties, says that there are no arguments.
_PLAIN = frozenset(
    {"type", "properties", "title", "description", "$schema", "additionalProperties"}
)

_OBJECT = {"type": "object"}

Warn: TypeAlias = Callable[[str, Part], None]


@dataclass
class ValueRules:
    """Rules in Lark, each for one value, and the checks of what comes of them.

    Where there is a `warn`, arguments of a tool whose schema makes no sense are held to a JSON
    object, and it is told of them; a strict tool's are not.
    """

    limits: SchemaLimits = DEFAULT_LIMITS
    warn: Warn | None = None
    lines: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def arguments(self, index: int, tool: Tool) -> str:
        """The rule for the arguments of `tools[index]`. Raises ChatError naming the part."""
        rule, part = f"args_{index}", ("tools", index, "parameters")
        try:
            return self._add(rule, _parameters(tool, part), part)
        except ChatError as error:
            too_large = isinstance(error.__cause__, SchemaTooLarge | RecursionError)
            if self.warn is None or tool.strict or too_large:
                raise
            line = f"{error}; arguments of {tool.name!r} are held to a JSON object only"
            self.warn(line, error.part)
            return self._add(rule, _OBJECT, part)

    def content(self, schema: Any) -> str:
        """The rule for content that a schema governs."""
        return self._add("value", schema, ("schema",))

    def _add(self, rule: str, schema: Any, part: Part) -> str:
        try:
            text = json.dumps(schema)
            work = _enforced if len(text) < _LARGE else _enforced.__wrapped__
            expression, exact = work(text, self.limits)
        except SchemaError as error:
            raise ChatError(str(error), (*part, *error.path)) from error
        except (RecursionError, ValueError, TypeError) as error:
            raise ChatError(f"not a JSON schema that can be read: {error}", part) from error
        self.lines.append(f"{rule}[capture]: {expression}")
        self.checks.append(Check(rule, text, held=not exact))
        return rule


# By text, which also is what the check reads: mask and check are of one schema, whatever objects it
# was sent as. It is parsed again only where it is not known yet, a small part of that work.
@lru_cache(maxsize=_KEPT)
def _enforced(schema: str, limits: SchemaLimits) -> tuple[str, bool]:
    enforced = enforce(json.loads(schema), limits)
    return enforced.expression, enforced.exact


def _parameters(tool: Tool, part: Part) -> Mapping[str, Any]:
    """The schema of the arguments, which are always an object; nothing where there are none."""
    schema = dict(tool.parameters or {})
    kind = schema.get("type")
    if kind is None:
        others = schema.get("allOf", [])
        if "$ref" in schema and isinstance(others, list):
            # Older drafts pass over what stands beside a reference.
            schema["allOf"] = [{"$ref": schema.pop("$ref")}, *others]
        schema = {"type": "object", **schema}
    elif isinstance(kind, list) and "object" in kind:
        schema["type"] = "object"
    elif kind not in (None, "object"):
        problem = f"must be 'object', as arguments are; it is {kind!r:.80}"
        raise ChatError(problem, (*part, "type"))
    if not schema.get("properties") and schema.keys() <= _PLAIN:
        schema.setdefault("additionalProperties", False)
    return schema
