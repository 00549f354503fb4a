"""One request as the engine sees it: its tokens, and how far they have been computed."""

from __future__ import annotations

from collections.abc import Sequence as AbstractSequence

import numpy as np
import numpy.typing as npt

from cierzo.engine.cache.hints import NO_HINTS, Hints
from cierzo.engine.cache.prefix_tree import Node
from cierzo.engine.sampling_params import SamplingParams


class Sequence:
    """Tokens of a prompt and its answer, and the cache blocks that hold their keys and values.

    `num_computed` tokens are in the cache. The model has yet to see the rest: the prompt at first,
    then one token at a time (or several, if a constraint forced some), and all of it again after a
    preemption.
    """

    __slots__ = (
        "arrival",
        "blocks",
        "cache_salt",
        "calls_tool",
        "held",
        "hints",
        "last_token",
        "loading",
        "max_len",
        "node",
        "num_cached",
        "num_computed",
        "num_draft",
        "num_fixed",
        "num_prefill",
        "num_prompt",
        "num_prompt_logprobs",
        "num_tokens",
        "num_unchanged",
        "params",
        "pinned",
        "prompt_read",
        "request_id",
        "retain",
        "session",
        "started",
        "stop_ids",
        "tokens",
    )

    def __init__(
        self,
        request_id: str,
        prompt: AbstractSequence[int] | npt.NDArray[np.int32],
        params: SamplingParams,
        *,
        max_len: int,
        eos_token_ids: frozenset[int] = frozenset(),
        cache_salt: str = "",
        retain: bool = True,
        hints: Hints = NO_HINTS,
    ) -> None:
        """`max_len` bounds prompt and answer together, whatever `params.max_tokens` says.

        What is computed is shared among sequences of the same `cache_salt` only, and not left
        behind at all unless `retain`.
        """
        self.request_id = request_id
        self.params = params
        self.arrival = 0  # the scheduler numbers them as they come
        self.num_prompt = len(prompt)
        self.max_len = min(max_len, self.num_prompt + params.max_tokens)
        self.tokens: npt.NDArray[np.int32] = np.empty(self.max_len, dtype=np.int32)
        self.tokens[: self.num_prompt] = prompt
        self.num_tokens = self.num_prompt
        self.last_token = int(prompt[-1])
        self.held = False  # something else must be known before it can go on
        self.num_computed = 0
        self.num_prefill = self.num_prompt  # tokens to compute before it decodes
        # Of the prompt, found in the cache instead of computed when it first started.
        self.num_cached: int | None = None
        self.prompt_read = False  # the whole prompt has been through the model
        self.num_prompt_logprobs = 0  # given out so far
        self.num_draft = 0  # tokens that may come next, written behind its own, for the next step
        self.num_unchanged = 0  # first tokens that a draft has seen and were not taken back since
        # Its place in the cache, which `KvCache` keeps: blocks in order of position (a new list
        # where one of them changes), and the last of its path's nodes in the prefix tree.
        self.cache_salt = cache_salt
        self.retain = retain
        self.hints = hints
        # Who asks one thing after the other: nobody's name is known to others.
        self.session = (cache_salt, hints.session) if hints.session else None
        self.blocks: list[int] = []
        self.node: Node | None = None
        self.pinned: Node | None = None  # the last of them that others needed, when it was asked
        self.started = False  # holds blocks
        self.loading = False  # held until blocks of its own are read from disk
        self.num_fixed: int | None = None  # tokens that nothing takes back; None: all
        self.calls_tool = False  # its answer ends with a call, so the session goes on at once
        eos = frozenset() if params.ignore_eos else eos_token_ids
        self.stop_ids = eos | frozenset(params.stop_token_ids)

    @property
    def num_generated(self) -> int:
        """Tokens of the answer so far."""
        return self.num_tokens - self.num_prompt

    @property
    def num_pending(self) -> int:
        """Tokens that the model may see now, and has not."""
        return 0 if self.held else self.num_tokens - self.num_computed

    @property
    def is_decoding(self) -> bool:
        """Whether its prompt is computed, and after a preemption all that was lost besides.

        But for the last token, which is one decode step like any other. Several tokens may be
        pending even so, where a constraint forced some.
        """
        return self.num_computed >= self.num_prefill - 1

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether some prompt token's log-probability is still owed."""
        return (
            self.params.prompt_logprobs is not None
            and self.num_prompt_logprobs < self.num_prompt - 1
        )

    @property
    def most_cached(self) -> int:
        """How many first tokens need not be computed if they are cached.

        The last one must be, for the logits after it, and those whose log-probability is wanted.
        """
        return self.num_prompt_logprobs if self.wants_prompt_logprobs else self.num_tokens - 1

    @property
    def num_final(self) -> int:
        """How many first tokens are in the cache for good: nothing writes to their places again.

        The last token that is fixed may be computed once more, for its logits.
        """
        fixed = self.num_tokens if self.num_fixed is None else self.num_fixed
        return min(self.num_computed, fixed - 1)

    def truncate(self, length: int) -> None:
        """Takes tokens of the answer back, down to `length` tokens in all.

        The last one that stays is computed again, for the logits after it.
        """
        self.num_tokens = length
        self.last_token = int(self.tokens[length - 1])
        self.num_computed = min(self.num_computed, length - 1)
        self.num_prefill = min(self.num_prefill, length)
        self.num_unchanged = min(self.num_unchanged, length)

    def forget_computed(self) -> None:
        """Its blocks are gone: all tokens that it has are to be computed again, like a prompt."""
        self.num_computed = 0
        self.num_prefill = self.num_tokens

    def append(self, token: int) -> None:
        """Adds a token of the answer."""
        self.tokens[self.num_tokens] = token
        self.num_tokens += 1
        self.last_token = token
