"""Nothing that saves work changes a bit of any answer: not the cache, and no draft.

Sessions walk through an engine: they go on, fork, repeat themselves, are aborted and thrown out,
steps are cut, and drafts are right and wrong by chance. An engine that keeps and drafts nothing,
one request at a time, says what each should be answered.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Timer
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from cierzo.backends.batch import Batch
from cierzo.backends.ops import Logits, StepCut
from cierzo.engine.cache.prefix_tree import Node
from cierzo.engine.drafts import sources
from cierzo.engine.drafts.draft import Draft, Origin
from cierzo.engine.drafts.drafter import Drafter
from cierzo.engine.drafts.sources import Sources
from cierzo.engine.engine import Engine
from cierzo.engine.runner import Runner
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.sequence import Sequence
from cierzo.engine.step_costs import StepCosts
from cierzo.model.runner import ModelRunner
from tests.engine.constraints.test_constrained import PERSON, json_answer, knowing
from tests.engine.models import VOCAB, Answer, Request, make_engine, random_prompt, run

LONGEST = 420


class Oracle:
    """What each request is answered when it is alone, and nothing is kept."""

    def __init__(self, path: Path, kv: str) -> None:
        engine = make_engine(path, eos=(2,), kv_cache_dtype=kv, prefix_cache="off", drafts="off")
        self._engine, _ = knowing(engine, path)
        self._known: dict[tuple[tuple[int, ...], bytes], Answer] = {}

    def answer(self, request: Request) -> Answer:
        key = tuple(request.prompt), msgspec.json.encode(request.params)
        if key not in self._known:
            self._known[key] = run(self._engine, {"r": request})["r"]
            assert self._engine.stats().cached_tokens == 0
        return self._known[key]


class WildDrafter(Drafter):
    """Drafts more or less of what will come, and wrong tokens too, or what the sources have,
    whatever it costs."""

    def __init__(self, rng: random.Random, answers: Mapping[str, Answer]) -> None:
        super().__init__(StepCosts())
        self._rng = rng
        self._answers = answers  # as they will be
        self.num_right = self.num_wrong = 0
        self.copied = {Origin.TEXT: 0, Origin.RECENT: 0}

    def plan(self, drafts: Iterable[tuple[Sequence, Draft]], decoding: int, room: int) -> None:
        for sequence, draft in drafts:
            answer = self._answers[sequence.request_id].token_ids
            tokens = list(answer[sequence.num_generated :])
            if draft.index.agreement and self._rng.random() < 0.7:
                tokens = draft.index.propose(8)
                self.copied[draft.index.origin] += 1
            most = min(room, sequence.max_len - sequence.num_tokens - 1, self._rng.randrange(9))
            while len(tokens) < most:
                tokens.append(self._rng.randrange(VOCAB))
            for place in range(most):
                if self._rng.random() < 0.15:
                    tokens[place] = self._rng.randrange(VOCAB)
            sequence.num_draft = max(most, 0)
            room -= sequence.num_draft
            first = sequence.num_tokens
            sequence.tokens[first : first + sequence.num_draft] = tokens[: sequence.num_draft]

    def learn(self, draft: Draft, drafted: int, accepted: int) -> None:
        self.num_right += accepted
        self.num_wrong += drafted - accepted


class CuttingRunner:
    """Cuts steps by chance: before they begin, in the middle, or when all is computed."""

    def __init__(self, runner: Runner, rng: random.Random) -> None:
        self._runner, self._rng = runner, rng
        self.num_cut = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def run(self, batch: Batch) -> Logits:
        way = self._rng.choice(["whole"] * 7 + ["before", "amid", "after"])
        timer = Timer(self._rng.random() * 0.002, self._runner.set_cut, [True])
        if way == "amid":
            timer.start()
        self._runner.set_cut(way == "before")
        logits = None
        with suppress(StepCut):
            logits = self._runner.run(batch)
        if way == "amid":
            timer.join()
        self._runner.set_cut(False)
        if logits is None or way == "after":
            self.num_cut += 1
            raise StepCut
        return logits


class Audit:
    """Sees that no block changes while it is in the tree, and that the books are right."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        assert isinstance(engine.runner, ModelRunner)
        self._read = engine.runner.read_block
        self._digests: dict[Node, tuple[bytes, int]] = {}

    def check(self, *, contents: bool = False) -> None:
        cache, scheduler = self._engine.cache, self._engine.scheduler
        cache.check(s for s in scheduler.running if s.started)
        if not contents:
            return
        nodes = {node for root in cache.roots() for node in root.descendants()}
        digests = {node: self._digest(node) for node in nodes}
        for node, digest in self._digests.items():
            assert node not in nodes or digests[node] == digest
        self._digests = digests

    def _digest(self, node: Node) -> tuple[bytes, int]:
        # Of a tail only the first places count; whose bytes these are, is the backend's affair.
        if node.num_tokens < self._engine.cache.block_size:
            return b"", node.block
        return blake2b(self._read(node.block)).digest(), node.block


