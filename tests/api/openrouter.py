"""OpenRouter's own schemas as an oracle: what goes over the wire is held against them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema

_FILE = Path(__file__).parents[1] / "data" / "openrouter.json"


def parameter_names() -> set[str]:
    """Its words for what an endpoint may support."""
    schemas = json.loads(_FILE.read_text())["components"]["schemas"]
    return set(schemas["Parameter"]["enum"])


@functools.cache
def validator(name: str) -> Any:
    """Checks values against the schema of that name."""
    document = json.loads(_FILE.read_text())
    # Its list of providers is of those that it has: none of them is a server at home.
    del document["components"]["schemas"]["ProviderName"]["enum"]
    schema = {"$ref": f"#/components/schemas/{name}", **document}
    return jsonschema.Draft202012Validator(schema)


def conforms(name: str, value: object) -> None:
    """Fails, with where and why, for a value that is not as OpenRouter says."""
    validator(name).validate(value)
