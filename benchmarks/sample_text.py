"""The text that quality is measured on: code and prose that every Python installation carries.

Nothing is downloaded. Code is the source of standard-library modules, prose is the longer
docstrings of others. Two Python versions give slightly different text, so results name the version.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module

CODE_MODULES = ("bisect", "heapq", "textwrap", "shlex", "queue", "functools")
PROSE_MODULES = ("doctest", "decimal", "difflib", "fractions", "optparse", "argparse", "pdb", "ast")


def code_sample() -> str:
    """The joined source of `CODE_MODULES`."""
    return "\n\n".join(inspect.getsource(import_module(name)) for name in CODE_MODULES)


def prose_sample() -> str:
    """The longer docstrings of `PROSE_MODULES` that are not interpreter transcripts."""
    return "\n\n".join(
        text
        for name in PROSE_MODULES
        for text in _docstrings(inspect.getsource(import_module(name)))
    )


def _docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) > 400 and not re.search(r"^\s*>>> ", text, re.MULTILINE):
                yield text
