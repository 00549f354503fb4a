"""Other programs' words for values of our settings, as people bring them along."""

from __future__ import annotations

from collections.abc import Mapping

# By a setting's key. vLLM, llama.cpp, SGLang: so many bits are what is meant by these.
_WORDS: Mapping[str, Mapping[str, str]] = {
    "engine.kv_cache_dtype": {
        **dict.fromkeys(("auto", "f16", "fp16", "float16", "bf16", "bfloat16", "i16"), "int16"),
        **dict.fromkeys(("q8_0", "i8", "fp8", "fp8_e4m3", "fp8_e5m2"), "int8"),
    }
}


def meant(key: str, raw: object) -> object:
    """What a value given for a setting stands for: mostly itself."""
    return _WORDS.get(key, {}).get(raw, raw) if isinstance(raw, str) else raw
