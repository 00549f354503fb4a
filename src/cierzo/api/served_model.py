"""The model that is served: its names, prices, defaults, and what its weights are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cierzo.model.fetch.registry import ModelEntry
from cierzo.settings import Quantization

PROVIDER = "Cierzo"
_OPEN_LICENCES = ("apache-2.0", "mit")
# OpenRouter's words for how weights are stored; others, such as 5 or 6 bits, have none.
_QUANTIZATIONS = {
    "f32": "fp32",
    "f16": "fp16",
    "bf16": "bf16",
    "q8_0": "int8",
    "q4_0": "int4",
    "q4_1": "int4",
    "q4_k": "int4",
}
# What OpenRouter's and Ollama's names may end in, and which says nothing of the weights.
_VARIANTS = ("free", "nitro", "floor", "exacto", "extended", "latest")
_MOST_PARTS = 8  # of a name that are looked at, from the end
_ON_LOAD = {"w8": "int8", "w4": "int4"}  # float weights, by engine.quantize


@dataclass(frozen=True)
class ServedModel:
    """One model, known by several names; answers carry the first."""

    names: tuple[str, ...]
    entry: ModelEntry
    quantization: str = "unknown"  # until it is loaded

    @property
    def name(self) -> str:
        """The name that answers carry."""
        return self.names[0]

    @property
    def is_open(self) -> bool:
        """Whether its licence lets anyone train on what it writes."""
        return self.entry.licence.lower() in _OPEN_LICENCES

    def known_as(self, asked: str) -> str | None:
        """The name of ours that a client means, if it means one. Capitals make no difference.

        Clients put the name of a provider, or of several, in front (`openrouter/`,
        `hosted_vllm/`, `openai:`), and what only chooses between providers behind (`:free`).
        """
        names = {name.lower(): name for name in self.names}
        plain = asked.strip().lower()
        base, _, variant = plain.rpartition(":")
        spelled = (plain, base) if variant in _VARIANTS else (plain,)
        for name in (*spelled, *(name.partition(":")[2] for name in spelled)):
            parts = name.split("/")[-_MOST_PARTS:]
            for start in range(len(parts)):
                if ours := names.get("/".join(parts[start:])):
                    return ours
        return None


def served_model(entry: ModelEntry, aliases: Sequence[str]) -> ServedModel:
    """The model under its own name, the registry's other names and those of the settings."""
    return ServedModel(tuple(dict.fromkeys((entry.name, *entry.aliases, *aliases))), entry)


def quantization_of(storage: str, quantize: Quantization | None) -> str:
    """OpenRouter's word for weights of this storage type, or "unknown"."""
    if storage in ("f32", "f16", "bf16") and quantize is not None:
        return _ON_LOAD[quantize]
    return _QUANTIZATIONS.get(storage, "unknown")
