"""Whether one fact is still found among 100,000 others, and how exactly.

    python -m benchmarks.needle --context 32000 100000

A model is built by hand, with Devstral's heads: a fact's key says its name, its value what it
stands for, and a question attends to the fact whose name it asks for. Everything but attention is
exact (float matrices, an MLP of zeros), so what differs from float64 is attention and its cache.
Written are how many of the questions are answered right, the probability of the right answer, and
the mean KL divergence from float64; beside what the cache alone would cost if all else were
float64: in 16-bit floats, and in bytes with a scale for each position and head.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.one_sequence import Ids, step_of
from cierzo.backends.cpu import CpuBackend
from cierzo.backends.tensor import RawTensor, StorageType
from cierzo.model.config import ModelConfig
from cierzo.model.readers.checkpoint import Checkpoint
from cierzo.model.readers.contents import TokenizerSource
from cierzo.model.rope import rotary_frequencies
from cierzo.model.runner import ModelRunner
from cierzo.settings import CacheDtype

Exact = npt.NDArray[np.float64]
Rounding = Callable[[Exact], Exact]

_CODE = 64  # numbers of a code: a name, what it stands for, a question
_NAMES, _MEANINGS, _QUESTIONS, _ALWAYS = (slice(i * _CODE, (i + 1) * _CODE) for i in range(4))
_NEEDLES = 64  # facts that stand in a context once
_SLOW = 42  # channels of a head whose waves turn by less than 1/10 in 100,000 positions
_CHUNK = 512


@dataclass(frozen=True)
class NeedleModel:
    """Weights by Hugging Face's names, in float64; facts are tokens, then come their questions."""

    config: ModelConfig
    facts: int
    weights: dict[str, Exact]


@dataclass(frozen=True)
class Found:
    """What became of the questions."""

    right: float  # share whose likeliest answer is the right one
    probability: float  # of the right answer, mean
    mean_kl: float  # from float64, nats


