"""One server for all clients; those that are not installed are left out, and their warnings are.

`make test-clients` installs them all, in an environment of their own.
"""

from __future__ import annotations

import gc
import importlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cierzo.backends.tensor import StorageType
from tests.api.live import Live, start
from tests.support.checkpoints import TinyModel, write_gguf

HERE = Path(__file__).parent
PACKAGES = {
    "test_ai_sdk.py": "litellm",
    "test_aider.py": "litellm",
    "test_examples.py": "pydantic_ai",
    "test_instructor.py": "instructor",
    "test_langchain.py": "langchain_openai",
    "test_langchain_openrouter.py": "langchain_openai",
    "test_litellm.py": "litellm",
    "test_litellm_proxy.py": "litellm",
    "test_llm.py": "llm",
    "test_lm_eval.py": "lm_eval",
    "test_openai.py": "openai",
    "test_openrouter.py": "openrouter",
    "test_pydantic_ai.py": "pydantic_ai",
}
# litellm fetches a table of prices when it is imported, unless told that its own will do.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


def _is_installed(package: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            if error.name == package:
                return False
            raise
    return True


collect_ignore = [file for file, package in PACKAGES.items() if not _is_installed(package)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What other people's packages warn of is no error here."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="package", autouse=True)
def _sockets_left_open() -> Iterator[None]:
    """Clients that never close theirs are collected here, where that is no error."""
    yield
    for _ in range(3):  # what one round frees may free more
        gc.collect()


@pytest.fixture(scope="session")
def server(default_model: Path) -> Iterator[Live]:
    """On the default model, which answers with sense."""
    with start(default_model, engine__kv_cache_memory_mb=512, engine__threads=2) as live:
        yield live


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose answers are noise, with much context and little work."""
    path = tmp_path_factory.mktemp("clients") / "tiny.gguf"
    model = TinyModel(
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=65_536,
    )
    return write_gguf(path, model, StorageType.Q8_0)


@pytest.fixture(scope="session")
def guarded(random_model: Path) -> Iterator[Live]:
    """Asks for a key, and has a short context."""
    with start(random_model, server__api_keys=("the-key",), engine__max_model_len=512) as live:
        yield live
