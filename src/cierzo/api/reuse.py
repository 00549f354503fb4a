"""Why prompts were missed in the cache: found out beside each answer, counted, and logged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from cierzo.api.errors import ApiError
from cierzo.api.metrics import Metrics
from cierzo.api.text_threads import TextThreads
from cierzo.generate.reuse.diagnosis import Cause, Diagnosis
from cierzo.generate.reuse.recent import RecentRequests
from cierzo.generate.reuse.watch import Watch
from cierzo.generate.reuse.words import Spell, in_words
from cierzo.log import Log

_TRIFLE = 32  # tokens; less is not worth a line
_MANY = 1024  # tokens that are worth a warning, where the client can do something about it
_SECONDS = 10.0  # between two warnings
_BYTES = 4  # of a token, by which work is told to be short or long
_HELPLESS = (Cause.NOT_KEPT, Cause.RETOKENIZED, Cause.TEMPLATE, Cause.COMPACTED)
_log = Log("cache")


class Reuse:
    """Belongs to a server."""

    def __init__(self, threads: TextThreads, metrics: Metrics) -> None:
        self.recent = RecentRequests()
        self._threads = threads
        self._metrics = metrics
        self._watching: dict[asyncio.Task[None], Watching] = {}
        self._warned = -_SECONDS

    def begin(self, watch: Watch, spell: Spell) -> Watching:
        """Looks at a request in a thread, now that the engine has read its prompt."""
        watching = Watching(watch)
        # One that has ended may be the one to compare with.
        ended = [other for other in self._watching.values() if other.cached.done()]
        task = asyncio.create_task(self._look(watching, ended, spell))
        self._watching[task] = watching
        task.add_done_callback(self._watching.pop)
        return watching

    async def _look(self, watching: Watching, ended: Sequence[Watching], spell: Spell) -> None:
        watch = watching.watch
        try:
            for other in ended:
                await other.looked.wait()
            await self._threads.run(watch.look, _BYTES * len(watch.watched.tokens))
            diagnosis = watch.diagnose(await watching.cached)
            watch.keep()
            self._tell(watch.watched.id, diagnosis, spell)
        except ApiError:  # the server ends
            return
        finally:
            watching.looked.set()

    def _tell(self, id: str, diagnosis: Diagnosis, spell: Spell) -> None:
        left = diagnosis.lost
        for miss in diagnosis.misses:
            count = min(miss.tokens, left)
            left -= count
            self._metrics.missed(miss.cause, count)
        if diagnosis.lost < _TRIFLE:
            return
        first, now = diagnosis.misses[0], time.monotonic()
        write: Callable[..., None] = _log.info
        mendable = diagnosis.lost >= _MANY and first.cause not in _HELPLESS
        if mendable and now - self._warned >= _SECONDS:
            self._warned, write = now, _log.warning
        write(
            "prompt missed in the cache",
            generation=id,
            earlier=diagnosis.compared,
            reason=first.cause,
            missed_tokens=diagnosis.lost,
            cached_tokens=diagnosis.cached,
            why=in_words(first, spell),
        )


class Watching:
    """A request that is being looked at."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.cached: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.looked = asyncio.Event()

    def ended(self, cached: int) -> None:
        """The answer has ended, however; so many tokens of the prompt had been found."""
        if not self.cached.done():
            self.cached.set_result(cached)
