"""Every setting and limit of Cierzo, each declared once: default, bounds, and what it is for."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class EngineSettings:
    """What the engine process needs to know besides the model."""

    threads: int = 0  # 0: one a physical core
    max_model_len: int = 0  # 0: what the checkpoint says
    kv_cache_dtype: str = "f16"  # or "int8"
    kv_cache_memory_mb: int = 0  # 0: planned from what is free
    block_size: int = 32
    max_batch_tokens: int = 512
    max_batch_sequences: int = 64
    max_queue: int = 256
    quantize: str = ""  # "", "w8", "w4": for float checkpoints, on load


@dataclass(frozen=True)
class ServerSettings:
    """Where the server listens and how it ends."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    grace_seconds: float = 30.0
    watchdog_seconds: float = 20.0


@dataclass(frozen=True)
class Limits:
    """Upper bounds at the edge. A request beyond one is refused with a clear 4xx."""

    header_bytes: int = 65_536
    body_bytes: int = 33_554_432
    request_seconds: float = 30.0  # to send head and body
    json_depth: int = 64
    messages: int = 4_096
    tools: int = 128
    stop_strings: int = 4
    stop_string_chars: int = 256
    logit_bias_entries: int = 1_024
    top_logprobs: int = 20
    choices: int = 8
    prompts: int = 256


@dataclass(frozen=True)
class Settings:
    """Everything `cierzo config show` prints."""

    model: str = "smollm2-135m"
    engine: EngineSettings = field(default_factory=EngineSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    limits: Limits = field(default_factory=Limits)
