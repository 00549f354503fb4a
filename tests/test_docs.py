"""The documents against the code: commands, options, settings and links that they name exist.

python -m tests.test_docs    writes the tables in docs/configuration.md anew
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from cierzo.cli.options import default_text
from cierzo.model.fetch.registry import find_entry, registry
from cierzo.settings import OTHER_VARIABLES, PREFIX, declared
from tests.cli.describe import options

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "cierzo"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
CONFIGURATION = ROOT / "docs" / "configuration.md"
_BEGIN = "<!-- made by `python -m tests.test_docs` -->"
_END = "<!-- end -->"

OPTIONS = options()
# Options of other programs that the documents show.
OTHER_OPTIONS = {"-H", "-d", "-k", "-m", "-x", "--randomly-seed"}  # curl's, Python's, pytest's


def settings_tables() -> str:
    """A table for each section, as Markdown."""
    lines: list[str] = []
    section = None
    for setting in declared():
        if setting.section != section:
            section = setting.section
            title = f"`[{section}]`" if section else "Top level"
            lines += ["", f"### {title}", "", "| key | default | allowed | what | variable |"]
            lines += ["|---|---|---|---|---|"]
        cells = (
            f"`{setting.name}`",
            default_text(setting.default),
            setting.allowed,
            setting.text,
            f"`{setting.variable}`",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "### Environment only", "", "| variable | what |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in OTHER_VARIABLES.items()]
    return "\n".join(lines).strip()


def _between(text: str) -> tuple[str, str, str]:
    before, _, rest = text.partition(_BEGIN)
    table, _, after = rest.partition(_END)
    return before, table.strip(), after


def test_the_settings_are_documented() -> None:
    assert _between(CONFIGURATION.read_text())[1] == settings_tables()


def test_the_example_file_is_one(tmp_path: Path) -> None:
    from cierzo.settings import load_settings

    (block,) = re.findall(r"```toml\n(.*?)```", CONFIGURATION.read_text(), re.DOTALL)
    assert tomllib.loads(block)
    file = tmp_path / "cierzo.toml"
    file.write_text(block)
    _, origins = load_settings({}, environment={}, files=(file,))
    assert str(file) in origins.values()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_options_exist(page: Path) -> None:
    known = set().union(*OPTIONS.values()) | OTHER_OPTIONS
    text = page.read_text()
    shown = re.findall(r"(?<![\w-])(--[a-z][a-z-]+|-[a-zA-Z])(?![\w-])", _code(text))
    assert set(shown) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_commands_exist(page: Path) -> None:
    for line in _code(page.read_text()).splitlines():
        match = re.match(r"(?:\$ )?cierzo ((?:[a-z]+ ?)+)", line)
        if not match:
            continue
        words = match[1].split()
        names = [f"cierzo {words[0]}", f"cierzo {' '.join(words[:2])}"]
        found = [name for name in names if name in OPTIONS]
        assert found, line
        command = found[-1]
        given = set(re.findall(r"(?<!\S)--[a-z-]+", line.partition("#")[0]))
        assert given <= OPTIONS[command], line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_variables_exist(page: Path) -> None:
    known = {s.variable for s in declared()} | set(OTHER_VARIABLES)
    assert set(re.findall(rf"\b{PREFIX}[A-Z][A-Z_]+\b", page.read_text())) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page",  # clients.md names the clients' own files
    [*(p for p in PAGES if p.stem != "clients"), ROOT / "tests" / "README.md"],
    ids=lambda p: p.stem,
)
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths as they stand, or from the package, from native/, or from a room of the package."""
    roots = [ROOT, PACKAGE, ROOT / "native", ROOT / "tests", *PACKAGE.iterdir()]
    roots += [*(PACKAGE / "engine").iterdir(), PACKAGE / "api" / "openai"]
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for named in re.findall(r"`((?:[\w.-]+/)+[\w.*-]+\.(?:py|h|cpp|md|toml))[`:]", text):
        assert any(list(root.glob(named)) for root in roots if root.is_dir()), named


# The architecture shows seams, in a shorthand that is no Python.
@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.stem != "architecture"], ids=lambda p: p.stem
)
def test_python_examples_are_python(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(block)


def test_short_names_are_the_registry_s() -> None:
    text = (ROOT / "docs" / "models.md").read_text()
    for entry in registry():
        assert f"| `{entry.name}` |" in text
        for quant in entry.hub.quants if entry.hub else ():
            assert f":{quant}`" in text
    for name in re.findall(r"`((?:smollm2|devstral)[a-z0-9-]*(?::\w+)?)`", text):
        assert find_entry(name)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"^make ([a-z-]+)", _code(page.read_text()), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_page_is_in_the_site() -> None:
    listed = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {page.name for page in DOCS}


def _code(text: str) -> str:
    """Fenced blocks that a shell reads, and what stands between backticks."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL)
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", outside)])


if __name__ == "__main__":
    before, _, after = _between(CONFIGURATION.read_text())
    CONFIGURATION.write_text(f"{before}{_BEGIN}\n\n{settings_tables()}\n\n{_END}{after}")
