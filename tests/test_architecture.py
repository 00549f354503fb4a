"""The house rules that a machine can check: who may import whom, and how large things may be."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from cierzo.settings import declared

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "cierzo"
NATIVE = ROOT / "native"

# Top to bottom. A module imports from its own room or from rooms below it.
ROOMS = (
    "cli",
    "llm",
    "api",
    "generate",
    "chat",
    "engine",
    "grammar",
    "model",
    "backends",
    "settings",
    "spellings",
    "log",
)
# The chat room reads what a checkpoint says of its tokenizer, never tensors or devices; it stands
# beside the engine, so neither knows the other.
APART = {
    ("chat", "engine"),
    ("chat", "backends"),
    ("api", "backends"),
    ("generate", "backends"),
}
# What the folders within a room must not import: they lie beneath the others, or beside them.
FOLDERS_APART = {
    "api.http": ("api.openai", "api.service", "generate", "chat", "engine"),
    "api.openai.wire": ("api.openai.reading", "api.service", "api.served_model", "generate"),
    "chat.tokenizers": ("chat.templates", "chat.calls", "chat.answers", "chat.tools"),
    "chat.calls": ("chat.templates", "chat.answers"),
    "chat.answers": ("chat.templates",),
    "engine.cache": ("engine.scheduling", "engine.constraints", "engine.process", "engine.loading"),
    "engine.drafts": (
        "engine.scheduling",
        "engine.constraints",
        "engine.process",
        "engine.cache.kv_cache",
    ),
    "engine.scheduling": ("engine.constraints", "engine.process", "engine.loading"),
    "engine.constraints": ("engine.scheduling", "engine.process", "engine.loading"),
    "engine.loading": ("engine.process",),
    "grammar.pattern": ("grammar.schema",),
    "grammar.schema.subset": ("grammar.schema.rewrite",),
    "grammar.schema.rewrite": ("grammar.schema.subset",),
    "model.readers": ("model.fetch",),
}
NATIVE_FLOORS = ("bindings", "runtime", "kernels", "simd")  # top to bottom
LONGEST_FILE = 400  # lines; the aim is 60 to 300
MOST_FILES = 17  # in a folder

MODULES = sorted(PACKAGE.rglob("*.py"))
HEADERS_AND_SOURCES = sorted(path for path in NATIVE.rglob("*.*") if path.suffix in (".h", ".cpp"))


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it; of a package, the modules or names in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            module = node.module or ""
            names = [f"{module}.{name.name}" for name in node.names]
            yield from (name if _exists(name) or module == "cierzo" else module for name in names)


def _exists(module: str) -> bool:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def _circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of nodes that each lead to all others of the group, by Tarjan's algorithm."""
    numbers: dict[str, int] = {}
    lows: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    count = itertools.count()

    def visit(node: str) -> None:
        numbers[node] = lows[node] = next(count)
        stack.append(node)
        for after in arrows.get(node, ()):
            if after not in numbers:
                visit(after)
                lows[node] = min(lows[node], lows[after])
            elif after in stack:
                lows[node] = min(lows[node], numbers[after])
        if lows[node] == numbers[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in arrows:
        if node not in numbers:
            visit(node)
    return found


@pytest.mark.parametrize("path", MODULES, ids=_module_name)
def test_imports_go_downwards(path: Path) -> None:
    room = _room(_module_name(path))
    if not room:
        return  # the package itself hands out LLM on request
    allowed = set(ROOMS[ROOMS.index(room) :]) - {low for high, low in APART if high == room}
    for imported in _imports(path):
        if not imported.startswith("cierzo.") or imported in (
            "cierzo._native",
            "cierzo.__version__",
        ):
            continue
        assert _room(imported) in allowed, f"{room} imports {imported}"


@pytest.mark.parametrize("folder", FOLDERS_APART)
def test_folders_within_a_room_keep_apart(folder: str) -> None:
    assert (PACKAGE / folder.replace(".", "/")).is_dir()
    for path in MODULES:
        name = _module_name(path)
        if not f"{name}.".startswith(f"cierzo.{folder}."):
            continue
        for imported, other in itertools.product(_imports(path), FOLDERS_APART[folder]):
            inside = f"{imported}.".startswith(f"cierzo.{other}.")
            assert not inside, f"{name} imports {imported}"


def test_no_imports_go_in_circles() -> None:
    """Imports within functions and for types alone count, too."""
    modules = {_module_name(path) for path in MODULES} - {"cierzo"}
    arrows = {
        _module_name(path): sorted(set(_imports(path)) & modules - {_module_name(path)})
        for path in MODULES
    }
    assert _circles(arrows) == []


def test_a_circle_would_be_found() -> None:
    assert _circles({"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": []}) == [["a", "b", "c"]]


@pytest.mark.parametrize("path", MODULES, ids=_module_name)
def test_only_backends_sampler_and_drafts_touch_native_code(path: Path) -> None:
    if "cierzo._native" in set(_imports(path)):
        name = _module_name(path)
        rooms = ("cierzo.backends.cpu.", "cierzo.engine.drafts.")
        assert name.startswith(rooms) or name == "cierzo.engine.sampler"


@pytest.mark.parametrize("path", MODULES, ids=_module_name)
def test_files_are_short_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    assert ast.get_docstring(ast.parse(text)), "a file begins with what it is for"


def test_folders_hold_one_idea() -> None:
    folders = {path.parent for path in MODULES}
    crowded = {str(folder): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: count for name, count in crowded.items() if count > MOST_FILES} == {}


@pytest.mark.parametrize("path", HEADERS_AND_SOURCES, ids=lambda p: str(p.relative_to(NATIVE)))
def test_native_code_includes_downwards(path: Path) -> None:
    floor = path.relative_to(NATIVE).parts[0]
    allowed = NATIVE_FLOORS[NATIVE_FLOORS.index(floor) :]
    included = re.findall(r'#include "([^"]+)"', path.read_text())
    assert [name for name in included if name.split("/")[0] not in allowed] == []
    assert path.suffix == ".cpp" or "#pragma once" in path.read_text()


def test_native_headers_do_not_include_each_other_in_circles() -> None:
    arrows = {
        str(path.relative_to(NATIVE)): re.findall(r'#include "([^"]+)"', path.read_text())
        for path in HEADERS_AND_SOURCES
    }
    assert _circles(arrows) == []


def test_every_setting_is_used() -> None:
    code = "\n".join(path.read_text() for path in MODULES if path.name != "settings.py")
    unused = [s.key for s in declared() if not re.search(rf"\.{s.name}\b", code)]
    assert unused == []


def test_the_command_line_starts_without_heavy_imports() -> None:
    """What takes long to import is imported by the commands that need it."""
    heavy = {"numpy", "starlette", "uvicorn", "rich", "tokenizers", "mistral_common", "torch"}
    script = "import sys, cierzo.cli.main; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert heavy.isdisjoint(done.stdout.split())


def test_the_package_needs_no_other_engine() -> None:
    """No PyTorch, TensorFlow or llama.cpp anywhere in the package."""
    for path in MODULES:
        imported = {name.split(".")[0] for name in _imports(path)}
        assert imported.isdisjoint({"torch", "tensorflow", "transformers", "llama_cpp"})
