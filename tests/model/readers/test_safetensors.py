"""The safetensors reader against the safetensors package, and damaged headers and indexes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from cierzo.backends.tensor import StorageType
from cierzo.model.errors import ModelError
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.model.readers.safetensors import read_entries
from tests.support.checkpoints import TinyModel, random_weights, write_hf


def write_raw(path: Path, header: Any, data: bytes = bytes(64)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_a_file_of_the_safetensors_package_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {f"t{i}": rng.normal(size=(i + 1, 8)).astype(np.float32) for i in range(3)}
    tensors["h"] = rng.normal(size=(5,)).astype(np.float16)
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    entries = read_entries([tmp_path / "m.safetensors"])
    assert entries.keys() == tensors.keys()
    for name, values in tensors.items():
        tensor = entries[name].load(name, "ours")
        assert (tensor.name, tensor.shape) == ("ours", values.shape)
        assert tensor.data.tobytes() == values.tobytes()


def test_the_builders_write_what_the_safetensors_package_reads(tmp_path: Path) -> None:
    write_hf(tmp_path, dtype=StorageType.F32, shards=2)
    read: dict[str, Any] = {}
    for file in tmp_path.glob("*.safetensors"):
        read |= load_file(file)
    weights = random_weights(TinyModel())
    assert read.keys() == weights.keys()
    for name, values in read.items():
        np.testing.assert_array_equal(values, weights[name])


DEFECTS: dict[str, tuple[Any, str]] = {
    "not JSON": (b"{not json", "not valid JSON"),
    "deep JSON": (b"[" * 100_000, "not valid JSON"),
    "not an object": ([], "holds no JSON object"),
    "no fields": ({"t": {}}, "entry for t is malformed"),
    "entry of another kind": ({"t": 5}, "entry for t is malformed"),
    "negative shape": ({"t": entry(shape=[-4])}, "entry for t is malformed"),
    "shape of strings": ({"t": entry(shape=["4"])}, "entry for t is malformed"),
    "three offsets": ({"t": entry(offsets=[0, 1, 2])}, "entry for t is malformed"),
    "offsets reversed": ({"t": entry(offsets=[16, 0])}, "entry for t is malformed"),
    "absurd offset": ({"t": entry(offsets=[0, 1 << 70])}, "entry for t is malformed"),
    "beyond the end": (
        {"t": entry(shape=[1000], offsets=[0, 4000])},
        "truncated: tensor t ends at byte",
    ),
    "overlap": (
        {"t": entry(), "u": entry(offsets=[8, 24])},
        "tensors t and u overlap",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_damaged_header_is_told(tmp_path: Path, defect: str) -> None:
    header, message = DEFECTS[defect]
    path = write_raw(tmp_path / "m.safetensors", header)
    with pytest.raises(ModelError, match=message) as caught:
        read_entries([path])
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("size", [3, 8, 20])
def test_a_file_that_ends_in_the_header_is_truncated(tmp_path: Path, size: int) -> None:
    path = write_raw(tmp_path / "m.safetensors", {"t": entry()})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match="truncated"):
        read_entries([path])


def test_the_length_of_the_header_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + bytes(100))
    with pytest.raises(ModelError, match="the header would have 1152921504606846976 bytes"):
        read_entries([path])


@pytest.mark.parametrize("dtype", ["F64", "F8_E4M3", "I8", "U8"])
def test_an_unsupported_type_is_named(tmp_path: Path, dtype: str) -> None:
    path = write_raw(tmp_path / "m.safetensors", {"t": entry(dtype)})
    with pytest.raises(ModelError, match=f"tensor t has the type {dtype}.*BF16 or GGUF version"):
        read_entries([path])["t"].load("t", "t")


def test_bytes_that_do_not_fit_the_shape_are_told(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "m.safetensors", {"t": entry(shape=[5])})
    with pytest.raises(ModelError, match=r"tensor t has 16 bytes, not those of F32 \[5\]"):
        read_entries([path])["t"].load("t", "t")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return write_hf(tmp_path, shards=2)


def rewrite_index(folder: Path, **weight_map: object) -> None:
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] |= weight_map
    index.write_text(json.dumps(content))


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors: missing, though"):
        open_checkpoint(sharded)


def test_shards_without_an_index_are_told(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    with pytest.raises(ModelError, match="missing, though there are 2 shards; fetch it"):
        open_checkpoint(sharded)


def test_an_index_that_names_what_a_shard_lacks_is_told(sharded: Path) -> None:
    rewrite_index(sharded, more="model-00001-of-00002.safetensors")
    with pytest.raises(ModelError, match=r"00001-of-00002.*tensor more is missing, though"):
        open_checkpoint(sharded)


@pytest.mark.parametrize("file", ["../other.safetensors", "/etc/passwd", 5])
def test_an_index_cannot_lead_out_of_the_folder(sharded: Path, file: object) -> None:
    rewrite_index(sharded, more=file)
    with pytest.raises(ModelError, match="weight_map puts more in"):
        open_checkpoint(sharded)


def test_an_index_without_a_map_is_told(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ModelError, match="weight_map is missing"):
        open_checkpoint(sharded)


def test_a_tensor_in_two_shards_is_told(sharded: Path) -> None:
    first = (sharded / "model-00001-of-00002.safetensors").read_bytes()
    (sharded / "model-00002-of-00002.safetensors").write_bytes(first)
    with pytest.raises(ModelError, match="is also in model-00001-of-00002"):
        open_checkpoint(sharded)


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = TinyModel(hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                      num_key_value_heads=1, head_dim=16, intermediate_size=32)  # fmt: skip
    return write_hf(tmp_path_factory.mktemp("fuzz"), model)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    file=st.sampled_from(["config.json", "generation_config.json", "model.safetensors"]),
    edits=st.lists(
        st.tuples(
            st.integers(0, 4096),
            st.binary(max_size=1)
            | st.sampled_from([b"-1", b"9" * 30, b"null", b"1e999", b"NaN", b'"x"', b"[]", b"{"]),
        ),
        max_size=4,
    ),
    cut=st.none() | st.integers(0, 4096),
)
def test_damage_anywhere_gives_an_error_or_a_model(
    small_folder: Path, file: str, edits: list[tuple[int, bytes]], cut: int | None
) -> None:
    path = small_folder / file
    whole = path.read_bytes()
    data = bytearray(whole)
    for where, value in edits:
        start = where % max(len(data), 1)
        data[start : start + 1] = value
    path.write_bytes(data[:cut])
    try:
        checkpoint = open_checkpoint(small_folder)
    except ModelError:
        pass
    else:
        assert checkpoint.tensors["model.norm.weight"].data.size == 2 * 32
    finally:
        path.write_bytes(whole)
