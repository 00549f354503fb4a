"""Verifies complete JSON values under a schema. (First version; helper S replaces it.)"""

from __future__ import annotations

import json
from dataclasses import dataclass

import jsonschema


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with a value, and where: a span of its bytes."""

    message: str
    start: int
    end: int


class Verifier:
    """One schema, given as JSON text."""

    def __init__(self, schema_json: str) -> None:
        self._validator = jsonschema.Draft202012Validator(json.loads(schema_json))

    def violation(self, value: bytes) -> Violation | None:
        """What is wrong with a value; None if it is valid."""
        error = next(self._validator.iter_errors(json.loads(value)), None)
        return None if error is None else Violation(error.message, 0, len(value))
