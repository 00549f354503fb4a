"""The engine: requests in, one step at a time, tokens out. Knows no sockets and no text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as AbstractSequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from cierzo.backends.batch import Batch
from cierzo.backends.ops import Logits, StepCut
from cierzo.engine.cache.disk.tier import DiskTier
from cierzo.engine.cache.hints import NO_HINTS, Hints
from cierzo.engine.cache.kv_cache import KvCache
from cierzo.engine.constraints.check_worker import Check
from cierzo.engine.constraints.constrained import Constrained
from cierzo.engine.constraints.workers import ConstraintWorkers
from cierzo.engine.counters import Counters, stats_of
from cierzo.engine.drafts.drafter import Drafter
from cierzo.engine.drafts.planning import plan_drafts
from cierzo.engine.drafts.sources import Sources
from cierzo.engine.errors import PromptTooLong, QueueFull
from cierzo.engine.interruption import Interruption
from cierzo.engine.messages import EngineStats, Failure, FinishReason, StepOutput
from cierzo.engine.next_tokens import Advanced, Computed, NextTokens, PromptLogprobs
from cierzo.engine.progress import Progress
from cierzo.engine.request import Request
from cierzo.engine.runner import Runner
from cierzo.engine.sampler import NO_TOKEN, NOT_FINITE, Sampler, SamplerState
from cierzo.engine.sampling_params import SamplingParams, validate
from cierzo.engine.scheduling.batch_builder import BatchBuilder
from cierzo.engine.scheduling.prompt_budget import PromptBudget
from cierzo.engine.scheduling.scheduler import Chunk, Scheduler
from cierzo.engine.scheduling.step_budget import StepBudget
from cierzo.engine.scheduling.work import Expected, decodes_of, depth_of, work_of
from cierzo.engine.sequence import Sequence
from cierzo.engine.step_costs import StepCosts
from cierzo.grammar.vocabulary import TokenBytes, Vocabulary
from cierzo.settings import EngineSettings

if TYPE_CHECKING:
    from cierzo.grammar.compiler import Compiled, GrammarCompiler

TokenIds: TypeAlias = AbstractSequence[int] | npt.NDArray[np.int32]


class Engine:
    """Runs any number of requests over one model. Not for use by several threads at once."""

    def __init__(
        self,
        runner: Runner,
        eos_token_ids: Iterable[int],
        settings: EngineSettings,
        disk: DiskTier | None = None,
    ) -> None:
        self.runner = runner
        self._eos = frozenset(eos_token_ids)
        self._max_active = settings.max_batch_sequences + settings.max_queue
        self.vocab_size = runner.config.vocab_size
        # A sequence longer than the whole cache could never run.
        self.max_model_len = min(runner.max_model_len, runner.num_blocks * runner.block_size)
        self.cache = KvCache(
            runner.num_blocks,
            runner.block_size,
            runner.copy_block,
            keep=settings.prefix_cache == "on",
            disk=disk,
        )
        self.scheduler = Scheduler(
            self.cache,
            max_batch_tokens=settings.max_batch_tokens,
            max_batch_sequences=settings.max_batch_sequences,
            max_logits_rows=runner.max_logits_rows,
        )
        self._builder = BatchBuilder(
            block_size=runner.block_size,
            max_batch_tokens=settings.max_batch_tokens,
            max_batch_sequences=settings.max_batch_sequences,
            max_model_len=runner.max_model_len,
        )
        self._step_costs = StepCosts()
        self._sources = Sources(drafts=settings.drafts == "on", keep=settings.prefix_cache == "on")
        self._budget = budget = StepBudget(settings.max_batch_tokens, self._step_costs)
        self.interruption = Interruption(runner.set_cut)
        self._drafter = Drafter(self._step_costs)
        self._draft_room = min(runner.max_logits_rows, settings.max_batch_tokens // 2)
        self._sampler = Sampler(self.vocab_size)
        self._active: dict[str, Request] = {}
        self.grammars: GrammarCompiler | None = None  # once the vocabulary is known
        self.progress = Progress()  # of what threads do for requests that are held
        self.constraint_workers = ConstraintWorkers(
            settings.max_batch_sequences, self._max_active, self.progress
        )
        if disk is not None:
            disk.join(self.progress.notify, lambda: budget.seconds_per_token)
        self._next_tokens = NextTokens(self._sampler, self.constraint_workers)
        self.idle_since = time.monotonic()  # where there is nothing to do
        self._stalled = False  # the last step found all requests held
        # Shown each step's batch and logits before they are used: for measuring quality.
        self.observer: Callable[[Batch, Logits], None] | None = None
        self._counters = Counters()

    def use_drafter(self, drafter: Drafter) -> None:
        """Drafts by other rules, such as those of a test."""
        self._drafter = drafter

    def set_vocabulary(self, source: TokenBytes) -> None:
        """Makes constraints possible. Takes half a second for 131,072 tokens.

        A compiler that was made elsewhere, such as on another thread, can be assigned to
        `grammars` instead.
        """
        from cierzo.grammar.compiler import GrammarCompiler  # late: it takes long to import

        self.grammars = GrammarCompiler(Vocabulary(source, self.vocab_size).build())

    def add(
        self,
        request_id: str,
        prompt: TokenIds,
        params: SamplingParams,
        *,
        cache_salt: str = "",
        retain: bool = True,
        hints: Hints = NO_HINTS,
        prediction: TokenIds = (),
        compiled: Compiled | None = None,
    ) -> None:
        """Queues a request. What is cached of its prompt is not computed again, if a request of the
        same `cache_salt` computed it. If the answer is like `prediction`, it comes sooner; it is
        the same in any case. Unless `retain`, nothing of it is left in the cache; `hints` say
        how it will be asked again. `compiled` is what `grammars` made of its constraint; without
        it, that is made here.

        Raises PromptTooLong, QueueFull, or ValueError (a GrammarError too) with one line on what
        is wrong.
        """
        if request_id in self._active:
            raise ValueError(f"request id {request_id!r} is in use")
        if len(prompt) == 0:
            raise ValueError("the prompt has no tokens")
        tokens = np.asarray(prompt, dtype=np.int32)
        if tokens.min() < 0 or tokens.max() >= self.vocab_size:
            raise ValueError(f"prompt token ids must be from 0 to {self.vocab_size - 1}")
        validate(params, self.vocab_size)
        if len(tokens) + min(params.max_tokens, 1) > self.max_model_len:
            raise PromptTooLong(len(tokens), self.max_model_len)
        if len(self._active) >= self._max_active:
            raise QueueFull(len(self.scheduler.waiting), retry_after=1)
        sequence = Sequence(
            request_id,
            tokens,
            params,
            max_len=self.max_model_len,
            eos_token_ids=self._eos,
            cache_salt=cache_salt,
            retain=retain,
            hints=hints,
        )
        state = SamplerState(params, tokens, stop_ids=sequence.stop_ids, vocab_size=self.vocab_size)
        draft = self._sources.draft_for(sequence, np.asarray(prediction, dtype=np.int32))
        request = Request(sequence, state, self._constrained(params, compiled), draft)
        self.scheduler.add(sequence)
        self._active[request_id] = request
        self._counters.requests += 1
        self._stalled = False

    def _constrained(self, params: SamplingParams, compiled: Compiled | None) -> Constrained | None:
        if params.constraint is None:
            return None
        if self.grammars is None:
            raise ValueError("constraint: the engine has not been told the vocabulary")
        return Constrained(
            compiled or self.grammars.take(params.constraint), self.grammars.vocabulary
        )

    def clear_cache(self, salt: str) -> int:
        """Forgets what requests with that salt have left, but for what running ones need. How many
        cached tokens."""
        self._sources.clear(salt)
        return self.cache.clear(salt)

    def abort(self, request_id: str) -> bool:
        """Drops a request at once; False if it is not there (any more)."""
        self.interruption.dropped(request_id)
        active = self._active.pop(request_id, None)
        if active is None:
            return False
        self._sources.leave(active.draft, active.sequence)
        self.scheduler.remove(active.sequence)
        self.constraint_workers.drop(active)
        self._counters.aborted += 1
        self.idle_since = time.monotonic()
        self._stalled = False
        return True

    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._active)

    @property
    def stalled(self) -> bool:
        """Whether a step would find all requests held until something else is finished."""
        return self._stalled and not self.progress.made

    def step(self) -> list[StepOutput]:
        """Computes one step; at most one output a request, none for the middle of a prompt."""
        started = time.perf_counter()
        if self.stalled:
            self.progress.wait()
        self.progress.clear()
        self.cache.collect()
        outputs = [self._apply_check(*verified) for verified in self.constraint_workers.collect()]
        plan_drafts(self.scheduler.running, self._active, self._drafter, self._draft_room)
        chunks = self.scheduler.schedule(self._prompt_budget())
        held = self.constraint_workers.holds_requests or self.cache.waits_for_disk
        self._stalled = not chunks and not outputs and held
        if chunks:
            outputs += self._compute(chunks, started)
        return [output for output in outputs if output is not None]

    def _compute(self, chunks: list[Chunk], started: float) -> list[StepOutput | None]:
        """Runs the model over chunks, and chooses tokens where a chunk was its sequence's last.

        If the step is cut, that is all: then no sequence gets any further.
        """
        batch = self._builder.build(chunks)
        work = work_of(chunks)
        masked = self._want_masks(chunks)
        self.constraint_workers.start_masks(masked)
        try:
            logits = self._run(batch, chunks)
        except StepCut:
            self.constraint_workers.hold_late(masked)
            return []
        if self.observer is not None:
            self.observer(batch, logits)
        masks = self.constraint_workers.finish_masks(masked)
        outputs, computed = self._note_computed(chunks, logits)
        outputs += map(self._note_advanced, self._next_tokens.add(computed, logits, masks))
        for chunk in chunks:
            if chunk.sequence.started:
                self.cache.publish(chunk.sequence)
        seconds = time.perf_counter() - started
        self._step_costs.observe(work, seconds)
        self._counters.computed_tokens += len(batch.token_ids)
        self._counters.steps += 1
        self._counters.step_seconds += seconds
        return outputs

    def rest(self) -> int:
        """Gives memory back to the system that nobody needs now; what is cached is read from disk
        when it is asked for. How many blocks' memory."""
        self.cache.collect()
        blocks = self.cache.unused()
        self.runner.give_back(blocks)
        return len(blocks)

    def _prompt_budget(self) -> PromptBudget:
        """What the next step may spend on prompts."""
        running = self.scheduler.running
        if not self.scheduler.waiting and all(s.num_pending <= 1 for s in running):
            return PromptBudget(1)  # there is none
        return self._budget.prompt_budget(decodes_of(running), depth_of(running))

    def _run(self, batch: Batch, chunks: list[Chunk]) -> Logits:
        """Raises StepCut."""
        self.interruption.begin(Expected(chunks, self._step_costs))
        was_cut = True
        try:
            logits = self.runner.run(batch)
            was_cut = False
        finally:
            self.interruption.end(was_cut=was_cut)
        return logits

    def stats(self) -> EngineStats:
        """Gauges of now, and counters since the start."""
        self.cache.collect()
        return stats_of(self._counters, self.scheduler, self.runner.threads)

    def _want_masks(self, chunks: list[Chunk]) -> list[Request]:
        """Requests whose next token will be sampled under a mask."""
        requests = [
            self._active[chunk.sequence.request_id]
            for chunk in chunks
            if chunk.own_end == chunk.sequence.num_tokens
        ]
        return [request for request in requests if request.wants_mask]

    def _note_computed(
        self, chunks: list[Chunk], logits: Logits
    ) -> tuple[list[StepOutput | None], list[Computed]]:
        """Notes what is computed, and scores prompts where that is asked for.

        Gives outputs of those that get no token in this step, and the others.
        """
        outputs: list[StepOutput | None] = []
        computed: list[Computed] = []
        row = 0
        for chunk in chunks:
            sequence = chunk.sequence
            request = self._active[sequence.request_id]
            sequence.num_computed = chunk.own_end
            prompt_logprobs = self._prompt_logprobs(chunk, logits, row)
            row += chunk.num_logits
            if prompt_logprobs is None:
                outputs.append(self._fail(request, NO_TOKEN[NOT_FINITE]))
            elif chunk.own_end < sequence.num_tokens:
                outputs.append(request.output(None, prompt_logprobs))
            else:
                self._note_prompt_read(sequence)
                draft = sequence.tokens[chunk.own_end : chunk.end].copy()
                last_row = row - chunk.num_draft - 1
                computed.append(
                    Computed(request, last_row, prompt_logprobs, draft, chunk.num_draft)
                )
        return outputs, computed

    def _prompt_logprobs(
        self, chunk: Chunk, logits: Logits, first_row: int
    ) -> PromptLogprobs | None:
        """Log-probabilities of the prompt tokens that follow the chunk's logits, if asked for.

        None where the logits are not finite.
        """
        sequence = chunk.sequence
        if chunk.num_logits == 0 or not sequence.wants_prompt_logprobs:
            return ()
        begin = chunk.logits_from + 1
        end = min(chunk.end + 1, sequence.num_prompt)
        sequence.num_prompt_logprobs = end - 1
        num_top = sequence.params.prompt_logprobs or 0
        return self._sampler.logprobs_of(logits, first_row, sequence.tokens[begin:end], num_top)

    def _note_prompt_read(self, sequence: Sequence) -> None:
        if not sequence.prompt_read:
            sequence.prompt_read = True
            self._counters.prompt_tokens += sequence.num_prompt
            self._counters.cached_tokens += sequence.num_cached or 0

    def _note_advanced(self, advanced: Advanced) -> StepOutput | None:
        """What there is to give out after tokens were added; learns from the draft."""
        one, request = advanced.computed, advanced.computed.request
        self._counters.generated_tokens += one.added
        if one.num_drafted and request.draft is not None and not request.forced:
            self._drafter.learn(request.draft, one.num_drafted, one.accepted)
            origin = request.draft.index.origin
            self._counters.note_draft(origin, one.num_drafted, one.accepted)
        if advanced.error is not None:
            return self._fail(request, advanced.error, advanced.failure)
        if advanced.finish_reason is not None:
            return self._finish(request, advanced.finish_reason, one.prompt_logprobs)
        # The output first: what is verified may be cut anew.
        output = request.output(None, one.prompt_logprobs)
        if advanced.to_check:
            self.constraint_workers.hold_for_check(request)
        return output

    def _apply_check(self, request: Request, check: Check) -> StepOutput | None:
        """Goes on with a sequence whose values were verified, or ends it."""
        if check.change is None:
            return self._fail(request, str(check.error), "no_answer")
        added = request.apply(check.change)
        self._counters.generated_tokens += added.count
        if added.finish_reason is None:
            return request.output(None, ())
        return self._finish(request, added.finish_reason, ())

    def _finish(
        self, request: Request, reason: FinishReason, prompt_logprobs: PromptLogprobs
    ) -> StepOutput | None:
        """Forgets a sequence; its last output."""
        self._forget(request)
        self._counters.finished += 1
        return request.output(reason, prompt_logprobs)

    def _fail(self, request: Request, error: str, failure: Failure = "failed") -> StepOutput:
        sequence = request.sequence
        self._forget(request, failed=failure == "failed")
        self._counters.failed += 1
        return StepOutput(
            sequence.request_id,
            finish_reason="error",
            num_prompt_tokens=sequence.num_prompt,
            error=error,
            failure=failure,
        )

    def _forget(self, request: Request, *, failed: bool = False) -> None:
        del self._active[request.sequence.request_id]
        if not failed:
            self._sources.leave(request.draft, request.sequence)
        self.scheduler.remove(request.sequence, failed=failed)
        self.idle_since = time.monotonic()
