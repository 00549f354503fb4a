"""The house rules that a machine can check: who may import whom, and how large a file may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cierzo.settings import declared

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "cierzo"

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
    "log",
)
# The chat room reads what a checkpoint says of its tokenizer, never tensors or devices; it stands
# beside the engine, so neither knows the other.
APART = {("chat", "engine"), ("chat", "backends"), ("api", "backends"), ("generate", "backends")}
LONGEST_FILE = 400  # lines; the aim is 60 to 300

MODULES = sorted(PACKAGE.rglob("*.py"))


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            module = node.module or ""
            names = (f"{module}.{name.name}" for name in node.names)
            yield from names if module == "cierzo" else (module,)


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


@pytest.mark.parametrize("path", MODULES, ids=_module_name)
def test_only_backends_and_the_sampler_touch_native_code(path: Path) -> None:
    if "cierzo._native" in set(_imports(path)):
        name = _module_name(path)
        assert name.startswith("cierzo.backends.cpu.") or name == "cierzo.engine.sampler"


@pytest.mark.parametrize("path", MODULES, ids=_module_name)
def test_files_are_short_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    assert ast.get_docstring(ast.parse(text)), "a file begins with what it is for"


def test_every_setting_is_used() -> None:
    code = "\n".join(path.read_text() for path in MODULES if path.name != "settings.py")
    unused = [s.key for s in declared() if not re.search(rf"\.{s.name}\b", code)]
    assert unused == []


def test_the_command_line_starts_without_heavy_imports() -> None:
    """What takes long to import is imported by the commands that need it."""
    heavy = {
        "numpy",
        "starlette",
        "uvicorn",
        "rich",
        "tokenizers",
        "mistral_common",
        "torch",
        "gguf",
    }
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
