"""Answers of `/models` and `/health`."""

from __future__ import annotations

from typing import Literal

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A name that requests may use. Sizes are null until the model is loaded."""

    id: str
    object: Literal["model"] = "model"
    created: int  # Unix time at which the server was started
    owned_by: str = "cierzo"
    root: str  # the name that answers carry
    max_model_len: int | None  # tokens of prompt and answer together
    context_length: int | None  # the same, under OpenRouter's name


class ModelList(msgspec.Struct, frozen=True):
    """What is served."""

    data: list[Model]
    object: Literal["list"] = "list"


class Health(msgspec.Struct, frozen=True):
    """How the server is. Only "ready" comes with status 200."""

    status: Literal["ready", "loading", "restarting", "dead", "stopping"]
    detail: str  # one line: what is being loaded, or what went wrong
    since: float  # Unix time at which this state began
    model: str
