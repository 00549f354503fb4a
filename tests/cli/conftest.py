"""A small random model for the commands that run one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cierzo.backends.tensor import StorageType
from tests.support.checkpoints import TinyModel, write_gguf


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its context is so long that an answer does not end within a test."""
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    return write_gguf(path, TinyModel(max_position_embeddings=65_536), StorageType.Q8_0)
