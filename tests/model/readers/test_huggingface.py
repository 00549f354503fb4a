"""What config.json and its companions say, in the forms that transformers has written them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cierzo.model.errors import ModelError
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.model.rope_scaling import LinearScaling, YarnScaling
from tests.support.checkpoints import TinyModel, tekken_model, write_hf
from tests.support.tiny_model import rope_scaling
from tests.support.tokenizers import CHATML_TEMPLATE

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}


def edit(file: Path, **changes: object) -> None:
    """Changes keys of a JSON file; None removes one."""
    content = json.loads(file.read_text()) if file.exists() else {}
    content |= changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("scaling", [None, LLAMA3, YARN, {"rope_type": "linear", "factor": 2.0}])
def test_rope_is_the_same_in_the_older_and_newer_form(
    tmp_path: Path, scaling: dict[str, Any] | None, newer: bool
) -> None:
    model = TinyModel(rope_theta=500_000.0, rope_scaling=scaling)
    config = open_checkpoint(write_hf(tmp_path, model, rope_parameters=newer)).config
    assert config.rope_theta == 500_000.0
    assert config.rope_scaling == rope_scaling(scaling)


def test_the_oldest_form_of_rope_scaling_says_type(tmp_path: Path) -> None:
    write_hf(tmp_path)
    edit(tmp_path / "config.json", rope_scaling={"type": "linear", "factor": 2})
    scaling = open_checkpoint(tmp_path).config.rope_scaling
    assert scaling == LinearScaling(2.0)


def test_yarn_without_an_original_length_stretches_the_context(tmp_path: Path) -> None:
    write_hf(tmp_path)
    edit(tmp_path / "config.json", rope_scaling={"rope_type": "yarn", "factor": 4.0, "mscale": 1.0})
    assert open_checkpoint(tmp_path).config.rope_scaling == YarnScaling(
        factor=4.0, original_max_position_embeddings=1024.0, mscale=1.0
    )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architectures": ["Qwen3ForCausalLM"]}, "Qwen3ForCausalLM is not supported"),
    "no architecture": ({"architectures": None}, "architecture None is not supported"),
    "quantised": ({"quantization_config": {"quant_method": "fp8"}}, "BF16 or GGUF version"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
    "window": ({"sliding_window": 256}, "sliding_window is 256; attention over a"),
    "scaling": ({"rope_scaling": {"rope_type": "longrope"}}, "'longrope' is not supported"),
    "scaling without": ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "is missing"),
    "scaling by zero": ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "not positive"),
    "by position": (
        {"rope_parameters": {"rope_type": "default", "llama_4_scaling_beta": 0.1}},
        "llama_4_scaling_beta scales attention by position",
    ),
    "partial": ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    "missing": ({"hidden_size": None}, "hidden_size is missing"),
    "text": ({"hidden_size": "256"}, "hidden_size is '256', not a whole number"),
    "fraction": ({"num_hidden_layers": 2.5}, "num_hidden_layers is 2.5, not a whole number"),
    "boolean": ({"num_hidden_layers": True}, "num_hidden_layers is True, not a whole number"),
    "negative": ({"num_hidden_layers": -2}, "num_hidden_layers is -2, not between 1 and"),
    "absurd": ({"vocab_size": 10**30}, "vocab_size is 10+, not between 1 and"),
    "odd": ({"head_dim": 63}, "head_dim is 63; rotary positions need it even"),
    "heads": ({"num_key_value_heads": 3}, "8 attention heads cannot share 3 key-value heads"),
    "epsilon": ({"rms_norm_eps": 0}, "rms_norm_eps is 0.0, not between 0 and 1"),
    "infinite": ({"rope_theta": float("inf")}, "rope_theta is inf, not a finite number"),
    "bad id": ({"eos_token_id": "</s>"}, "eos_token_id is </s>, not a token id"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_named(tmp_path: Path, case: str) -> None:
    changes, message = REFUSED[case]
    write_hf(tmp_path)
    edit(tmp_path / "config.json", **changes)
    with pytest.raises(ModelError, match=message) as caught:
        open_checkpoint(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ")


@pytest.mark.parametrize("window", [None, 1024, 4096])
def test_a_window_that_no_context_feels_is_accepted(tmp_path: Path, window: int | None) -> None:
    write_hf(tmp_path, TinyModel(architecture="mistral"))
    edit(tmp_path / "config.json", sliding_window=window)
    assert open_checkpoint(tmp_path).config.max_position_embeddings == 1024


def test_the_text_part_of_a_multimodal_model_stands_alone(tmp_path: Path) -> None:
    write_hf(tmp_path, tekken_model(), layout="mistral3", tokenizer="tekken")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config.architecture == "mistral"
    assert not [name for name in checkpoint.tensors if "vision" in name]
    edit(tmp_path / "config.json", text_config=None)
    with pytest.raises(ModelError, match="text_config is missing"):
        open_checkpoint(tmp_path)


def test_end_tokens_come_from_all_files_that_name_some(tmp_path: Path) -> None:
    write_hf(tmp_path)
    edit(tmp_path / "config.json", eos_token_id=2)
    edit(tmp_path / "generation_config.json", eos_token_id=[7, 2])
    assert open_checkpoint(tmp_path).tokenizer.eos_token_ids == (7, 2)
    (tmp_path / "generation_config.json").unlink()
    assert open_checkpoint(tmp_path).tokenizer.eos_token_ids == (2,)


def test_end_tokens_named_only_by_text_are_looked_up(tmp_path: Path) -> None:
    write_hf(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    edit(tmp_path / "config.json", eos_token_id=None, bos_token_id=None)
    edit(
        tmp_path / "tokenizer_config.json",
        eos_token={"content": "<|im_end|>"},
        added_tokens_decoder={"1": {"content": "<|im_start|>"}, "2": {"content": "<|im_end|>"}},
    )
    tokenizer = open_checkpoint(tmp_path).tokenizer
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids) == (1, (2,))


def test_the_tokenizer_is_tekken_where_there_is_one(tmp_path: Path) -> None:
    write_hf(tmp_path)
    assert open_checkpoint(tmp_path).tokenizer.kind == "tokenizer.json"
    write_hf(tmp_path, TinyModel(), tokenizer="tekken")
    assert open_checkpoint(tmp_path).tokenizer.kind == "tekken"
    (tmp_path / "tekken.json").unlink()
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"neither tekken\.json nor tokenizer\.json"):
        open_checkpoint(tmp_path)


def test_the_chat_template_in_its_three_places(tmp_path: Path) -> None:
    write_hf(tmp_path)
    assert open_checkpoint(tmp_path).tokenizer.chat_template == CHATML_TEMPLATE
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    edit(tmp_path / "tokenizer_config.json", chat_template=named)
    assert open_checkpoint(tmp_path).tokenizer.chat_template == "plain"
    edit(tmp_path / "chat_template.json", chat_template="separate")
    assert open_checkpoint(tmp_path).tokenizer.chat_template == "separate"
    (tmp_path / "chat_template.jinja").write_text("jinja")
    assert open_checkpoint(tmp_path).tokenizer.chat_template == "jinja"


def test_tokenizer_settings_reach_the_chat_room(tmp_path: Path) -> None:
    write_hf(tmp_path)
    edit(tmp_path / "tokenizer_config.json", add_bos_token=True)
    tokenizer = open_checkpoint(tmp_path).tokenizer
    assert tokenizer.add_bos
    assert tokenizer.metadata["bos_token"] == "<|im_start|>"


def test_a_head_stored_beside_tied_embeddings_is_left_out(tmp_path: Path) -> None:
    write_hf(tmp_path)
    edit(tmp_path / "config.json", tie_word_embeddings=True)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config.tie_word_embeddings
    assert "lm_head.weight" not in checkpoint.tensors
