"""Downloads against a hub of the test's own: what is asked for, resumed, reused and refused.

huggingface_hub reads its variables once, when it is imported, so each download runs in a process
of its own, as a user's would.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cierzo.model.errors import ModelError
from cierzo.model.fetch.hub import select_gguf, select_weights
from cierzo.model.readers.checkpoint import open_checkpoint
from tests.support.checkpoints import tekken_model, write_gguf, write_hf, write_mistral
from tests.support.hub_server import Hub, serve_hub

REPO = "someone/tiny"
DEVSTRAL = "mistralai/Devstral-Small-2507"
_CODE = """
import json, sys
from cierzo.model.errors import ModelError
from cierzo.model.fetch.registry import resolve
told = []
try:
    model = resolve(sys.argv[1], lambda *t: told.append(t), refresh=len(sys.argv) > 2)
except ModelError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({"path": str(model.path), "name": model.name, "told": told,
                      "tokenizer": str(model.tokenizer or "")}))
"""


@dataclass
class Answer:
    """What `resolve` gave in a process of its own."""

    error: str = ""
    path: Path = Path()
    name: str = ""
    told: list[tuple[str, int, int]] | None = None
    tokenizer: str = ""


class Machine:
    """A user's machine with its own cache, pointed at the hub."""

    def __init__(self, home: Path, url: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        self.environment = kept | {
            "HF_HOME": str(home),
            "HF_ENDPOINT": url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
            "NO_PROXY": "127.0.0.1",
        }

    def blobs(self, repo: str) -> Path:
        """Where huggingface_hub keeps the files of a repository."""
        folder = f"models--{repo.replace('/', '--')}"
        return Path(self.environment["HF_HOME"]) / "hub" / folder / "blobs"

    def start(
        self, name: str, *, refresh: bool = False, **environment: str
    ) -> subprocess.Popen[str]:
        """A process that resolves `name` and prints what came of it."""
        return subprocess.Popen(
            [sys.executable, "-c", _CODE, name, *(["refresh"] if refresh else [])],
            env=self.environment | environment,
            cwd=self.environment["HF_HOME"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def resolve(self, name: str, *, refresh: bool = False, **environment: str) -> Answer:
        process = self.start(name, refresh=refresh, **environment)
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        answer = json.loads(output)
        if "path" in answer:
            answer["path"] = Path(answer["path"])
            answer["told"] = [tuple(told) for told in answer["told"]]
        return Answer(**answer)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Repositories as on the hub: one with both layouts, as Devstral's, and one of GGUF files."""
    model = tekken_model()
    main = write_mistral(tmp_path_factory.mktemp("main"), model)
    write_hf(main, model, shards=2, tokenizer="tekken")
    (main / "README.md").write_text("# Tiny")
    (main / "pytorch_model.bin").write_bytes(b"pickle")
    gguf = tmp_path_factory.mktemp("gguf")
    for quant in ("Q4_K_M", "Q8_0"):
        write_gguf(gguf / f"Devstral-Small-2507-{quant}.gguf", model, tokenizer="tekken")
    return {
        name: {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
        for name, folder in {"main": main, "gguf": gguf}.items()
    }


@pytest.fixture
def hub(contents: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    repos = {
        REPO: dict(contents["main"]),
        DEVSTRAL: dict(contents["main"]),
        f"{DEVSTRAL}_gguf": dict(contents["gguf"]),
    }
    with serve_hub(Hub(repos)) as hub:
        yield hub


@pytest.fixture
def machine(hub: Hub, tmp_path: Path) -> Machine:
    return Machine(tmp_path, hub.url)


NEEDED = {
    "config.json",
    "generation_config.json",
    "params.json",
    "tekken.json",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
}


def test_a_repository_is_fetched_without_what_is_not_needed(hub: Hub, machine: Machine) -> None:
    answer = machine.resolve(REPO)
    assert set(hub.downloads()) == NEEDED
    assert answer.name == REPO
    assert open_checkpoint(answer.path).format == "safetensors"
    assert answer.told
    total = sum(len(hub.repos[REPO][name]) for name in NEEDED)
    assert answer.told[-1] == (REPO, total, total)


def test_a_second_start_asks_the_network_nothing(hub: Hub, machine: Machine) -> None:
    first = machine.resolve(REPO)
    hub.requests.clear()
    second = machine.resolve(REPO)
    assert second.path == first.path
    assert hub.requests == []
    hub.broken = 503
    assert machine.resolve(REPO).path == first.path
    assert machine.resolve(REPO, HF_HUB_OFFLINE="1", refresh=True).path == first.path


def test_refresh_takes_a_newer_version(hub: Hub, machine: Machine) -> None:
    first = machine.resolve(REPO)
    hub.commit = "f" * 40
    hub.repos[REPO]["generation_config.json"] = b'{"eos_token_id": [2, 5]}'
    hub.requests.clear()
    newer = machine.resolve(REPO, refresh=True)
    assert newer.path != first.path
    assert hub.downloads() == ["generation_config.json"]
    assert open_checkpoint(newer.path).tokenizer.eos_token_ids == (2, 5)


LARGE = "model.safetensors"
PIECE = 10 << 20  # what huggingface_hub writes at once
CONTENT = bytes(range(256)) * 45_000


@pytest.fixture
def large(hub: Hub) -> Hub:
    """A repository with a file of more than one piece."""
    hub.repos[REPO] = {"config.json": b"{}", "tekken.json": b"{} ", LARGE: CONTENT}
    return hub


def ranges(hub: Hub) -> list[str | None]:
    """The ranges of the large file that were asked for."""
    return [r.range for r in hub.requests if r.path.endswith(LARGE) and r.method == "GET"]


def test_a_cut_connection_resumes_where_it_stopped(large: Hub, machine: Machine) -> None:
    large.cut_after[LARGE] = PIECE + 5
    answer = machine.resolve(REPO)
    assert (answer.path / LARGE).read_bytes() == CONTENT
    assert ranges(large) == [None, f"bytes={PIECE}-"]
    total = len(CONTENT) + 5
    assert answer.told
    assert answer.told[-1] == (REPO, total, total)
    assert max(done for _, done, _ in answer.told) == total


def test_a_stopped_process_resumes_where_it_stopped(large: Hub, machine: Machine) -> None:
    partial = machine.blobs(REPO) / f"{hashlib.sha256(CONTENT).hexdigest()}.cierzo-partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT[: PIECE + 7])
    answer = machine.resolve(REPO)
    assert (answer.path / LARGE).read_bytes() == CONTENT
    assert ranges(large) == [f"bytes={PIECE + 7}-"]
    assert answer.told
    assert answer.told[0][1] == PIECE + 7
    assert not partial.exists()


def test_a_process_killed_in_a_download_leaves_what_it_has(large: Hub, machine: Machine) -> None:
    large.stall_after[LARGE] = PIECE + 5
    start = machine.start(REPO)
    try:
        assert large.stalled.wait(240)
        while not any(f.stat().st_size >= PIECE for f in machine.blobs(REPO).glob("*partial")):
            time.sleep(0.01)
    finally:
        start.kill()
        start.communicate()
        large.stall_after.clear()
        large.stalled.clear()
    assert (machine.resolve(REPO).path / LARGE).read_bytes() == CONTENT
    assert ranges(large) == [None, f"bytes={PIECE}-"]


def test_a_partial_file_of_other_bytes_is_found_out(large: Hub, machine: Machine) -> None:
    partial = machine.blobs(REPO) / f"{hashlib.sha256(CONTENT).hexdigest()}.cierzo-partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(PIECE))
    assert "model.safetensors came damaged and was removed" in machine.resolve(REPO).error
    assert (machine.resolve(REPO).path / LARGE).read_bytes() == CONTENT


def test_a_download_that_was_broken_off_is_completed(hub: Hub, machine: Machine) -> None:
    missing = hub.repos[REPO].pop("model-00002-of-00002.safetensors")
    machine.resolve(REPO)
    hub.repos[REPO]["model-00002-of-00002.safetensors"] = missing
    hub.commit = "e" * 40  # a tree once seen is kept by huggingface_hub for its commit
    hub.requests.clear()
    answer = machine.resolve(REPO)
    assert hub.downloads() == ["model-00002-of-00002.safetensors"]
    assert open_checkpoint(answer.path).weights_bytes > 0


def test_one_gguf_of_a_repository(hub: Hub, machine: Machine) -> None:
    answer = machine.resolve(f"{DEVSTRAL}_gguf:q4_k_m")
    assert hub.downloads() == ["Devstral-Small-2507-Q4_K_M.gguf"]
    assert open_checkpoint(answer.path).format == "gguf"


def test_devstral_by_its_short_name(hub: Hub, machine: Machine) -> None:
    answer = machine.resolve("devstral-small")
    assert answer.name == "devstral-small"
    assert set(hub.downloads()) == NEEDED


def test_a_quantised_devstral_comes_with_mistrals_tokenizer(hub: Hub, machine: Machine) -> None:
    answer = machine.resolve("devstral-small:q8_0")
    assert hub.downloads() == ["tekken.json", "Devstral-Small-2507-Q8_0.gguf"]
    assert answer.name == "devstral-small"
    checkpoint = open_checkpoint(answer.path, Path(answer.tokenizer))
    assert checkpoint.format == "gguf"
    assert checkpoint.tokenizer.kind == "tekken"
    hub.requests.clear()
    assert machine.resolve("devstral-small:q8_0").path == answer.path
    assert hub.requests == []


def test_a_file_of_the_repository_does_not_pass_for_the_model(hub: Hub, machine: Machine) -> None:
    """tekken.json alone, fetched for a GGUF, is not the whole of its repository."""
    machine.resolve("devstral-small:q8_0")
    hub.requests.clear()
    assert open_checkpoint(machine.resolve("devstral-small").path).format == "safetensors"
    assert set(hub.downloads()) == NEEDED - {"tekken.json"}


def test_an_unknown_repository_is_told(machine: Machine) -> None:
    answer = machine.resolve("nobody/nothing")
    assert answer.error.startswith("nobody/nothing: no such repository at http://127.0.0.1")


def test_a_private_repository_needs_the_token(hub: Hub, machine: Machine) -> None:
    hub.token = "hf_right"
    assert "or it is private; check the name, and HF_TOKEN" in machine.resolve(REPO).error
    assert machine.resolve(REPO, HF_TOKEN="hf_right").path.is_dir()
    assert hub.requests[-1].token == "hf_right"


def test_a_gated_repository_is_told(hub: Hub, machine: Machine) -> None:
    hub.gated.add(REPO)
    error = machine.resolve(REPO).error
    assert "the model is gated; accept its terms on http://127.0.0.1" in error


def test_a_hub_out_of_order_is_told(hub: Hub, machine: Machine) -> None:
    hub.broken = 500
    assert "answered 500; try again later" in machine.resolve(REPO).error


def test_no_network_is_told(machine: Machine) -> None:
    error = machine.resolve(REPO, HF_ENDPOINT="http://127.0.0.1:1").error
    assert "someone/tiny: cannot reach http://127.0.0.1:1" in error
    assert "check the network" in error


def test_offline_without_the_model_is_told(machine: Machine) -> None:
    error = machine.resolve(REPO, HF_HUB_OFFLINE="1").error
    assert error == f"{REPO}: not in the cache, and HF_HUB_OFFLINE forbids to fetch it"


def test_a_type_that_is_not_there_is_told(machine: Machine) -> None:
    error = machine.resolve(f"{DEVSTRAL}_gguf:q2_k").error
    assert error.endswith("has no GGUF of type q2_k; there are: q4_k_m, q8_0")


def test_a_repository_of_gguf_files_needs_a_type(machine: Machine) -> None:
    error = machine.resolve(f"{DEVSTRAL}_gguf").error
    assert error.endswith(f"say which, as in {DEVSTRAL}_gguf:q4_k_m")


DEVSTRAL_FILES = [
    "README.md", "SYSTEM_PROMPT.txt", "config.json", "consolidated.safetensors",
    "generation_config.json", "model-00001-of-00010.safetensors",
    "model-00010-of-00010.safetensors", "model.safetensors.index.json", "params.json",
    "tekken.json",
]  # fmt: skip


def test_of_both_layouts_the_sharded_one_is_taken() -> None:
    chosen = select_weights("r", DEVSTRAL_FILES)
    assert "model-00001-of-00010.safetensors" in chosen
    assert "consolidated.safetensors" not in chosen
    assert "SYSTEM_PROMPT.txt" not in chosen


def test_mistrals_layout_alone_is_taken() -> None:
    names = ["params.json", "consolidated.safetensors", "tekken.json", "README.md"]
    assert sorted(select_weights("r", names)) == sorted(names[:3])


def test_a_repository_of_pickles_is_refused() -> None:
    with pytest.raises(ModelError, match="pickled ones are never read"):
        select_weights("r", ["config.json", "pytorch_model.bin"])


@pytest.mark.parametrize("quant", ["Q4_K_M", "q4_k_m"])
def test_a_type_is_found_in_any_case(quant: str) -> None:
    names = ["M-Q4_K_M.gguf", "M-Q4_K_S.gguf", "M.BF16.gguf", "mmproj-BF16.gguf", "x/M-BF16.gguf"]
    assert select_gguf("r", names, quant) == ["M-Q4_K_M.gguf"]
    assert select_gguf("r", names, "bf16") == ["M.BF16.gguf"]