def needle_model(positions: int, facts: int = 1024, seed: int = 0) -> NeedleModel:
    """One layer with Devstral's 32 query heads, 8 KV heads of 128 and rotary base.

    A head reads names in the channels that turn slowly. As in trained models, the other channels
    of a key have content that no question asks for, and one channel is large in every key.
    """
    config = ModelConfig(
        architecture="mistral",
        hidden_size=4 * _CODE,
        num_hidden_layers=1,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=64,
        vocab_size=2 * facts,
        rms_norm_eps=1e-9,
        rope_theta=1e9,
        max_position_embeddings=positions,
        tie_word_embeddings=False,
        rope_interleaved=False,
    )
    chance = np.random.default_rng(seed)
    names, meanings = _codes(chance, facts), _codes(chance, facts)
    hidden, d = config.hidden_size, config.head_dim
    embedding = np.zeros((2 * facts, hidden))
    embedding[:facts, _NAMES], embedding[:facts, _MEANINGS] = names, meanings
    embedding[facts:, _QUESTIONS] = np.sqrt(2) * names  # as long as a fact's row
    embedding[:, _ALWAYS.start] = 1
    embedding /= np.sqrt((embedding**2).mean(-1, keepdims=True))  # so that norms change nothing
    length = np.linalg.norm(embedding[0, _NAMES])

    half = d // 2
    slow = np.r_[half - _SLOW // 2 : half, d - _SLOW // 2 : d]
    fast = np.setdiff1d(np.arange(d), slow)
    keys, values, queries, outputs = [], [], [], []
    for head in range(config.num_key_value_heads):
        reader = chance.standard_normal((_SLOW, _CODE)) / np.sqrt(_SLOW)
        key, value = np.zeros((d, hidden)), np.zeros((d, hidden))
        key[slow, _NAMES] = reader
        key[fast, _NAMES] = chance.standard_normal((fast.size, _CODE)) / np.sqrt(_SLOW)
        key[fast[head], _ALWAYS.start] = 2.0  # the large channel
        value[:, _MEANINGS] = chance.standard_normal((d, _CODE)) / np.sqrt(d)
        keys.append(key)
        values.append(value)
        for query_head in range(4):
            query = np.zeros((d, hidden))
            sharpness = 14.0 + query_head  # a needle weighs about as much as 100,000 others
            query[slow, _QUESTIONS] = sharpness * np.sqrt(d) / (np.sqrt(2) * length**2) * reader
            queries.append(query)
            back = np.zeros((hidden, d))
            back[_MEANINGS] = value[:, _MEANINGS].T / config.num_attention_heads
            outputs.append(back)
    answer = np.zeros((2 * facts, hidden))
    answer[:facts, _MEANINGS] = 12.0 * meanings / length
    layer = "model.layers.0"
    return NeedleModel(
        config,
        facts,
        {
            "model.embed_tokens.weight": embedding,
            f"{layer}.input_layernorm.weight": np.ones(hidden),
            f"{layer}.self_attn.q_proj.weight": np.concatenate(queries),
            f"{layer}.self_attn.k_proj.weight": np.concatenate(keys),
            f"{layer}.self_attn.v_proj.weight": np.concatenate(values),
            f"{layer}.self_attn.o_proj.weight": np.concatenate(outputs, axis=1),
            f"{layer}.post_attention_layernorm.weight": np.ones(hidden),
            f"{layer}.mlp.gate_proj.weight": np.zeros((64, hidden)),
            f"{layer}.mlp.up_proj.weight": np.zeros((64, hidden)),
            f"{layer}.mlp.down_proj.weight": np.zeros((hidden, 64)),
            "model.norm.weight": np.ones(hidden),
            "lm_head.weight": answer,
        },
    )


def _codes(chance: np.random.Generator, count: int) -> Exact:
    codes = chance.standard_normal((count, _CODE))
    return codes / np.linalg.norm(codes, axis=-1, keepdims=True)


def prompt(model: NeedleModel, context: int, seed: int = 1) -> tuple[Ids, Ids]:
    """So many facts, then a question for each needle, first to last; and the right answers.

    Needles lie evenly from the first position to the last.
    """
    chance = np.random.default_rng(seed)
    tokens = chance.integers(_NEEDLES, model.facts, context)
    needles = np.arange(_NEEDLES)
    tokens[np.linspace(0, context - 1, _NEEDLES).astype(int)] = needles
    whole = np.concatenate([tokens, model.facts + needles])
    return whole.astype(np.int32), needles.astype(np.int32)


def cierzo_logits(model: NeedleModel, tokens: Ids, cache: CacheDtype, threads: int) -> Exact:
    """Logits [64, facts] of the questions, computed as a prompt is."""
    backend = CpuBackend(threads)
    runner = ModelRunner(
        _checkpoint(model),
        backend,
        num_blocks=-(-len(tokens) // backend.block_size),
        kv_cache_dtype=cache,
        max_batch_tokens=_CHUNK,
        max_batch_sequences=1,
    )
    asked = np.arange(len(tokens) - _NEEDLES, len(tokens))
    found = []
    for begin in range(0, len(tokens), _CHUNK):
        chunk = tokens[begin : begin + _CHUNK]
        rows = asked[(asked >= begin) & (asked < begin + len(chunk))] - begin
        logits = runner.run(step_of(chunk, begin, runner.block_size, rows))
        found.append(logits[:, : model.facts].astype(np.float64))
    return np.concatenate(found)


class _InMemory(Checkpoint):
    """Of no file, so there are no pages to let go of."""

    def release(self, tensor: RawTensor) -> None:
        pass


def _checkpoint(model: NeedleModel) -> Checkpoint:
    nowhere = Path("needle")
    return _InMemory(
        config=model.config,
        tensors=dict(_raw_tensors(model)),
        tokenizer=TokenizerSource("gguf", nowhere, None, None, (), False, {}),
        source=nowhere,
        format="gguf",
        weights_bytes=0,
        files={},
    )


def _raw_tensors(model: NeedleModel) -> Iterator[tuple[str, RawTensor]]:
    for name, value in model.weights.items():
        data = np.ascontiguousarray(value, dtype=np.float32).reshape(-1).view(np.uint8)
        yield name, RawTensor(name, value.shape, StorageType.F32, data, Path("needle"))


def exact_logits(model: NeedleModel, tokens: Ids, cache: Rounding = lambda x: x) -> Exact:
    """The same in float64, with keys and values [positions, head_dim] as `cache` keeps them."""
    config, weights = model.config, model.weights
    x = _normed(weights["model.embed_tokens.weight"][tokens])
    asked = x[-_NEEDLES:]
    positions = np.arange(len(tokens))
    own = positions[-_NEEDLES:]
    causal = positions[None] <= own[:, None]
    d, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    projections = [weights[f"model.layers.0.self_attn.{name}_proj.weight"] for name in "qkvo"]
    query, key, value, output = projections
    attended = np.zeros_like(asked)
    for head in range(config.num_attention_heads):
        of_head = slice(head * d, (head + 1) * d)
        kv = slice(head // group * d, (head // group + 1) * d)
        if head % group == 0:
            k = cache(_turned(x @ key[kv].T, positions, config))
            v = cache(x @ value[kv].T)
        q = _turned(asked @ query[of_head].T, own, config)
        scores = np.where(causal, q @ k.T / np.sqrt(d), -np.inf)
        attended += np.exp(_log_softmax(scores)) @ v @ output[:, of_head].T
    final = _normed(weights["model.embed_tokens.weight"][tokens[-_NEEDLES:]] + attended)
    logits: Exact = final @ weights["lm_head.weight"][: model.facts].T
    return logits


def _log_softmax(x: Exact) -> Exact:
    shifted = x - x.max(-1, keepdims=True)
    logs: Exact = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return logs


def _normed(x: Exact) -> Exact:
    normed: Exact = x / np.sqrt((x**2).mean(-1, keepdims=True))
    return normed


def _turned(x: Exact, positions: npt.NDArray[np.int64], config: ModelConfig) -> Exact:
    """Rotary positions: channel i turns with channel i + head_dim / 2."""
    inv_freq, _ = rotary_frequencies(config)
    angle = positions[:, None] * inv_freq
    first, second = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def as_floats(x: Exact) -> Exact:
    """Rounded to float16."""
    return x.astype(np.float16).astype(np.float64)


def as_bytes(x: Exact) -> Exact:
    """Rounded to 255 steps, the largest of a row 127 of them."""
    step = np.maximum(np.abs(x).max(-1, keepdims=True), 1e-30) / 127
    rounded: Exact = np.rint(x / step) * step
    return rounded


def judge(logits: Exact, reference: Exact, answers: Ids) -> Found:
    """Compares logits [64, facts] with float64's."""
    found, expected = _log_softmax(logits), _log_softmax(reference)
    return Found(
        right=float((found.argmax(-1) == answers).mean()),
        probability=float(np.exp(found[np.arange(len(answers)), answers]).mean()),
        mean_kl=float((np.exp(expected) * (expected - found)).sum(-1).mean()),
    )


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--context", type=int, nargs="+", default=[32_000, 100_000])
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    model = needle_model(max(a.context) + _NEEDLES)
    print(f"{'context':>8}  {'':24} {'right':>6} {'probability':>11} {'mean KL':>9}")
    for context in a.context:
        tokens, answers = prompt(model, context)
        reference = exact_logits(model, tokens)
        for name, logits in (
            ("float64", reference),
            ("float16, all else exact", exact_logits(model, tokens, as_floats)),
            ("int16", cierzo_logits(model, tokens, "int16", a.threads)),
            ("bytes, all else exact", exact_logits(model, tokens, as_bytes)),
            ("int8", cierzo_logits(model, tokens, "int8", a.threads)),
        ):
            found = judge(logits, reference, answers)
            print(
                f"{context:8}  {name:24} {found.right:6.1%} {found.probability:11.4f} "
                f"{found.mean_kl:9.2e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
