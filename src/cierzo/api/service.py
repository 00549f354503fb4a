"""What every route needs: the engine's client, the model's words and names, the settings."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from cierzo.api.errors import unavailable
from cierzo.api.http.request_log import RequestLog
from cierzo.api.metrics import Metrics
from cierzo.api.reuse import Reuse
from cierzo.api.served_model import ServedModel
from cierzo.api.state import State, Status, status_of
from cierzo.api.text_threads import TextThreads
from cierzo.engine.errors import EngineError
from cierzo.engine.process.client import EngineClient
from cierzo.generate.model import Language, Model
from cierzo.grammar.schema import schema_limits
from cierzo.settings import Settings


@dataclass
class Service:
    """What is behind the app, one for each server."""

    settings: Settings
    client: EngineClient
    served: ServedModel
    metrics: Metrics
    language: Language | None = None  # None while it is being loaded
    stopping: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    threads: TextThreads = field(default_factory=TextThreads)
    request_log: RequestLog = field(init=False)
    reuse: Reuse = field(init=False)

    def __post_init__(self) -> None:
        self.request_log = RequestLog(self.metrics.mark_response)
        self.reuse = Reuse(self.threads, self.metrics)

    @property
    def status(self) -> Status:
        """How the server is now."""
        has_language = self.language is not None
        return status_of(self.client.status, has_language=has_language, stopping=self.stopping)

    def model(self) -> Model:
        """What requests are prepared for. Raises ApiError 503 unless one can be taken now, or in a
        moment."""
        status = self.status
        if status.state is State.STOPPING:
            raise unavailable(status.detail, "shutting_down")
        if status.state is State.DEAD:
            raise unavailable(f"the engine is dead: {status.detail}", "engine_dead", None)
        if status.state is State.LOADING or self.language is None:
            raise unavailable("the model is still being loaded; see /health", "loading")
        info = self.client.info
        limits = schema_limits(self.settings.limits)
        return Model(self.language, info.max_model_len, info.vocab_size, limits)

    @property
    def fingerprint(self) -> str:
        """Names all that the bits of an answer follow from besides the request.

        That is the build, the weights and how they are held, the device, and the cache's numbers.
        """
        from cierzo import __version__

        try:
            info = self.client.info
        except EngineError:
            return f"cierzo-{__version__}"
        device = info.backend.partition(",")[0].replace(" ", "").replace("(", "-").strip(")")
        engine = self.settings.engine
        weights = "-".join(filter(None, (info.fingerprint, engine.quantize)))
        return f"cierzo-{__version__}-{weights}-{device}-{engine.kv_cache_dtype}"
