"""A validator for any draft that cannot be made to run away: patterns are matched in bounded time,
nothing is fetched, constants are looked up, and the work is counted.

What each keyword means is jsonschema's to say. What is replaced are the keywords whose work does
not follow from what they touch (`keywords.py`), and the step from a schema to one below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
import referencing.jsonschema
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable

from cierzo.grammar.keywords import KEYWORDS
from cierzo.grammar.pattern import MatchError, Node, PatternError, Work, found, may_differ, parse
from cierzo.grammar.values import Numbering

_CLASSES: Mapping[int, Any] = {
    4: jsonschema.Draft4Validator,
    6: jsonschema.Draft6Validator,
    7: jsonschema.Draft7Validator,
    2019: jsonschema.Draft201909Validator,
    2020: jsonschema.Draft202012Validator,
}
_SPECIFICATIONS: Mapping[int, Any] = {
    4: referencing.jsonschema.DRAFT4,
    6: referencing.jsonschema.DRAFT6,
    7: referencing.jsonschema.DRAFT7,
    2019: referencing.jsonschema.DRAFT201909,
    2020: referencing.jsonschema.DRAFT202012,
}
# Work of a keyword that does nothing but look at a value.
_LOOK = 20

# Errors that are kept of the alternatives of one value.
MOST_FAULTS = 1_000


class Unverifiable(ValueError):
    """Too much work, or something that cannot be decided."""


class Means:
    """What the keywords of one schema share: the work left, and what they have learnt."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.numbering = Numbering(work.spend)
        self.faults = MOST_FAULTS  # that may still be noted of alternatives
        self.as_python = False  # how patterns are read
        self.doubtful = False  # whether engines disagreed about one
        self._patterns: dict[tuple[str, bool], Node] = {}
        self._bounded: dict[Any, Any] = {}

    def forget(self) -> None:
        """Gets ready for another value."""
        self.numbering.forget()
        self.faults = MOST_FAULTS

    def matches(self, pattern: str, text: str) -> bool:
        """Whether the pattern is found anywhere in the text."""
        verdict = self._found(pattern, text, as_python=self.as_python)
        if not self.as_python and not self.doubtful and may_differ(pattern, text):
            self.doubtful = verdict != self._found(pattern, text, as_python=True)
        return verdict

    def _found(self, pattern: str, text: str, *, as_python: bool) -> bool:
        node = self._patterns.get((pattern, as_python))
        if node is None:
            self.work.spend(4 * len(pattern))
            node = self._patterns[pattern, as_python] = parse(pattern, as_python=as_python)
        return found(node, text, self.work)

    def bounded(self, plain: Any) -> Any:
        """One of jsonschema's validators, with keywords that use these means."""
        if plain not in self._bounded:
            counted = {
                name: _counted(name, KEYWORDS.get(name, function))
                for name, function in plain.VALIDATORS.items()
            }
            validator = self._bounded[plain] = jsonschema.validators.extend(plain, counted)
            validator.means, validator.plain = self, plain
            validator.evolve, validator.is_valid = _evolve, _is_valid
        return self._bounded[plain]


def resolver_for(schema: Any, draft: int) -> Any:
    """What finds a schema's references. Raises Unverifiable for broken identifiers."""
    resource = _SPECIFICATIONS[draft].create_resource(schema)
    try:
        base_uri = resource.id() or ""
        # Crawled now, where each lookup of an anchor would do it again.
        registry = REGISTRY.with_resource(base_uri, resource).crawl()
    except (AttributeError, TypeError, ValueError):
        raise Unverifiable("an identifier, or a schema in it, is of no use") from None
    return registry.resolver(base_uri)


def validator_for(schema: Any, draft: int, work: Work) -> Any:
    """A jsonschema validator; using it raises Unverifiable once the work is done up.

    It remembers the lists and objects that it has seen: they must not change while it is in use.
    Raises Unverifiable for broken identifiers.
    """
    resolver = resolver_for(schema, draft)
    validator = Means(work).bounded(_CLASSES[draft])
    return validator(schema, registry=REGISTRY, _resolver=resolver)


def faults(validator: Any, value: Any) -> Iterator[Any]:
    """What is wrong with a value, in whatever way engines read the patterns.

    A text that some of them match and others do not may be neither required nor excluded.
    Raises RecursionError for what is nested too deep, also where the stack ends in a library in
    Rust: its panic is not an Exception.
    """
    try:
        yield from _faults(validator, value)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RecursionError("it is nested too deep") from error


def _faults(validator: Any, value: Any) -> Iterator[Any]:
    means = validator.means
    means.doubtful = False
    valid = True
    for error in validator.iter_errors(value):
        valid = False
        yield error
    if valid and means.doubtful:
        means.as_python = True
        try:
            yield from validator.iter_errors(value)
        finally:
            means.as_python = False


def _counted(name: str, function: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    looked_up = name in ("enum", "const")

    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        try:
            wide = 0 if looked_up or not isinstance(value, list | dict) else len(value)
            size = len(instance) if isinstance(instance, list | dict | str) else 0
            validator.means.work.spend(_LOOK + size // 8 + wide // 2)
            if name == "unevaluatedItems":  # each is looked for in a list
                validator.means.work.spend(size * size // 32)
            yield from function(validator, value, instance, schema) or ()
        except (MatchError, PatternError, OverflowError, Unresolvable) as error:
            raise Unverifiable(str(error)) from None

    return run


def _evolve(validator: Any, *, schema: Any, _resolver: Any = None) -> Any:
    """Steps to another schema, of another draft if it says so.

    jsonschema would step to its own, unbounded validator there: for the root too, if that says of
    what draft it is and is referred to.
    """
    if isinstance(schema, dict):
        validator.means.work.spend(4 + len(schema))
    plain = jsonschema.validators.validator_for(schema, default=validator.plain)
    resolver = validator._resolver if _resolver is None else _resolver
    kind = validator.means.bounded(plain)
    return kind(schema, registry=validator._registry, _resolver=resolver)


def _is_valid(validator: Any, instance: Any) -> bool:
    """Whether a value is valid; nobody will ask why not."""
    means = validator.means
    kept, means.faults = means.faults, 0
    try:
        return next(validator.iter_errors(instance), None) is None
    finally:
        means.faults = kept
