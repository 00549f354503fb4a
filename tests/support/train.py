"""Trains a small model of the Mistral family, with torch, to write given spans of token sequences.

    weights = train(model, random_weights(model), draw, held_out)

`draw` makes one `Lesson` after the other; training ends as soon as every token to learn is the
likeliest by far in all of `held_out`, which are lessons that `draw` has not made. Weights are those
of `checkpoints.write_hf` and `write_mistral`, by Hugging Face's names.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tests.support.tiny_model import TinyModel, Weights

Parameters = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Lesson:
    """One sequence: its tokens, where each stands, and how much it matters that the model says it.

    Tokens of weight 0 are other people's. A long prompt is learnt from a short sample of it:
    positions are left out, and a token that stands for `counts` tokens is attended to as if it
    were there so many times.
    """

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    counts: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Course:
    """How long and how fast to learn."""

    steps: int = 1_000  # at most
    batch: int = 4  # lessons a step
    threads: int = 2
    rate: float = 3e-3
    warm_up: int = 20
    averaging: float = 0.05  # a step's share in the weights that are kept, which waver less
    between_checks: int = 25
    sure: float = 0.6  # probability that every token to learn must have in a check


@dataclass(frozen=True)
class Report:
    """How the training went."""

    steps: int
    tokens: int
    seconds: float
    least_probability: float  # of a token to learn in the last check

    @property
    def learnt(self) -> bool:
        return self.least_probability > 0


def train(
    model: TinyModel,
    start: Weights,
    draw: Callable[[], Lesson],
    held_out: Sequence[Lesson],
    course: Course | None = None,
) -> tuple[Weights, Report]:
    """Weights that know the lessons, and how long it took.

    Raises AssertionError with the least sure token's probability when the steps do not suffice.
    """
    course = course or Course()
    started = time.monotonic()
    parameters = {
        name: torch.from_numpy(weight.copy()).requires_grad_() for name, weight in start.items()
    }
    average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = torch.optim.AdamW(list(parameters.values()), betas=(0.9, 0.95), weight_decay=0.01)
    seen, least = 0, 0.0
    with _one_thread_each(course.threads) as pool:
        for step in range(1, course.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = _rate(course, step)
            lessons = [draw() for _ in range(course.batch)]
            seen += sum(len(lesson.tokens) for lesson in lessons)
            _set_gradients(pool, parameters, model, lessons)
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimizer.step()
            with torch.no_grad():
                for name, parameter in parameters.items():
                    average[name].lerp_(parameter, course.averaging)
            if step % course.between_checks == 0:
                least = least_probability(average, model, held_out)
                if least >= course.sure:
                    report = Report(step, seen, time.monotonic() - started, least)
                    return {name: weight.numpy() for name, weight in average.items()}, report
    raise AssertionError(f"after {course.steps} steps a token to learn has probability {least:.2g}")


@contextmanager
def _one_thread_each(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that torch does not split work over: its own wait in loops that burn a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _set_gradients(
    pool: ThreadPoolExecutor, parameters: Parameters, model: TinyModel, lessons: Sequence[Lesson]
) -> None:
    """The mean loss's gradients, added in the order of the lessons, so that they come out alike."""

    def gradients(lesson: Lesson) -> tuple[torch.Tensor, ...]:
        logits, targets = logits_and_targets(parameters, model, lesson)
        losses = functional.cross_entropy(logits, targets, reduction="none")
        loss = (losses * torch.from_numpy(lesson.weights[lesson.weights > 0])).mean() / len(lessons)
        return torch.autograd.grad(loss, list(parameters.values()))

    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    for parts in pool.map(gradients, lessons):
        for parameter, part in zip(parameters.values(), parts, strict=True):
            if parameter.grad is not None:
                parameter.grad += part


@torch.no_grad()
def least_probability(parameters: Parameters, model: TinyModel, lessons: Sequence[Lesson]) -> float:
    """The least probability of a token to learn; 0 as soon as another token is likelier."""
    least = 1.0
    for lesson in lessons:
        logits, targets = logits_and_targets(parameters, model, lesson)
        if not torch.equal(logits.argmax(dim=-1), targets):
            return 0.0
        chosen = torch.softmax(logits, dim=-1).gather(1, targets[:, None])
        least = min(least, float(chosen.min()))
    return least


def _rate(course: Course, step: int) -> float:
    """Linear warm-up, then half a cosine down to a tenth."""
    if step <= course.warm_up:
        return course.rate * step / course.warm_up
    done = (step - course.warm_up) / (course.steps - course.warm_up)
    return course.rate * (0.55 + 0.45 * math.cos(math.pi * done))


def logits_and_targets(
    parameters: Parameters, model: TinyModel, lesson: Lesson
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [L, vocab] where a token to learn comes next, and those tokens [L]."""
    rows = torch.from_numpy(lesson.weights.nonzero()[0])
    tokens = torch.from_numpy(lesson.tokens)
    hidden = _forward(parameters, model, lesson)
    head = "model.embed_tokens.weight" if model.tie_word_embeddings else "lm_head.weight"
    return hidden[rows - 1] @ parameters[head].T, tokens[rows]


def _forward(w: Parameters, model: TinyModel, lesson: Lesson) -> torch.Tensor:
    """The last hidden states [T, hidden], normed."""
    x = w["model.embed_tokens.weight"][torch.from_numpy(lesson.tokens)]
    cos, sin = _angles(model, torch.from_numpy(lesson.positions))
    mask = _mask(lesson)
    for i in range(model.num_hidden_layers):
        layer = f"model.layers.{i}"
        h = _norm(x, w[f"{layer}.input_layernorm.weight"], model)
        q, k, v = (
            (h @ w[f"{layer}.self_attn.{part}_proj.weight"].T)
            .view(len(x), -1, model.head_dim)
            .transpose(0, 1)[None]
            for part in "qkv"
        )
        attended = functional.scaled_dot_product_attention(
            _rotate(q, cos, sin),
            _rotate(k, cos, sin),
            v,
            mask,
            is_causal=mask is None,
            enable_gqa=True,
        )
        flat = attended[0].transpose(0, 1).reshape(len(x), -1)
        x = x + flat @ w[f"{layer}.self_attn.o_proj.weight"].T
        h = _norm(x, w[f"{layer}.post_attention_layernorm.weight"], model)
        gate = functional.silu(h @ w[f"{layer}.mlp.gate_proj.weight"].T)
        up = h @ w[f"{layer}.mlp.up_proj.weight"].T
        x = x + (gate * up) @ w[f"{layer}.mlp.down_proj.weight"].T
    return _norm(x, w["model.norm.weight"], model)


def _mask(lesson: Lesson) -> torch.Tensor | None:
    """What is added to the scores [T, T]; None for a plain causal mask."""
    if (lesson.counts == 1).all():
        return None
    scores = torch.from_numpy(np.log(lesson.counts)).repeat(len(lesson.counts), 1)
    return scores + torch.full_like(scores, -math.inf).triu(1)


def _norm(x: torch.Tensor, weight: torch.Tensor, model: TinyModel) -> torch.Tensor:
    return functional.rms_norm(x, (model.hidden_size,), weight, model.rms_norm_eps)


def _angles(model: TinyModel, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [T, head_dim / 2] of the rotary embedding."""
    steps = torch.arange(0, model.head_dim, 2, dtype=torch.float64) / model.head_dim
    angles = positions[:, None].double() * model.rope_theta**-steps
    return angles.cos().float(), angles.sin().float()


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [1, heads, T, head_dim], each pair (i, i + head_dim / 2) turned by its angle."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
