"""Puts the native module named by SANITIZED_NATIVE in the place of Cierzo's own.

Python imports a file of this name at start where it finds one, so with this folder on PYTHONPATH it
also holds in the processes that tests start. See `make sanitize`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType


class _Sanitized:
    """Finds one module."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "cierzo._native":
            return spec_from_file_location(name, os.environ["SANITIZED_NATIVE"])
        return None


sys.meta_path.insert(0, _Sanitized)
