"""What a request says of the form of its answer, as it travels to the engine."""

from __future__ import annotations

import msgspec


class Check(msgspec.Struct, frozen=True, array_like=True):
    """A JSON value inside the answer, which is verified once it is complete.

    `rule` names a rule of the grammar that is marked `[capture]`; what it matches must be valid
    under `schema` (JSON text).
    """

    rule: str
    schema: str
    # Whether the grammar lets more through than the schema: the value is held back, and searched
    # for. Otherwise nothing should be wrong with it, and it is an error if something is.
    held: bool = True


class Constraint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A grammar for the answer, in llguidance's Lark dialect, over text and token ids (`<[9]>`)."""

    grammar: str
    # The grammar begins after the first token of this id; what comes before is free, and an answer
    # without it too. None: it begins with the answer.
    trigger: int | None = None
    # Text that the answer goes on with (a last assistant message). Without a trigger the grammar
    # begins with it.
    beginning: str = ""
    # White space is not part of what stands before `trigger` or the end: the answer does not begin
    # with any, and what it ends with is taken back. So a client that trims changes no token.
    trims: bool = False
    # Whether the content is a text, which stop strings may end. They never cut a JSON value.
    stops: bool = True
    checks: tuple[Check, ...] = ()
