"""The GGUF reader: what it reads is what gguf's own writer wrote; damage is told."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cierzo.backends.tensor import StorageType
from cierzo.model.errors import ModelError
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.model.readers.gguf import StringList, read_gguf
from cierzo.model.rope_scaling import FrequencyFactors, YarnScaling
from tests.support.checkpoints import TinyModel, llama3_factors, random_weights, write_gguf
from tests.support.tokenizers import CHATML_TEMPLATE, bpe_vocabulary

U32, STRING, ARRAY, U64 = 4, 8, 9, 10


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def key_value(key: str, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def tensor_info(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def write_raw(
    path: Path,
    values: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    *,
    data: bytes = b"",
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> Path:
    values, tensors = values or [], tensors or []
    tensor_count, value_count = counts or (len(tensors), len(values))
    head = b"GGUF" + struct.pack("<IQQ", version, tensor_count, value_count)
    head += b"".join(values) + b"".join(tensors)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def as_list(value: object) -> Sequence[object]:
    assert isinstance(value, Sequence)
    return value


def test_every_metadata_type_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    numbers = {
        "uint8": 200, "int8": -100, "uint16": 60_000, "int16": -30_000, "uint32": 4_000_000_000,
        "int32": -2_000_000_000, "uint64": 1 << 63, "int64": -(1 << 62),
    }  # fmt: skip
    for kind, value in numbers.items():
        getattr(writer, f"add_{kind}")(f"a.{kind}", value)
    writer.add_float32("a.float32", 0.5)
    writer.add_float64("a.float64", 1e300)
    writer.add_bool("a.bool", True)
    writer.add_string("a.string", "años")
    writer.add_array("a.strings", ["x", "", "日本"])
    writer.add_array("a.integers", [1, -2, 3])
    writer.add_array("a.floats", [0.5, 2.0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    metadata = read_gguf(path).metadata
    for kind, value in numbers.items():
        assert metadata[f"a.{kind}"] == value
    assert metadata["a.float32"] == 0.5
    assert metadata["a.float64"] == 1e300
    assert metadata["a.bool"] is True
    assert metadata["a.string"] == "años"
    assert list(as_list(metadata["a.strings"])) == ["x", "", "日本"]
    np.testing.assert_array_equal(metadata["a.integers"], [1, -2, 3])
    np.testing.assert_array_equal(metadata["a.floats"], [0.5, 2.0])


def test_the_vocabulary_is_a_sequence_decoded_on_use(tmp_path: Path) -> None:
    tokens, merges = bpe_vocabulary()
    tokenizer = open_checkpoint(write_gguf(tmp_path / "m.gguf")).tokenizer
    read = as_list(tokenizer.metadata["tokenizer.ggml.tokens"])
    assert len(read) == len(tokens)
    assert list(read) == tokens
    assert (read[0], read[-1]) == (tokens[0], tokens[-1])
    assert read[3:6] == tokens[3:6]
    assert list(as_list(tokenizer.metadata["tokenizer.ggml.merges"])) == merges
    types = tokenizer.metadata["tokenizer.ggml.token_type"]
    assert isinstance(types, np.ndarray)
    assert types[:4].tolist() == [3, 3, 3, 1]


def test_the_tokenizer_of_a_gguf(tmp_path: Path) -> None:
    tokenizer = open_checkpoint(write_gguf(tmp_path / "m.gguf")).tokenizer
    assert (tokenizer.kind, tokenizer.path) == ("gguf", tmp_path / "m.gguf")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids) == (1, (2,))
    assert tokenizer.add_bos is False
    assert tokenizer.chat_template == CHATML_TEMPLATE


def test_a_vocabulary_larger_than_the_embedding_is_refused(tmp_path: Path) -> None:
    """Else a prompt could hold tokens that have no row."""
    path = write_gguf(tmp_path / "m.gguf", TinyModel(vocab_size=500))
    with pytest.raises(ModelError, match="has 512 tokens, the model knows 500"):
        open_checkpoint(path)


@pytest.mark.parametrize("arch", ["llama", "mistral3"])
def test_architectures(tmp_path: Path, arch: str) -> None:
    config = open_checkpoint(write_gguf(tmp_path / "m.gguf", arch=arch)).config
    assert config.architecture == {"llama": "llama", "mistral3": "mistral"}[arch]
    assert config.head_dim == 64


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="architecture 'qwen2' is not supported"):
        open_checkpoint(write_gguf(tmp_path / "m.gguf", arch="qwen2"))


def test_rope_freqs_become_factors(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    model = TinyModel(rope_scaling=scaling)
    read = open_checkpoint(write_gguf(tmp_path / "m.gguf", model)).config.rope_scaling
    factors = llama3_factors(64, 10_000.0, scaling)
    assert read == FrequencyFactors(tuple(factors.tolist()))
    assert {factors[0], factors[-1]} == {1.0, 8.0}


def test_yarn_is_read(tmp_path: Path) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
    model = TinyModel(rope_scaling=scaling)
    config = open_checkpoint(write_gguf(tmp_path / "m.gguf", model)).config
    assert config.rope_scaling == YarnScaling(4.0, 256.0)


@pytest.mark.parametrize(
    ("kind", "shown"), [(10, "Q2_K"), (23, "IQ4_XS"), (39, "MXFP4"), (77, "number 77")]
)
def test_an_unsupported_type_is_named(tmp_path: Path, kind: int, shown: str) -> None:
    path = write_raw(tmp_path / "m.gguf", tensors=[tensor_info("blk.0.x.weight", (256,), kind, 0)])
    with pytest.raises(ModelError, match=rf"blk\.0\.x\.weight has the type {shown},.*use a file"):
        read_gguf(path)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_told(tmp_path: Path, share: float) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="truncated"):
        open_checkpoint(path)


def test_an_empty_file_and_another_format_are_told(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="empty"):
        open_checkpoint(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelError, match="not a GGUF file"):
        open_checkpoint(path)


@pytest.mark.parametrize("version", [0, 1, 4, 3 << 24])
def test_other_versions_and_big_endian_files_are_refused(tmp_path: Path, version: int) -> None:
    with pytest.raises(ModelError, match="GGUF version"):
        read_gguf(write_raw(tmp_path / "m.gguf", version=version))


def test_version_2_is_read(tmp_path: Path) -> None:
    value = key_value("a", U32, struct.pack("<I", 7))
    assert read_gguf(write_raw(tmp_path / "m.gguf", [value], version=2)).metadata == {"a": 7}


HUGE = struct.pack("<Q", 1 << 62)
DEFECTS: dict[str, tuple[dict[str, Any], str]] = {
    "values": ({"counts": (0, 1 << 60)}, "metadata keys are more than"),
    "tensors": ({"counts": (1 << 60, 0)}, "tensors are more than"),
    "array": (
        {"values": [key_value("a", ARRAY, struct.pack("<I", U32) + HUGE)]},
        "elements of a are more than",
    ),
    "array beyond the end": (
        {"values": [key_value("a", ARRAY, struct.pack("<IQ", U64, 1 << 22))]},
        "truncated",
    ),
    "strings beyond the end": (
        {"values": [key_value("a", ARRAY, struct.pack("<IQ", STRING, 1 << 22))]},
        "truncated in a",
    ),
    "nested array": (
        {"values": [key_value("a", ARRAY, struct.pack("<IQ", ARRAY, 1))]},
        "unknown value type 9",
    ),
    "string": ({"values": [key_value("a", STRING, HUGE)]}, "bytes of a are more than"),
    "value type": ({"values": [key_value("a", 99, b"")]}, "unknown value type 99"),
    "key twice": ({"values": [key_value("a", U32, bytes(4))] * 2}, "the key a appears twice"),
    "key not UTF-8": ({"values": [text(b"\xff\xfe")]}, "not UTF-8"),
    "alignment": (
        {"values": [key_value("general.alignment", U32, struct.pack("<I", 0))]},
        "general.alignment is 0",
    ),
    "alignment of another type": (
        {"values": [key_value("general.alignment", STRING, text("x"))]},
        "general.alignment is 'x'",
    ),
    "dimensions": ({"tensors": [tensor_info("t", (1,) * 9, 0, 0)]}, "t has 9 dimensions"),
    "no dimension": ({"tensors": [tensor_info("t", (), 0, 0)]}, "t has 0 dimensions"),
    "size": ({"tensors": [tensor_info("t", (1 << 60,), 0, 0)]}, "t has the shape"),
    "product": ({"tensors": [tensor_info("t", (1 << 47,) * 4, 0, 0)]}, "truncated: tensor t"),
    "part of a block": ({"tensors": [tensor_info("t", (33,), 8, 0)]}, "not whole blocks of 32"),
    "unaligned": ({"tensors": [tensor_info("t", (1,), 0, 5)]}, "not a multiple of 32"),
    "offset": ({"tensors": [tensor_info("t", (1,), 0, 1 << 60)]}, "truncated: tensor t"),
    "tensor twice": (
        {"tensors": [tensor_info("t", (8,), 0, 0), tensor_info("t", (8,), 0, 32)]},
        "tensor t appears twice",
    ),
    "overlap": (
        {"tensors": [tensor_info("t", (16,), 0, 0), tensor_info("u", (8,), 0, 32)]},
        "tensors t and u overlap",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_damaged_header_is_told(tmp_path: Path, defect: str) -> None:
    arguments, message = DEFECTS[defect]
    path = write_raw(tmp_path / "m.gguf", data=bytes(64), **arguments)
    with pytest.raises(ModelError, match=message):
        read_gguf(path)


SETTINGS: dict[str, tuple[Callable[[gguf.GGUFWriter], None], str]] = {
    "split.count": (lambda w: w.add_uint16("split.count", 3), "llama-gguf-split"),
    "experts": (lambda w: w.add_expert_count(8), "llama.expert_count: mixtures of experts"),
    "window": (lambda w: w.add_sliding_window(64), "attention.sliding_window is 64"),
    "temperature": (
        lambda w: w.add_float32("llama.attention.temperature_scale", 0.1),
        "temperature_scale scales attention by position",
    ),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_that_change_the_result_are_refused(tmp_path: Path, setting: str) -> None:
    add, message = SETTINGS[setting]
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {"embedding_length": 64, "context_length": 128, "block_count": 1}.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_head_count(1)
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match=message):
        open_checkpoint(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    value = key_value("general.architecture", STRING, text("llama"))
    with pytest.raises(ModelError, match=r"llama\.attention\.head_count is missing"):
        open_checkpoint(write_raw(tmp_path / "m.gguf", [value]))


def test_a_hostile_key_cannot_garble_the_error(tmp_path: Path) -> None:
    value = key_value("a\n\x1b[2Jb" + "x" * 9_000, 99, b"")
    with pytest.raises(ModelError, match=r"a\?\?\[2Jbxxx") as caught:
        read_gguf(write_raw(tmp_path / "m.gguf", [value]))
    assert len(str(caught.value)) < 1_100


def test_a_20_mb_header_is_read_within_its_bounds(tmp_path: Path) -> None:
    value = key_value("a", STRING, text("x" * 20_000_000))
    assert len(str(read_gguf(write_raw(tmp_path / "m.gguf", [value])).metadata["a"])) == 20_000_000


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    model = TinyModel(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=32,
    )
    path = write_gguf(
        tmp_path_factory.mktemp("fuzz") / "m.gguf", model, weights=random_weights(model)
    )
    return path, path.read_bytes()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), min_size=0, max_size=8),
    cut=st.none() | st.integers(0, 1 << 14),
)
def test_damage_anywhere_gives_an_error_or_a_model(
    tmp_path: Path,
    small_file: tuple[Path, bytes],
    flips: list[tuple[int, int]],
    cut: int | None,
) -> None:
    data = bytearray(small_file[1])
    for where, value in flips:
        data[where % len(data)] = value
    path = tmp_path / "m.gguf"
    path.write_bytes(data[:cut])
    try:
        checkpoint = open_checkpoint(path)
        tokens = checkpoint.tokenizer.metadata.get("tokenizer.ggml.tokens")
        if isinstance(tokens, StringList):
            list(tokens)
    except ModelError:
        pass
    else:
        for tensor in checkpoint.tensors.values():
            assert tensor.data.size == np.prod(tensor.shape) * (
                tensor.storage.block_bytes / tensor.storage.block_size
            )


def test_the_storage_types_are_ggmls() -> None:
    for storage in StorageType:
        kind = gguf.GGMLQuantizationType[storage.name]
        assert gguf.GGML_QUANT_SIZES[kind] == (storage.block_size, storage.block_bytes)