@dataclass
class Session:
    """A history that grows, as an agent's does."""

    history: list[int]


def params_of(rng: random.Random) -> SamplingParams:
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 0.0, "ignore_eos": True},
        {"top_p": 0.9, "repetition_penalty": 1.2},
        {"logprobs": 3},
        {"prompt_logprobs": 1, "logprobs": 0},
        {"constraint": json_answer(PERSON)},
        {"constraint": json_answer(PERSON), "logprobs": 1},
        {"constraint": json_answer({"type": "string", "maxLength": 40}, {"minLength": 3})},
        {"max_tokens": 0},
    ]
    basics = {"max_tokens": rng.randrange(1, 40), "seed": rng.randrange(3)}
    return SamplingParams(**basics | rng.choice(kinds))


def requests(rng: random.Random, sessions: list[Session]) -> Iterator[Request]:
    """What comes next of a session: it goes on, or is asked again, in one or several choices."""
    session = rng.choice(sessions)
    if len(session.history) > LONGEST - 80:
        session.history = session.history[: rng.randrange(20, 200)]
    if rng.random() < 0.7:
        session.history = session.history + random_prompt(rng.randrange(50), rng.randrange(1, 40))
    params = params_of(rng)
    for _ in range(rng.choice([1, 1, 1, 3])):
        yield Request(session.history, params)
        params = msgspec.structs.replace(params, seed=(params.seed or 0) + 10)


def texts_begun_with(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has short texts kept, too. For each request, tokens that an earlier one had read for it."""
    lengths: list[int] = []
    draft_for = Sources.draft_for

    def noting(self: Sources, sequence: Sequence, predicted: npt.NDArray[np.int32]) -> Draft | None:
        draft = draft_for(self, sequence, predicted)
        lengths.append(0 if draft is None else draft.index.length)
        return draft

    monkeypatch.setattr(Sources, "draft_for", noting)
    monkeypatch.setattr(sources, "SHORTEST_TEXT", 16)
    return lengths


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kv", ["int16", "int8"])
def test_any_walk_gives_what_each_request_alone_would_be_given(
    model_path: Path, kv: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(f"{kv} {seed}")
    oracle = Oracle(model_path, kv)
    settings: dict[str, Any] = {
        "max_batch_tokens": rng.choice([16, 50, 512]),
        "max_batch_sequences": rng.choice([2, 6, 16]),
    }
    engine, _ = knowing(
        make_engine(
            model_path,
            num_blocks=rng.choice([16, 24, 60]),
            threads=rng.choice([1, 3]),
            eos=(2,),
            kv_cache_dtype=kv,
            **settings,
        ),
        model_path,
    )
    expected: dict[str, Answer] = {}
    drafter = WildDrafter(rng, expected)
    engine.use_drafter(drafter)
    begun_with = texts_begun_with(monkeypatch)
    audit = Audit(engine)
    engine.runner = cutting = CuttingRunner(engine.runner, random.Random(seed))
    shared = random_prompt(7, 70)
    sessions = [Session(shared + random_prompt(i, 30 * i)) for i in range(4)]
    asked: dict[str, tuple[Request, Session]] = {}
    answers: dict[str, Answer] = {}
    ended = 0
    for step in range(1_200):
        if len(asked) < 8 and rng.random() < 0.3 and step < 1_000:
            session_requests = list(requests(rng, sessions))
            for request in session_requests:
                name = f"{step}.{len(answers)}"
                expected[name] = oracle.answer(request)
                retain = rng.random() < 0.95
                engine.add(name, request.prompt, request.params, retain=retain)
                asked[name] = request, rng.choice(sessions)
                answers[name] = Answer()
        if asked and rng.random() < 0.02:
            dropped = rng.choice(list(asked))
            engine.abort(dropped)
            del asked[dropped]
        if rng.random() < 0.003:
            engine.clear_cache("")
        for output in engine.step():
            answer = answers[output.request_id]
            answer.take(output)
            if answer.finish_reason is not None:
                request, session = asked.pop(output.request_id)
                assert answer == expected[output.request_id], (seed, kv, output.request_id)
                ended += 1
                if rng.random() < 0.6:  # the session goes on with this answer
                    session.history = [*request.prompt, *answer.token_ids][:LONGEST]
        audit.check(contents=step % 20 == 0)
        if step >= 1_000 and not asked:
            break
    stats = engine.stats()
    # That the walk met everything: how often depends on how long steps take.
    assert ended > 50
    assert cutting.num_cut > 50
    assert stats.cached_tokens > stats.prompt_tokens / 4
    assert stats.free_blocks == stats.num_blocks
    assert drafter.num_right > 200
    assert drafter.num_wrong > 200
    assert drafter.copied[Origin.RECENT] > 3
    assert sum(drafter.copied.values()) > 9
    assert sum(length > 0 for length in begun_with) > 20
