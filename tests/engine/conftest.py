"""One tiny model on disk for all tests of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.models import write_model
from tests.support.checkpoints import TinyModel, write_gguf


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file."""
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose context is long enough for an answer to be interrupted."""
    path = tmp_path_factory.mktemp("model") / "long.gguf"
    write_gguf(path, TinyModel(max_position_embeddings=65_536))
    return path
