"""A Mistral checkpoint with weights that are written, not trained: it says one session.

Whatever else the prompt holds, the next token follows from which turn this is and from a few tokens
of it. Of two layers,

- the first one's attention looks at the tokens at some distances behind, a head each (rotary
  positions make one distance the best by far), and in one more head at BOS and the ends of turns
  alone: BOS is 1 / (1 + turns so far) of those. Its MLP says how far that is from what it would be
  in each turn.
- the second one's attention does nothing. Its MLP has a unit for each token to say, which is open
  if turn and tokens behind are those that it follows, and writes the token into the residual.

Nothing is a matter of degree: what must not count is e^-60 of what does, on every processor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cierzo.backends.tensor import StorageType
from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.model.readers.contents import TokenizerSource
from tests.agents.session import Turn, opening_tokens, said_tokens
from tests.support.checkpoints import write_mistral
from tests.support.tiny_model import TinyModel, Weights, tekken_model
from tests.support.tokenizers import TEKKEN_SPECIAL_COUNT, tekken_json

Array = npt.NDArray[np.float64]

BYTE_TOKENS = 4_000  # of Tekken's 130,072: prompts get a quarter longer than with all of them
MAX_MODEL_LEN = 32_768

CODE = 32  # signs that stand for a token; a head is as wide
ALIKE = 0.5  # of their signs, less those that differ, that two tokens may have in common at most
OPENER = -1  # in place of a token: any that opens a turn of the assistant
OTHERS = -2  # in place of a token: any that no rule names
FARTHEST = 12  # tokens behind that a head may look at
SHARP = 60.0  # how far below, as a score or at a gate, what must not count is
FAR = 100.0  # what the distance from a turn's share of BOS weighs against a token that is not there


@dataclass(frozen=True)
class Rule:
    """After `turn` turns, where the tokens so far behind are these, `token` is said."""

    turn: int
    behind: Mapping[int, int]
    token: int

    def excludes(self, other: Rule) -> bool:
        """Whether it cannot hold where `other` was made."""
        return self.turn != other.turn or any(
            other.behind.get(distance) != token for distance, token in self.behind.items()
        )


def write_scripted_model(folder: Path, turns: Sequence[Turn]) -> None:
    """Writes a checkpoint in Mistral's layout that says the turns of a session one after another.

    Which one it says follows from how many turns of the assistant the prompt has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "tekken.json"
    vocabulary.write_text(tekken_json(BYTE_TOKENS), encoding="utf-8")
    source = TokenizerSource("tekken", vocabulary, None, 1, (2,), True, {})
    tokenizer = load_tokenizer(source)
    control = tokenizer.control_tokens
    rules = rules_of(said_tokens(tokenizer, load_chat_template(source, tokenizer), turns))
    model, weights = _Writer(
        rules, opening_tokens(tokenizer), control["<s>"], control["</s>"]
    ).write()
    write_mistral(folder, model, weights=weights, dtype=StorageType.F32)
    vocabulary.write_text(tekken_json(BYTE_TOKENS), encoding="utf-8")


def rules_of(said: Sequence[Sequence[int]]) -> list[Rule]:
    """Rules that say these turns, looking at as few distances as will do.

    What is behind the token that opens a turn is nobody's to know.
    """
    turns = [[OPENER, *tokens] for tokens in said]
    for count in range(FARTHEST):
        for distances in combinations(range(1, FARTHEST), count):
            rules = [
                Rule(turn, {d: tokens[at - d] for d in (0, *distances) if d <= at}, tokens[at + 1])
                for turn, tokens in enumerate(turns)
                for at in range(len(tokens) - 1)
            ]
            if all(
                one.token == other.token or one.excludes(other) for one in rules for other in rules
            ):
                return rules
    raise ValueError("the turns repeat themselves too much")


