"""What a `$ref` points to. Only inside the schema itself and the drafts' own schemas: nothing is
ever fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from jsonschema_specifications import REGISTRY

from cierzo.grammar.schema.dialect import Path, subschemas
from cierzo.grammar.schema.errors import SchemaError


@dataclass(frozen=True)
class Place:
    """A schema inside the document: its value, where it stands, and what URIs are relative to."""

    node: Any
    path: Path
    base: str


class References:
    def __init__(self, schema: Any, draft: int) -> None:
        self._id = "id" if draft == 4 else "$id"
        self._places: dict[str, Place] = {}
        self._bases: dict[int, str] = {}
        self.dynamic: dict[str, int] = {}  # how often an anchor's name is dynamic
        self.root = Place(schema, (), self._own_base(schema, "schema:/"))
        self._index(self.root)
        self._places.setdefault("schema:/", self.root)

    def _own_base(self, node: Any, base: str) -> str:
        name = node.get(self._id) if isinstance(node, dict) else None
        if not isinstance(name, str) or name.startswith("#"):
            return base
        try:
            return urldefrag(urljoin(base, name)).url
        except ValueError:
            return base

    def _index(self, root: Place) -> None:
        bases: dict[Path, str] = {}
        for node, path in subschemas(root.node):
            if not isinstance(node, dict):
                continue
            parent = next(
                (bases[path[:n]] for n in range(len(path), -1, -1) if path[:n] in bases), root.base
            )
            base = self._own_base(node, parent) if path else root.base
            if base != parent or not path:
                bases[path] = base
                self._places.setdefault(base, Place(node, path, base))
            self._bases[id(node)] = base
            for key in ("$anchor", "$dynamicAnchor", "$id", "id"):
                name = node.get(key)
                if isinstance(name, str) and (name.startswith("#") or "nchor" in key):
                    place = Place(node, path, base)
                    self._places.setdefault(f"{base}#{name.lstrip('#')}", place)
                    if key == "$dynamicAnchor":
                        self.dynamic[name] = self.dynamic.get(name, 0) + 1
            if node.get("$recursiveAnchor") is True:
                self.dynamic["#"] = self.dynamic.get("#", 0) + 1

    def base_of(self, node: Any, otherwise: str) -> str:
        return self._bases.get(id(node), otherwise)

    def resolve(self, reference: str, base: str, path: Path) -> Place:
        """The place; SchemaError if there is none in this document."""
        try:
            target, fragment = urldefrag(urljoin(base, reference))
        except ValueError:
            raise SchemaError(f"{reference!r} is not a reference", path) from None
        fragment = unquote(fragment)
        if not target:
            target = base
        place = self._places.get(target) or self._standard(target)
        if place is None:
            raise SchemaError(
                f"{reference!r} is not in this schema, and nothing is fetched; put it under $defs",
                path,
            )
        if not fragment:
            return place
        if not fragment.startswith("/"):
            anchored = self._places.get(f"{target}#{fragment}")
            if anchored is None:
                raise SchemaError(f"{reference!r}: there is no such anchor", path)
            return anchored
        return self._down(place, fragment, reference, path)

    def _down(self, place: Place, pointer: str, reference: str, path: Path) -> Place:
        node, way = place.node, place.path
        for part in pointer[1:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node, way = node[name], (*way, name)
            elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node, way = node[int(name)], (*way, int(name))
            else:
                raise SchemaError(f"{reference!r} points to nothing", path)
        if not isinstance(node, dict | bool):
            raise SchemaError(f"{reference!r} points to something that is not a schema", path)
        return Place(node, way, self.base_of(node, place.base))

    def _standard(self, uri: str) -> Place | None:
        """One of the drafts' own schemas."""
        if "json-schema.org" not in uri:
            return None
        resource = REGISTRY.get(uri) or REGISTRY.get(f"{uri}#")
        if resource is None:
            return None
        place = Place(resource.contents, ("$schema",), uri)
        self._index(place)
        return self._places.setdefault(uri, place)
