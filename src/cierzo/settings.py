"""Every setting and limit of Cierzo, each declared once: default, bounds, and what it is for.

A value comes from the first of: a flag, a CIERZO_* variable, `cierzo.toml` in the working
directory, `~/.config/cierzo/cierzo.toml`, the default below. The command line, `cierzo config show`
and the documentation are made from these declarations.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, get_args

from cierzo.spellings import meant

Value = int | float | str | tuple[str, ...] | None
T = TypeVar("T", bound=Value)

CacheDtype: TypeAlias = Literal["int16", "int8"]  # numbers of the KV cache
Quantization: TypeAlias = Literal["w8", "w4"]  # bits of float weights, quantized on load

CONFIG_NAME = "cierzo.toml"
CONFIG_BYTES = 1 << 20  # a configuration file larger than this is not one
PREFIX = "CIERZO_"
# Variables of Cierzo that are read where they are used, because they must hold before settings do.
OTHER_VARIABLES = {
    "CIERZO_CACHE": "folder for downloaded models and the cache on disk (default: ~/.cache/cierzo)",
    "CIERZO_ISA": (
        "instruction set to use: portable; avx2, avxvnni, avx512 or amx on x86-64; dotprod or i8mm "
        "on ARM (default: the best)"
    ),
}


class SettingsError(ValueError):
    """A setting that cannot be used. Its text is one line: source, key, and what is allowed."""


def _setting(
    default: T,
    text: str,
    low: float,
    high: float,
    *,
    choices: tuple[str, ...] = (),
    secret: bool = False,
    single: str | None = None,
) -> T:
    """Declares a field. Bounds are of the value, or of the length of a text or list.

    A default of None is that of a text that there need not be; an empty one stands for it.
    `single` is what the option and the variable of a list are called, which name one at a time.
    """
    return field(
        default=default,
        metadata={
            "default": default,
            "text": text,
            "low": low,
            "high": high,
            "choices": choices,
            "secret": secret,
            "single": single,
        },
    )


def _choice(default: T, text: str, choices: tuple[str, ...]) -> T:
    """Declares a field that is one of a few texts; the length of a text is not looked at."""
    return _setting(default, text, 0, 0, choices=choices)


@dataclass(frozen=True)
class EngineSettings:
    """What the engine process needs to know besides the model."""

    threads: int = _setting(0, "worker threads; 0: one a fast core, within quotas", 0, 1024)
    max_model_len: int = _setting(
        0, "longest context in tokens; 0: what the checkpoint says", 0, 16_777_216
    )
    kv_cache_dtype: CacheDtype = _choice(  # noqa: RUF009
        "int16", "KV cache numbers", get_args(CacheDtype)
    )
    kv_cache_memory_mb: int = _setting(
        0, "memory for the KV cache in MiB; 0: planned from what is free", 0, 16_777_216
    )
    prefix_cache: str = _choice("on", "keep what is computed for later requests", ("on", "off"))
    drafts: str = _choice("on", "try several likely tokens a step", ("on", "off"))
    kv_cache_disk_gb: float = _setting(
        20.0, "disk for the KV cache in GB, of all models together; 0: none", 0, 1_048_576
    )
    kv_cache_dir: str | None = _setting(None, "disk cache folder; empty: in CIERZO_CACHE", 1, 4_096)
    max_batch_tokens: int = _setting(512, "tokens computed in one step", 1, 16_384)
    max_batch_sequences: int = _setting(
        64, "requests computed in one step; an eighth of the places is for short ones", 1, 1_024
    )
    max_queue: int = _setting(256, "requests that may wait; more are told to retry", 1, 65_536)
    quantize: Quantization | None = _choice(  # noqa: RUF009
        None, "quantize float weights on load; empty: keep them", get_args(Quantization)
    )


@dataclass(frozen=True)
class ServerSettings:
    """Where the server listens and how it ends."""

    host: str = _setting("127.0.0.1", "address to listen on", 1, 253)
    port: int = _setting(8000, "port to listen on; 0: any that is free", 0, 65_535)
    api_keys: tuple[str, ...] = _setting(
        (),
        "keys that clients must send one of; none: no key is asked for",
        0,
        1_024,
        secret=True,
        single="api_key",
    )
    api_key_file: str | None = _setting(
        None, "file with more keys, one a line; empty: none", 1, 4_096
    )
    cache_sharing: str = _choice(
        "key",
        "who finds in the cache what others computed: requests with the same key, or all",
        ("key", "all"),
    )
    warm: str | None = _setting(
        None, "file of chat requests, one a line, to read into the cache at start", 1, 4_096
    )
    aliases: tuple[str, ...] = _setting(
        (), "other names for the model, besides its own", 0, 64, single="alias"
    )
    allowed_hosts: tuple[str, ...] = _setting(
        ("localhost", "127.0.0.1", "::1"), "Host headers that are answered", 1, 256
    )
    grace_seconds: float = _setting(
        30.0, "time that running requests have to finish at shutdown", 0, 3_600
    )
    watchdog_seconds: float = _setting(
        20.0, "silence of the engine process after which it is restarted", 1, 3_600
    )
    log_level: str = _choice(
        "info",
        "what the log on stderr tells: info has a line for each request",
        ("info", "warning", "error"),
    )
    log_format: str = _choice(
        "text", "lines of the log: for people, or JSON objects", ("text", "json")
    )


@dataclass(frozen=True)
class Limits:
    """Upper bounds at the edge. A request beyond one is refused with a clear 4xx."""

    header_bytes: int = _setting(65_536, "request line and headers together", 1_024, 1_048_576)
    body_bytes: int = _setting(8_388_608, "request body", 1_024, 1_073_741_824)
    request_seconds: float = _setting(30.0, "time to send head and body", 1, 3_600)
    json_depth: int = _setting(64, "nesting of a JSON body", 4, 512)
    messages: int = _setting(4_096, "messages in a request", 1, 1_048_576)
    tools: int = _setting(128, "tools in a request", 0, 4_096)
    schema_bytes: int = _setting(
        1_000_000, "JSON of tools, or of response_format, in a request", 1_024, 33_554_432
    )
    schema_values: int = _setting(60_000, "values in a JSON schema", 16, 1_048_576)
    schema_depth: int = _setting(64, "nesting of a JSON schema", 4, 256)
    schema_enum: int = _setting(10_000, "values in one enum", 1, 65_536)
    schema_names: int = _setting(2_000, "properties, or definitions, in one place", 1, 65_536)
    pattern_chars: int = _setting(20_000, "length of a pattern", 1, 65_536)
    stop_strings: int = _setting(32, "stop strings in a request", 0, 256)
    stop_string_chars: int = _setting(256, "length of a stop string", 1, 65_536)
    logit_bias_entries: int = _setting(1_024, "tokens in logit_bias", 0, 131_072)
    top_logprobs: int = _setting(20, "alternatives reported for each token", 0, 20)
    choices: int = _setting(8, "choices (n) in a request", 1, 128)
    prompts: int = _setting(256, "prompts in a completions request", 1, 65_536)
    detokenize: int = _setting(1_048_576, "tokens to be put into text", 1, 16_777_216)


@dataclass(frozen=True)
class Settings:
    """Everything `cierzo config show` prints."""

    model: str = _setting("smollm2-135m", "short name, hub repository or local path", 1, 4_096)
    engine: EngineSettings = field(default_factory=EngineSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Setting:
    """One declared setting: where it stands, what it may be, and how each source names it."""

    section: str  # "" for the top level
    name: str
    default: Value
    text: str
    low: float
    high: float
    choices: tuple[str, ...]
    secret: bool
    single: str | None

    @property
    def is_optional(self) -> bool:
        """Whether it may be None, which an empty text stands for."""
        return self.default is None

    @property
    def key(self) -> str:
        """Its name in `cierzo.toml` and in messages, such as `engine.threads`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        """Its environment variable. Limits say so; the other names are unique without a section."""
        name = f"limits_{self.name}" if self.section == "limits" else self.single or self.name
        return PREFIX + name.upper()

    @property
    def flag(self) -> str:
        """Its command-line option."""
        return "--" + (self.single or self.name).replace("_", "-")

    @property
    def allowed(self) -> str:
        """What it may be, for people."""
        or_none = ', or "" for none' if self.is_optional else ""
        if self.choices:
            return f"one of {', '.join(self.choices)}{or_none}"
        between = f"{self.low:g}" if self.low == self.high else f"{self.low:,g} to {self.high:,.0f}"
        if isinstance(self.default, int):
            return f"a whole number, {between}"
        if isinstance(self.default, float):
            return f"a number, {between}"
        if isinstance(self.default, tuple):
            return f"a list of {between} texts"
        return f"text of {between} characters{or_none}"

    def parse(self, raw: object, source: str) -> Value:
        """The value of `raw`, which is typed (from toml or a flag) or text (from a variable)."""
        if self.is_optional and raw in (None, ""):
            return None
        value = self._convert(meant(self.key, raw))
        if not self._fits(value):
            shown = "the given value" if self.secret else repr(raw)[:80]
            raise SettingsError(f"{source}: {self.key} must be {self.allowed}, not {shown}")
        return value

    def _convert(self, raw: object) -> Value:
        """`raw` as this setting's type; None if it is not of it."""
        if isinstance(self.default, tuple):
            return _as_list(raw)
        if self.is_optional or isinstance(self.default, str):
            return raw if isinstance(raw, str) else None
        kind = float if isinstance(self.default, float) else int
        if isinstance(raw, str):
            try:
                return kind(raw)
            except ValueError:
                return None
        if isinstance(raw, int) and not isinstance(raw, bool):
            return raw
        return raw if kind is float and isinstance(raw, float) else None

    def _fits(self, value: Value) -> bool:
        if value is None or self.choices:
            return value in self.choices
        size = value if isinstance(value, int | float) else len(value)
        return self.low <= size <= self.high  # false for a NaN