class _Writer:
    """Writes the weights that follow the rules.

    The residual has a stretch for each code (the token's, those behind, the one to say) and a
    place for each number: a constant, whether the token is BOS, whether it is BOS or ends a turn,
    what makes all embeddings of one length, BOS's share, and how far that is from each turn's.
    """

    def __init__(self, rules: Sequence[Rule], openers: Sequence[int], bos: int, eos: int) -> None:
        self._rules = rules
        self._openers = openers
        self._bos, self._eos = bos, eos
        self._turns = 1 + max(rule.turn for rule in rules)
        self._distances = sorted({d for rule in rules for d in rule.behind if d})
        self._codes = _codes({t for rule in rules for t in (rule.token, *rule.behind.values())})
        names = [f"code{d}" for d in (0, *self._distances)] + ["say"]
        self._at = {name: slice(i * CODE, (i + 1) * CODE) for i, name in enumerate(names)}
        numbers = ["one", "bos", "edge", "rest", "share"]
        numbers += [f"far{turn}" for turn in range(self._turns)]
        self._number = {name: len(names) * CODE + i for i, name in enumerate(numbers)}
        width = len(names) * CODE + len(numbers)
        self._model = tekken_model(
            hidden_size=_round_up(width, 64),
            num_hidden_layers=2,
            num_attention_heads=len(self._distances) + 1,
            num_key_value_heads=len(self._distances) + 1,
            head_dim=CODE,
            intermediate_size=_round_up(max(2 * self._turns, len(rules)), 64),
            vocab_size=BYTE_TOKENS + TEKKEN_SPECIAL_COUNT,
            max_position_embeddings=MAX_MODEL_LEN,
            rope_theta=1e9,
        )

    def write(self) -> tuple[TinyModel, Weights]:
        model = self._model
        hidden, inner = model.hidden_size, model.intermediate_size
        heads = model.num_attention_heads * CODE
        weights = {
            "model.embed_tokens.weight": self._embeddings(),
            "model.norm.weight": np.ones(hidden),
            "lm_head.weight": self._head(),
        }
        shapes = {
            "self_attn.q_proj": (heads, hidden),
            "self_attn.k_proj": (heads, hidden),
            "self_attn.v_proj": (heads, hidden),
            "self_attn.o_proj": (hidden, heads),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }
        for name, shape in shapes.items():
            fill = np.ones if len(shape) == 1 else np.zeros
            for layer in range(2):
                weights[f"model.layers.{layer}.{name}.weight"] = fill(shape)
        self._write_attention(weights)
        self._write_turns(weights)
        self._write_rules(weights)
        return model, {name: weight.astype(np.float32) for name, weight in weights.items()}

    def _embeddings(self) -> Array:
        """All of one length, so that the first norm scales every token by the same."""
        model, number = self._model, self._number
        table = np.zeros((model.vocab_size, model.hidden_size))
        table[:, self._at["code0"]] = self._codes[OTHERS]
        for token, code in self._codes.items():
            if token >= 0:
                table[token, self._at["code0"]] = code
        table[self._openers, self._at["code0"]] = self._codes[OPENER]
        table[:, number["one"]] = CODE**0.5
        table[[self._bos, self._eos], number["edge"]] = 1
        table[self._bos, number["bos"]] = 1
        others = np.square(table[:, [number["edge"], number["bos"]]]).sum(axis=1)
        table[:, number["rest"]] = (2 - others) ** 0.5
        return table

    def _head(self) -> Array:
        table = np.zeros((self._model.vocab_size, self._model.hidden_size))
        for token in {rule.token for rule in self._rules}:
            table[token, self._at["say"]] = self._codes[token]
        return table

    def _write_attention(self, weights: dict[str, Array]) -> None:
        """The first layer's attention."""
        model, number = self._model, self._number
        embedding = weights["model.embed_tokens.weight"][0]
        factor = (np.square(embedding).mean() + model.rms_norm_eps) ** -0.5  # the norm's, for all
        one = factor * CODE**0.5
        q, k, v, o = (weights[f"model.layers.0.self_attn.{p}_proj.weight"] for p in "qkvo")
        half = CODE // 2
        turning = model.rope_theta ** (-np.arange(half) / half)  # radians a token
        nearly = (1 - np.cos(turning)).sum()  # what a distance wrong by one scores less
        for head, distance in enumerate(self._distances):
            first = head * CODE
            angle = -distance * turning
            score = SHARP * CODE**0.5 / nearly
            q[first : first + half, number["one"]] = score * np.cos(angle) / one
            q[first + half : first + CODE, number["one"]] = score * np.sin(angle) / one
            k[first : first + half, number["one"]] = 1 / one
            v[first : first + CODE, self._at["code0"]] = np.eye(CODE) / factor
            o[self._at[f"code{distance}"], first : first + CODE] = np.eye(CODE)
        first = len(self._distances) * CODE
        slowest = first + half - 1  # turns by nothing to speak of, however long the context
        q[slowest, number["one"]] = SHARP * CODE**0.5 / one
        k[slowest, number["edge"]] = 1 / factor
        v[first, number["bos"]] = 1 / factor
        o[number["share"], first] = 1

    def _write_turns(self, weights: dict[str, Array]) -> None:
        """The first layer's MLP: for each turn |share - 1 / (1 + turn)|, of two units."""
        gate, up, down = _mlp(weights, layer=0)
        number = self._number
        steep = 1_000.0  # a share that differs opens its unit as wide as it goes
        for turn in range(self._turns):
            for unit, sign in ((2 * turn, 1), (2 * turn + 1, -1)):
                gate[unit, number["share"]] = sign * steep
                gate[unit, number["one"]] = -sign * steep / (1 + turn) / CODE**0.5
                up[unit, number["one"]] = 1 / CODE**0.5
                down[number[f"far{turn}"], unit] = 1 / steep

    def _write_rules(self, weights: dict[str, Array]) -> None:
        """The second layer's MLP: a code that is there counts 1, another one ALIKE at most."""
        gate, up, down = _mlp(weights, layer=1)
        number = self._number
        margin = (1 - ALIKE) / 2
        for unit, rule in enumerate(self._rules):
            for distance, token in rule.behind.items():
                gate[unit, self._at[f"code{distance}"]] = self._codes[token] / CODE
            gate[unit, number["one"]] = (margin - len(rule.behind)) / CODE**0.5
            gate[unit, number[f"far{rule.turn}"]] = -FAR
            gate[unit] *= SHARP / margin
            up[unit, number["one"]] = 1
            down[self._at["say"], unit] = self._codes[rule.token]


def _mlp(weights: Mapping[str, Array], layer: int) -> tuple[Array, Array, Array]:
    """The weights of gate, up and down."""
    gate, up, down = (
        weights[f"model.layers.{layer}.mlp.{part}_proj.weight"] for part in ("gate", "up", "down")
    )
    return gate, up, down


def _codes(tokens: set[int]) -> dict[int, Array]:
    """Signs for each of these tokens, and for all others as one, no two of them alike."""
    rng = np.random.default_rng(0)
    codes: dict[int, Array] = {}
    for token in (OTHERS, *sorted(tokens)):
        while True:
            code = rng.choice([-1.0, 1.0], CODE)
            if all(code @ other <= ALIKE * CODE for other in codes.values()):
                break
        codes[token] = code
    return codes


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step
