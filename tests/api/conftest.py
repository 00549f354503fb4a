"""A small model, and one server on it that tests share when they leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cierzo.backends.tensor import StorageType
from tests.api.live import Live, start
from tests.support.checkpoints import TinyModel, write_gguf


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with so much context that an answer need not end within a test."""
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    return write_gguf(path, TinyModel(max_position_embeddings=65_536), StorageType.Q8_0)


@pytest.fixture(scope="session")
def server(model: Path) -> Iterator[Live]:
    """For tests that leave nothing behind and do not mind others' requests."""
    with start(model, limits__request_seconds=2, engine__max_model_len=32_768) as live:
        yield live