def _as_list(raw: object) -> tuple[str, ...] | None:
    """A list of texts, which a variable or a flag writes with commas; None if it is not one."""
    if isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if isinstance(raw, list | tuple) and all(isinstance(part, str) for part in raw):
        return tuple(raw)
    return None


_SECTIONS: tuple[tuple[str, type], ...] = (
    ("", Settings),
    ("engine", EngineSettings),
    ("server", ServerSettings),
    ("limits", Limits),
)


def declared() -> tuple[Setting, ...]:
    """All settings, in the order of their declaration."""
    return tuple(
        Setting(section=section, name=item.name, **item.metadata)
        for section, owner in _SECTIONS
        for item in dataclasses.fields(owner)
        if item.metadata
    )


def value_of(settings: Settings, key: str) -> Value:
    """The value of the setting of that key."""
    section, _, name = key.rpartition(".")
    value: Value = getattr(getattr(settings, section) if section else settings, name)
    return value


def config_files() -> tuple[Path, ...]:
    """Where `cierzo.toml` is looked for, the more important first."""
    return (Path.cwd() / CONFIG_NAME, Path.home() / ".config" / "cierzo" / CONFIG_NAME)


def load_settings(
    flags: Mapping[str, object],
    *,
    environment: Mapping[str, str] | None = None,
    files: tuple[Path, ...] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Settings, and for each key where its value comes from.

    `flags` maps a setting's key (`engine.threads`) or bare name (`threads`, except limits) to a
    value; None means that the flag was not given. Raises SettingsError for what cannot be used.
    """
    declarations = declared()
    by_flag = {s.key: s for s in declarations} | {
        s.name: s for s in declarations if s.section != "limits"
    }
    values: dict[str, Value] = {s.key: s.default for s in declarations}
    origins = {s.key: "default" for s in declarations}

    for path in reversed(config_files() if files is None else files):
        for setting, raw in _read_file(path, declarations):
            values[setting.key] = setting.parse(raw, str(path))
            origins[setting.key] = str(path)
    for setting, raw in _read_environment(os.environ if environment is None else environment):
        values[setting.key] = setting.parse(raw, setting.variable)
        origins[setting.key] = setting.variable
    for name, raw in flags.items():
        if name not in by_flag:
            raise SettingsError(f"there is no setting named {name!r}; see `cierzo config show`")
        if raw is not None:
            setting = by_flag[name]
            values[setting.key] = setting.parse(raw, setting.flag)
            origins[setting.key] = setting.flag
    return _build(values), origins


def _build(values: Mapping[str, Value]) -> Settings:
    """Puts values, all of them checked, into their dataclasses."""
    sections = {
        section: owner(**{s.name: values[s.key] for s in declared() if s.section == section})
        for section, owner in _SECTIONS
        if section
    }
    return Settings(model=str(values["model"]), **sections)


def _read_environment(environment: Mapping[str, str]) -> list[tuple[Setting, object]]:
    by_variable = {s.variable: s for s in declared()}
    values: list[tuple[Setting, object]] = []
    for name, raw in environment.items():
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        if name not in by_variable:
            raise SettingsError(
                f"{name}: there is no such variable; `cierzo config show` lists them all"
            )
        values.append((by_variable[name], raw))
    return values


def _read_file(path: Path, declarations: tuple[Setting, ...]) -> list[tuple[Setting, object]]:
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > CONFIG_BYTES:
        raise SettingsError(f"{path}: larger than {CONFIG_BYTES:,} bytes; this is no {CONFIG_NAME}")
    try:
        table = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error

    sections = {section for section, _ in _SECTIONS if section}
    flat: dict[str, object] = {}
    for name, value in table.items():
        if name in sections and isinstance(value, dict):
            flat.update({f"{name}.{inner}": raw for inner, raw in value.items()})
        else:
            flat[name] = value
    by_key = {s.key: s for s in declarations}
    for key in flat:
        if key not in by_key:
            raise SettingsError(
                f"{path}: there is no setting named {key}; `cierzo config show` lists them all"
            )
    return [(by_key[key], raw) for key, raw in flat.items()]
