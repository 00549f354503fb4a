"""Cierzo: Devstral Small on your own machine, behind the API you already use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cierzo.engine.sampling_params import SamplingParams
    from cierzo.llm import LLM

__all__ = ["LLM", "SamplingParams"]


def __getattr__(name: str) -> object:
    """Imports what is asked for only then: the command line must start at once."""
    if name == "LLM":
        from cierzo.llm import LLM

        return LLM
    if name == "SamplingParams":
        from cierzo.engine.sampling_params import SamplingParams

        return SamplingParams
    if name == "__version__":
        from importlib.metadata import version

        return version("cierzo")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
