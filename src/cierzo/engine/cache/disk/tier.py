"""The disk tier, as the cache sees it: what it offers is written behind, what it lacks read ahead.

Nothing waits for a write. A sequence waits for what is read, and others run meanwhile. What cannot
be read, or is not what was written, is computed.
"""

from __future__ import annotations

import math
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from cierzo.engine.cache.disk.jobs import BlockFiles, IoThread, Load, Place, Save
from cierzo.engine.cache.disk.patience import Patience
from cierzo.engine.cache.disk.records import Record, name_of
from cierzo.engine.cache.disk.store import Store
from cierzo.engine.cache.prefix_tree import TOKEN_BYTES, Node, common_tokens
from cierzo.engine.sequence import Sequence
from cierzo.log import Log

_log = Log("cache")

_LOG_SECONDS = 10.0  # between two lines that say the same
_RETRY = 1.1  # how much faster the disk is taken to be with each time that it was too slow


class DiskTier:
    """Belongs to the engine's thread."""

    def __init__(
        self,
        store: Store,
        files: BlockFiles,
        world: bytes,
        block_size: int,
        close: Callable[[], None],
    ) -> None:
        """`files` moves blocks; `close` lets go of the store's files."""
        self._written = self._read = 0  # bytes
        self._failed = self._skipped = self._overdue = 0
        self._notify: Callable[[], None] = _nothing
        self._seconds_per_token: Callable[[], float] = _unknown
        self._store = store
        self._world = world
        self._block_size = block_size
        self._close = close
        form = store.form
        self._place = Place(files, store.blocks_file, store.records_file, form, store.slot_bytes)
        self._writer, self._reader = IoThread("cache writer", nice=10), IoThread("cache reader")
        self._done: queue.SimpleQueue[Save | Load] = queue.SimpleQueue()
        self._saving: dict[Node, Save] = {}
        self._loading: dict[Sequence, Load] = {}
        # Not collected yet, in the order in which they are read; some were given up.
        self._reads: deque[Load] = deque()
        self._queued = 0  # slots of these
        self._patience = Patience()
        self._writes = True
        self._bytes_per_second = 0.0  # 0 while unknown
        self._logged = -_LOG_SECONDS

    @property
    def num_blocks(self) -> int:
        """Blocks on disk."""
        return len(self._store)

    def told(self) -> dict[str, int]:
        """Its part of `EngineStats`."""
        return {
            "disk_blocks": self.num_blocks,
            "disk_bytes_written": self._written,
            "disk_bytes_read": self._read,
            "disk_loads_failed": self._failed,
            "disk_loads_skipped": self._skipped,
            "disk_loads_overdue": self._overdue,
        }

    def join(self, notify: Callable[[], None], seconds_per_token: Callable[[], float]) -> None:
        """`notify` is called on a thread whenever a load is finished. `seconds_per_token` tells
        what computing a token takes; 0 while unknown."""
        self._notify, self._seconds_per_token = notify, seconds_per_token

    @property
    def is_saving(self) -> bool:
        """Whether anything that was offered is not written yet."""
        return bool(self._saving)

    @property
    def is_loading(self) -> bool:
        """Whether there will be something to collect besides what is written."""
        return bool(self._reads)

    def root_name(self, salt: str) -> bytes:
        """The name of the empty prefix of a salt."""
        return name_of(self._world, salt.encode())

    # --- write behind ---------------------------------------------------------------------------

    def offer(self, nodes: list[Node], root: bytes) -> None:
        """A sequence leaves these nodes, one after the other: what is not on disk is written."""
        slots = [self._store.find(self._name(node), node.tokens) for node in nodes]
        there = [slot for slot in slots if slot is not None]
        if not self._writes:
            return
        if there:
            # Those before it stay because it does. If others follow, that tells that it was used.
            record = self._store.touch(there[-1])
            if there[-1] == slots[-1]:
                self._write_record(there[-1], self._store.form.pack(there[-1], record))
        missing = [node for node, slot in zip(nodes, slots, strict=True) if slot is None]
        for node in missing:
            if node not in self._saving and not self._save(node, root):
                break

    def forget(self, node: Node) -> None:
        """The node's block is about to be used for something else."""
        save = self._saving.get(node)
        if save is not None:
            save.cancelled = True

    def erase(self, node: Node) -> None:
        """The node must not be on disk."""
        save = self._saving.get(node)
        if save is not None:
            save.cancelled = save.unwanted = True
        slot = self._store.find(self._name(node), node.tokens)
        if slot is not None:
            self._drop(slot)

    def erase_root(self, root: bytes, kept: Iterable[Node]) -> int:
        """Nothing of a root must be on disk. How many tokens were only there; `kept` are those
        nodes of it that are in memory."""
        for save in self._saving.values():
            if save.record.root == root:
                save.cancelled = save.unwanted = True
        in_memory = {self._name(node) for node in kept}
        num_tokens = 0
        for slot in self._store.of_root(root):
            record = self._store.record(slot)
            if record is not None and record.name not in in_memory:
                num_tokens += record.num_tokens
            self._try(self._place.write_record, slot, self._store.form.empty)
            self._drop(slot)
            self._writer.put(partial(self._try, self._place.wipe, slot))
        return num_tokens

    def _save(self, node: Node, root: bytes) -> bool:
        slot = self._store.take()
        if slot is None or node.parent is None:
            return False
        parent = self._name(node.parent)
        record = Record(node.name, parent, root, self._store.now(), 0, node.tokens)
        self._saving[node] = save = Save(node, slot, node.block, record)
        self._writer.put(partial(self._run, save))
        return True

    def is_written(self, node: Node) -> bool:
        """Whether nothing is lost if the node's block is used for something else now."""
        return node not in self._saving

    def holds(self, node: Node) -> bool:
        """Whether the node is on disk."""
        return self._store.find(self._name(node), node.tokens) is not None

    # --- read ahead -----------------------------------------------------------------------------

    def find(self, node: Node, sequence: Sequence, in_memory: int) -> tuple[list[int], int]:
        """The slots that have the next tokens of a sequence, after a node, and how many; none if
        it should compute them. `in_memory` tokens after the node can be had without the disk."""
        slots: list[int] = []
        if self._patience.is_over:
            return [], 0
        name, end = self._name(node), (node.depth + 1) * self._block_size
        while end <= sequence.most_cached:
            tokens = sequence.tokens[end - self._block_size : end].tobytes()
            name_after = name_of(name, tokens)
            slot = self._store.find(name_after, tokens)
            if slot is None:
                break
            slots.append(slot)
            name, end = name_after, end + self._block_size
        rest = sequence.tokens[end - self._block_size : min(end, sequence.most_cached)].tobytes()
        slot, same = self._longest_start(name, rest)
        num_tokens = len(slots) * self._block_size
        if slot is not None and num_tokens + same > in_memory:
            slots.append(slot)
            num_tokens += same
        return (slots, num_tokens) if self._is_faster(slots, num_tokens - in_memory) else ([], 0)

    @property
    def pays(self) -> bool:
        """Whether reading a block takes no longer than computing it, as far as is known."""
        return self.share <= 1.0

    @property
    def share(self) -> float:
        """What reading a block takes, as a share of what computing it does; 0 while unknown."""
        computing = self._block_size * self._seconds_per_token()
        return self._block_seconds / computing if computing else 0.0

    @property
    def _block_seconds(self) -> float:
        """What reading a block takes; 0 while unknown."""
        return self._store.slot_bytes / self._bytes_per_second if self._bytes_per_second else 0.0

    def load(
        self, sequence: Sequence, slots: list[int], blocks: list[int], num_tokens: int
    ) -> None:
        """Starts reading slots into blocks, which are the thread's until `collect` returns it."""
        records = [record for slot in slots if (record := self._store.record(slot))]
        self._store.hold(slots)
        self._queued += len(slots)
        most = num_tokens * self._seconds_per_token() or math.inf
        self._loading[sequence] = load = Load(sequence, slots, records, blocks, num_tokens, most)
        self._reads.append(load)
        self._patience.begin(self._notify)
        self._reader.put(partial(self._run, load))

    def cancel(self, sequence: Sequence) -> None:
        """A sequence does not want what is being read for it; `collect` returns it even so."""
        self._loading.pop(sequence).cancelled = True

    def overdue(self) -> list[Sequence]:
        """Sequences for which nothing was read for so long that they should not wait: cancel."""
        if not self._reads or not self._patience.ends(self._reads[0].moved, self._notify):
            return []
        self._overdue += len(self._loading)
        return list(self._loading)

    def collect(self, saved: Callable[[Node], None]) -> list[Load]:
        """Notes what the threads have done. Gives the loads that are finished or given up; `saved`
        is told of each node that is on disk now."""
        loads = []
        while not self._done.empty():
            done = self._done.get()
            if isinstance(done, Save):
                self._saved(done)
                if self.holds(done.node):
                    saved(done.node)
            else:
                self._loaded(done)
                loads.append(done)
        return loads

    def close(self, seconds: float) -> None:
        """Writes what is offered, if that takes no longer than so many seconds, and ends."""
        self._writes = False
        finished = self._writer.close(seconds)
        self._patience.renew()
        for load in self._loading.values():
            load.cancelled = True
        if self._reader.close(seconds) and finished:
            self._close()

    def _longest_start(self, name: bytes, wanted: bytes) -> tuple[int | None, int]:
        """The slot that follows a prefix and begins with the most of these tokens; how many."""
        best, most = None, 0
        for slot in self._store.followers(name):
            record = self._store.record(slot)
            if record is not None and record.tokens[:TOKEN_BYTES] == wanted[:TOKEN_BYTES]:
                same = common_tokens(record.tokens, wanted)
                if same > most:
                    best, most = slot, same
        return best, most

    def _is_faster(self, slots: list[int], num_tokens: int) -> bool:
        """Whether reading takes no longer than computing, as far as is known."""
        if num_tokens <= 0:
            return False
        computing = num_tokens * self._seconds_per_token()
        reading = (self._queued + len(slots)) * self._block_seconds
        if computing == 0.0 or reading <= computing:
            return True
        self._skipped += 1
        self._bytes_per_second *= _RETRY  # lest it be never tried again
        return False

    # --- what threads have done -----------------------------------------------------------------

    def _run(self, job: Save | Load) -> None:
        """On a thread."""
        try:
            job.run(self._place)
        finally:
            self._done.put(job)
            if isinstance(job, Load):
                self._notify()

    def _saved(self, save: Save) -> None:
        del self._saving[save.node]
        if save.saved is not None and not save.unwanted:
            self._store.add(save.slot, save.saved)
            self._written += self._store.slot_bytes
            return
        self._store.give_back(save.slot)
        if save.saved is not None:
            self._write_record(save.slot, self._store.form.empty)
        if save.error is not None:
            self._stop_writing(save.error)

    def _loaded(self, load: Load) -> None:
        self._reads.remove(load)
        self._patience.renew()
        if self._reads:
            self._patience.begin(self._notify)
        self._queued -= len(load.slots)
        if self._loading.get(load.sequence) is load:
            del self._loading[load.sequence]
        self._store.let_go(load.slots)
        num_bytes = load.num_loaded * self._store.slot_bytes
        self._read += num_bytes
        if load.num_loaded:
            measured = num_bytes / max(load.seconds, 1e-9)
            average = self._bytes_per_second or measured
            self._bytes_per_second = 0.5 * (average + measured)
        if load.is_cut:
            self._skipped += 1
        if load.damaged is not None and self._store.record(load.damaged) is not None:
            self._failed += 1
            self._drop(load.damaged)
            if time.monotonic() - self._logged >= _LOG_SECONDS:
                self._logged = time.monotonic()
                _log.warning("a block on disk is damaged, it is computed", blocks=self._failed)

    def _drop(self, slot: int) -> None:
        self._store.drop(slot)
        self._write_record(slot, self._store.form.empty)

    def _write_record(self, slot: int, data: bytes) -> None:
        """After all that was to be written before."""
        self._writer.put(partial(self._try, self._place.write_record, slot, data))

    def _try(self, write: Callable[..., None], *arguments: object) -> None:
        """If it fails, what stays on disk is as true as before."""
        try:
            write(*arguments)
        except OSError as error:
            _log.warning("the disk cache was not changed", reason=error.strerror)

    def _stop_writing(self, error: OSError) -> None:
        if self._writes:
            self._writes = False
            _log.warning("nothing more is written to the disk cache", reason=error.strerror)
        for save in self._saving.values():
            save.cancelled = True

    def _name(self, node: Node) -> bytes:
        """The name of a node's prefix."""
        unnamed = []
        while not node.name and node.parent is not None:
            unnamed.append(node)
            node = node.parent
        name = node.name
        for node in reversed(unnamed):
            name = node.name = name_of(name, node.tokens)
        return name


def _nothing() -> None:
    pass


def _unknown() -> float:
    return 0.0
