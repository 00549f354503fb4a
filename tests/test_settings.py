"""Settings: each source, which goes before which, and what is said of a value that will not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cierzo.settings import (
    Limits,
    Setting,
    Settings,
    SettingsError,
    config_files,
    declared,
    load_settings,
    value_of,
)

ALL = {s.key: s for s in declared()}


def load(
    flags: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
    *files: Path,
) -> tuple[Settings, dict[str, str]]:
    return load_settings(flags or {}, environment=environment or {}, files=files)


def write(folder: Path, text: str, name: str = "cierzo.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_defaults_hold_when_nothing_is_said() -> None:
    settings, origins = load()
    assert settings == Settings()
    assert set(origins.values()) == {"default"}
    assert origins.keys() == ALL.keys()


def test_a_flag_goes_before_a_variable_before_a_file(tmp_path: Path) -> None:
    near = write(tmp_path, "[engine]\nthreads = 2\nmax_queue = 2\nmax_batch_tokens = 2\n")
    far = write(tmp_path, 'model = "far"\n[engine]\nthreads = 1\n', "far.toml")
    settings, origins = load(
        {"threads": "4"}, {"CIERZO_THREADS": "3", "CIERZO_MAX_QUEUE": "3"}, near, far
    )
    assert settings.engine.threads == 4
    assert settings.engine.max_queue == 3
    assert settings.engine.max_batch_tokens == 2
    assert settings.model == "far"
    assert origins["engine.threads"] == "--threads"
    assert origins["engine.max_queue"] == "CIERZO_MAX_QUEUE"
    assert origins["engine.max_batch_tokens"] == str(near)
    assert origins["model"] == str(far)
    assert origins["server.port"] == "default"


def test_files_are_looked_for_here_and_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here, home = config_files()
    assert here == tmp_path / "cierzo.toml"
    assert home == tmp_path / "home" / ".config" / "cierzo" / "cierzo.toml"
    home.parent.mkdir(parents=True)
    home.write_text("[server]\nport = 7000\ngrace_seconds = 5\n")
    here.write_text("[server]\nport = 9000\n")
    settings, _ = load_settings({}, environment={})
    assert settings.server.port == 9000
    assert settings.server.grace_seconds == 5.0


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    settings, origins = load({"port": None}, {"CIERZO_PORT": "9"})
    assert settings.server.port == 9
    assert origins["server.port"] == "CIERZO_PORT"


def test_lists_are_written_with_commas_or_as_lists(tmp_path: Path) -> None:
    assert load({"api_keys": "one, two,"})[0].server.api_keys == ("one", "two")
    assert load({}, {"CIERZO_API_KEY": "one,two"})[0].server.api_keys == ("one", "two")
    assert load({"server.aliases": "a/b,c"})[0].server.aliases == ("a/b", "c")
    file = write(tmp_path, '[server]\napi_keys = ["one", "t,wo"]\n')
    assert load({}, {}, file)[0].server.api_keys == ("one", "t,wo")


def test_limits_have_variables_of_their_own() -> None:
    settings, _ = load({}, {"CIERZO_LIMITS_CHOICES": "2"})
    assert settings.limits.choices == 2
    assert settings.limits.body_bytes == Limits().body_bytes


@pytest.mark.parametrize(
    ("word", "value"),
    [("f16", "int16"), ("bfloat16", "int16"), ("auto", "int16"), ("q8_0", "int8"), ("fp8", "int8")],
)
def test_other_programs_words_for_the_cache_are_taken(word: str, value: str) -> None:
    assert load({"kv_cache_dtype": word}, {})[0].engine.kv_cache_dtype == value
    assert load({}, {"CIERZO_KV_CACHE_DTYPE": word})[0].engine.kv_cache_dtype == value


@pytest.mark.parametrize("name", ["CIERZO_CACHE", "CIERZO_ISA", "PATH"])
def test_other_variables_are_left_alone(name: str) -> None:
    assert load({}, {name: "something"})[0] == Settings()


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ({"port": "x"}, {}, "--port: server.port must be a whole number, 0 to 65,535, not 'x'"),
        (
            {"port": 70_000},
            {},
            "--port: server.port must be a whole number, 0 to 65,535, not 70000",
        ),
        ({"port": True}, {}, "not True"),
        ({"port": 1.5}, {}, "not 1.5"),
        ({"port": 10**400}, {}, "--port: server.port must be"),
        ({}, {"CIERZO_GRACE_SECONDS": "nan"}, "CIERZO_GRACE_SECONDS: server.grace_seconds must be"),
        ({}, {"CIERZO_GRACE_SECONDS": "inf"}, "a number, 0 to 3,600, not 'inf'"),
        ({}, {"CIERZO_KV_CACHE_DTYPE": "f8"}, "must be one of int16, int8, not 'f8'"),
        ({"host": ""}, {}, "server.host must be text of 1 to 253 characters, not ''"),
        ({}, {"CIERZO_THREAD": "2"}, "CIERZO_THREAD: there is no such variable"),
        ({"thread": 2}, {}, "there is no setting named 'thread'"),
        ({"allowed_hosts": ","}, {}, "server.allowed_hosts must be a list of 1 to 256 texts"),
    ],
)
def test_what_will_not_do_is_named_with_its_source(
    flags: dict[str, object], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(flags, environment)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engine]\nthreads = '2x'", "engine.threads must be a whole number, 0 to 1,024, not '2x'"),
        ("[engine]\nthread = 2", "there is no setting named engine.thread"),
        ("threads = 2", "there is no setting named threads"),
        ("engine = 2", "there is no setting named engine"),
        ("[motor]\nthreads = 2", "there is no setting named motor"),
        ("[engine\n", "not valid TOML"),
        ("model = '" + "x" * 5000 + "'", "model must be text of 1 to 4,096 characters"),
        ("# " + "x" * (1 << 20), "larger than"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load({}, {}, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_bytes_that_are_no_text_and_folders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cierzo.toml"
    path.write_bytes(b"model = '\xff'")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load({}, {}, path)
    with pytest.raises(SettingsError, match="cannot be read"):
        load({}, {}, tmp_path)


def test_a_secret_is_never_in_an_error() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"api_keys": ["key"] * 2000})
    assert "'key'" not in str(caught.value)


@pytest.mark.parametrize("setting", declared(), ids=lambda s: s.key)
def test_every_setting_has_bounds_that_its_default_keeps(setting: Setting) -> None:
    assert setting.low <= setting.high
    assert setting.parse(setting.default, "default") == setting.default
    assert setting.text
    assert setting.allowed


def test_an_empty_text_stands_for_none_where_there_may_be_none(tmp_path: Path) -> None:
    path = tmp_path / "cierzo.toml"
    path.write_text('[engine]\nquantize = ""\n[server]\napi_key_file = "keys"\n')
    settings, origins = load({"engine.quantize": None}, {"CIERZO_API_KEY_FILE": ""}, path)
    assert settings.engine.quantize is None
    assert settings.server.api_key_file is None
    assert origins["server.api_key_file"] == "CIERZO_API_KEY_FILE"


def test_variables_and_flags_are_unique() -> None:
    assert len({s.variable for s in declared()}) == len(ALL)
    flags = [s.flag for s in declared() if s.section != "limits"]
    assert len(set(flags)) == len(flags)


@given(key=st.sampled_from(sorted(ALL)), raw=st.text(max_size=40))
def test_any_text_gives_a_value_within_bounds_or_a_settings_error(key: str, raw: str) -> None:
    setting = ALL[key]
    try:
        value = value_of(load({}, {setting.variable: raw})[0], key)
    except SettingsError:
        return
    if value is None:
        assert setting.is_optional
        assert raw == ""
    elif setting.choices:
        assert value in setting.choices
    else:
        size = value if isinstance(value, int | float) else len(value)
        assert setting.low <= size <= setting.high
