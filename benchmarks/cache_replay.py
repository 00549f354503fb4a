"""How much of recorded sessions the prefix cache finds again, without a model.

    python -m benchmarks.cache_replay TRACES [--share 0.33] [--seeds 5] [--disk 0.33]

TRACES is a folder of traces in the form of callanjfox/kv-cache-tester: requests with their time and
an id for each block of prompt tokens. The sessions run at once, each begun within the same ten
minutes; the engine's own cache and sequences do all but compute. Shown is the share of reusable
tokens (those up to where a prompt leaves all earlier ones of its session) that were found: by the
cache as it is, with sessions that say their names, with the least recently used going first, and
with what is needed last going first, which is the best that can be. With a disk that has room for a
share of the blocks: as it is, and if what is on disk went like what is not.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from cierzo.engine.cache.disk.folders import About, Bound, WorldFolder
from cierzo.engine.cache.disk.records import RecordForm
from cierzo.engine.cache.disk.store import Store
from cierzo.engine.cache.disk.tier import DiskTier
from cierzo.engine.cache.eviction import Worth, delay
from cierzo.engine.cache.hints import Hints
from cierzo.engine.cache.kv_cache import KvCache
from cierzo.engine.cache.prefix_tree import Node
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.sequence import Sequence

STAGGER = 600.0  # seconds within which all sessions begin
NEVER = 1e12
SLOT_BYTES = 64  # of a block on disk, which holds nothing
SECONDS_PER_TOKEN = 0.01  # to compute: much longer than to read
TOKENS_OF_SESSION = 1 << 24  # token ids that no other session has


@dataclass(frozen=True)
class Call:
    """One request of one session."""

    at: float  # seconds
    session: int
    block_ids: tuple[int, ...]
    calls_tool: bool


def calls_of(folder: Path, seed: int, copies: int) -> tuple[list[Call], int]:
    """All requests in the order of time, and the tokens of a block."""
    rng = random.Random(seed)
    calls: list[Call] = []
    size = 0
    for session, path in enumerate(sorted(folder.glob("*.json")) * copies):
        trace = json.loads(path.read_text(encoding="utf-8"))
        size = trace["block_size"]
        begin = rng.random() * STAGGER
        calls += (
            Call(
                begin + request["t"],
                session,
                tuple(request["hash_ids"]),
                request["stop"] == "tool_use",
            )
            for request in trace["requests"]
        )
    return sorted(calls, key=lambda call: call.at), size


class _Blind(KvCache):
    """What is on disk goes like what is not."""

    def _least(self) -> Node | None:
        return self._evictable.pop()


class _Nothing:
    """Files that take no time, and hold nothing: what is found is counted alone."""

    def save_block(self, block: int, file: int, offset: int) -> int:
        return 1

    def load_block(self, block: int, file: int, offset: int) -> int:
        return 1


@contextmanager
def disk_tier(num_slots: int, size: int) -> Iterator[DiskTier | None]:
    """A tier of so many blocks."""
    if not num_slots:
        yield None
        return
    world = bytes(16)
    form = RecordForm(size, world)
    about = About("replay", size, SLOT_BYTES, 1, SLOT_BYTES, world.hex())
    with tempfile.TemporaryDirectory() as base:
        folder = WorldFolder(Path(base), world.hex(), about)
        bound = Bound(folder, num_slots * (SLOT_BYTES + form.num_bytes))
        store = Store((folder.blocks, folder.headers), form, SLOT_BYTES, bound)
        tier = DiskTier(store, _Nothing(), world, size, folder.close)
        tier.join(lambda: None, lambda: SECONDS_PER_TOKEN)
        yield tier
        tier.close(10.0)


class Replay:
    """Runs requests one after the other, and counts tokens."""

    def __init__(
        self, calls: list[Call], size: int, num_blocks: int, policy: str, disk: DiskTier | None
    ) -> None:
        self._calls = calls
        self._size = size
        self._turn = 0
        self._policy = policy
        self._needed: dict[bytes, list[int]] = defaultdict(list)  # turns, by block
        for turn, call in enumerate(calls):
            for block in self._blocks(call):
                self._needed[block].append(turn)
        worths: dict[str, Worth] = {
            "as it is": self._as_it_is,
            "sessions known": self._as_it_is,
            "disk not counted": self._as_it_is,
            "least recently used": lambda node, sequence: self._calls[self._turn].at,
            "best possible": self._farthest,
        }
        cache = _Blind if policy == "disk not counted" else KvCache
        self._cache = cache(
            num_blocks,
            size,
            lambda source, target: None,
            worth=worths[policy],
            clock=lambda: self._calls[self._turn].at,
            disk=disk,
        )

    def share_found(self) -> float:
        """Of the reusable tokens."""
        reusable = found = 0
        seen: set[bytes] = set()
        for turn, call in enumerate(self._calls):
            self._turn = turn
            blocks = self._blocks(call)
            first_new = next((i for i, b in enumerate(blocks) if b not in seen), len(blocks))
            reusable += first_new * self._size
            seen.update(blocks)
            found += min(self._run(call, b"".join(blocks)), first_new * self._size)
        return found / reusable

    def _run(self, call: Call, tokens: bytes) -> int:
        """One request; how many tokens it found."""
        prompt = np.append(np.frombuffer(tokens, np.int32), np.int32(0))
        sequence = Sequence(
            "", prompt, SamplingParams(max_tokens=0), max_len=len(prompt), hints=self._hints(call)
        )
        cache = self._cache
        cache.start(sequence)
        while sequence.loading:
            cache.collect()
        found = sequence.num_computed
        while len(sequence.blocks) * self._size < len(prompt):
            block = cache.take()
            if block is None:  # larger than the cache
                break
            sequence.blocks.append(block)
        sequence.num_computed = min(len(prompt), len(sequence.blocks) * self._size)
        sequence.calls_tool = call.calls_tool
        cache.release(sequence)
        while cache.disk is not None and cache.disk.is_saving:
            cache.collect()
        return found

    def _blocks(self, call: Call) -> list[bytes]:
        """The tokens of its blocks: different ones for different ids, and for other sessions."""
        firsts = np.array(call.block_ids, np.int32) * self._size + call.session * TOKENS_OF_SESSION
        return [
            block.tobytes() for block in firsts[:, None] + np.arange(self._size, dtype=np.int32)
        ]

    def _hints(self, call: Call) -> Hints:
        known = self._policy == "sessions known"
        return Hints(str(call.session).encode()) if known else Hints()

    def _as_it_is(self, node: Node, sequence: Sequence) -> float:
        return self._calls[self._turn].at + delay(sequence)

    def _farthest(self, node: Node, sequence: Sequence) -> float:
        """By the turn that needs the block next; that content tells the place is nearly true."""
        turns = self._needed.get(node.tokens, [])
        after = bisect_right(turns, self._turn)
        return -float(turns[after]) if after < len(turns) else -NEVER


def main(arguments: Iterable[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("traces", type=Path)
    parser.add_argument("--share", type=float, default=1 / 3, help="of the blocks that all need")
    parser.add_argument("--copies", type=int, default=1, help="sessions of each trace")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--disk", type=float, default=0.0, help="the same, on disk besides")
    options = parser.parse_args(list(arguments) if arguments is not None else None)
    print("| policy | mean | by seed |\n|---|---:|---|")
    without = ("sessions known", "least recently used", "best possible")
    for policy in ("as it is", *(("disk not counted",) if options.disk else without)):
        shares = []
        for seed in range(options.seeds):
            calls, size = calls_of(options.traces, seed, options.copies)
            num_blocks = len({(c.session, i) for c in calls for i in enumerate(c.block_ids)})
            blocks = max(1, int(num_blocks * options.share))
            with disk_tier(int(num_blocks * options.disk), size) as disk:
                shares.append(Replay(calls, size, blocks, policy, disk).share_found())
        by_seed = ", ".join(f"{share:.2%}" for share in shares)
        print(f"| {policy} | {mean(shares):.2%} | {by_seed} |", flush=True)


if __name__ == "__main__":
    main()
