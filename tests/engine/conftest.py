"""One tiny model on disk for all tests of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.models import write_model


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file."""
    return write_model(tmp_path_factory.mktemp("model"))
