"""What `/metrics` tells Prometheus: the engine's gauges, and times as clients see them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from cierzo.generate.receipt import Outcome
from cierzo.generate.reuse.diagnosis import Cause

if TYPE_CHECKING:
    from cierzo.engine.process.client import EngineClient

_TO_FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)  # seconds
_BETWEEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)  # seconds


class Metrics:
    """The server's own registry. It observes what is generated: a microsecond each time."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, client: EngineClient) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_EngineCollector(client))
        requests = Counter(
            "cierzo_requests",
            "Answers (choices) by how they ended.",
            ("outcome",),
            registry=self._registry,
        )
        outcomes: tuple[Outcome, ...] = get_args(Outcome)
        self._outcomes = {name: requests.labels(name) for name in outcomes}
        self._responses = Counter(
            "cierzo_http_responses", "HTTP answers by status.", ("status",), registry=self._registry
        )
        missed = Counter(
            "cierzo_missed_tokens",
            "Prompt tokens computed although an earlier request had computed as many, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self._missed = {cause: missed.labels(cause.value) for cause in Cause}
        self._to_first_token = Histogram(
            "cierzo_time_to_first_token_seconds",
            "From a checked request to its first token.",
            buckets=_TO_FIRST,
            registry=self._registry,
        )
        self._between_tokens = Histogram(
            "cierzo_inter_token_seconds",
            "From one token of an answer to the next.",
            buckets=_BETWEEN,
            registry=self._registry,
        )

    def first_token(self, seconds: float) -> None:
        """A choice got its first token, so long after it was given to the engine."""
        self._to_first_token.observe(seconds)

    def next_tokens(self, count: int, seconds: float) -> None:
        """A choice got more tokens, so long after the last ones."""
        self._between_tokens.observe(seconds / count)

    def ended(self, outcome: Outcome) -> None:
        """A choice has ended."""
        self._outcomes[outcome].inc()

    def missed(self, cause: Cause, tokens: int) -> None:
        """So many tokens of a prompt could have been reused, and were not."""
        self._missed[cause].inc(tokens)

    def mark_response(self, status: int) -> None:
        """One HTTP answer has begun."""
        self._responses.labels(str(status)).inc()

    def render(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Reads the engine's numbers when they are asked for."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def collect(self) -> Iterable[Metric]:
        stats = self._client.stats
        gauges: dict[str, tuple[str, float]] = {
            "cierzo_requests_running": ("Requests in the current batch.", stats.running),
            "cierzo_requests_waiting": ("Requests accepted and not in the batch.", stats.waiting),
            "cierzo_cache_blocks_used": (
                "Blocks of the KV cache in use.",
                stats.num_blocks - stats.free_blocks,
            ),
            "cierzo_cache_blocks_kept": (
                "Blocks of the KV cache that later requests may begin from.",
                stats.cached_blocks,
            ),
            "cierzo_cache_blocks_on_disk": ("Blocks of the cache on disk.", stats.disk_blocks),
            "cierzo_cache_blocks_total": ("Blocks of the KV cache.", stats.num_blocks),
            "cierzo_threads": ("Threads that may compute.", stats.threads),
            "cierzo_threads_in_use": (
                "Threads in use now; the others rest, for other processes have their cores.",
                stats.threads_in_use,
            ),
            "cierzo_engine_ready": (
                "1 when the engine takes requests.",
                int(self._client.status.state == "ready"),
            ),
            "cierzo_server_tasks": ("Tasks of the event loop.", len(asyncio.all_tasks())),
        }
        counters: dict[str, tuple[str, float]] = {
            "cierzo_prompt_tokens": ("Tokens of prompts read.", stats.prompt_tokens),
            "cierzo_computed_tokens": ("Tokens through the model.", stats.computed_tokens),
            "cierzo_generated_tokens": ("Tokens generated.", stats.generated_tokens),
            "cierzo_cached_tokens": ("Prompt tokens found in the cache.", stats.cached_tokens),
            "cierzo_evicted_blocks": ("Cached blocks that had to go.", stats.evicted_blocks),
            "cierzo_disk_written_bytes": (
                "Bytes of the cache written to disk.",
                stats.disk_bytes_written,
            ),
            "cierzo_disk_read_bytes": (
                "Bytes of the cache read from disk.",
                stats.disk_bytes_read,
            ),
            "cierzo_disk_loads_failed": (
                "Blocks on disk that were not as they had been written, and were computed.",
                stats.disk_loads_failed,
            ),
            "cierzo_disk_loads_skipped": (
                "Times that computing was faster than reading from disk.",
                stats.disk_loads_skipped,
            ),
            "cierzo_disk_loads_overdue": (
                "Times that the disk did not answer, and what it had was computed.",
                stats.disk_loads_overdue,
            ),
            "cierzo_engine_restarts": ("Engines replaced.", self._client.restarts),
            "cierzo_preemptions": ("Requests that gave their blocks up.", stats.preemptions),
            "cierzo_engine_steps": ("Steps of the engine.", stats.steps),
            "cierzo_engine_step_seconds": ("Time spent in steps.", stats.step_seconds),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=value)
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(name, text, value=value)
        yield _by_source(
            "cierzo_drafted_tokens",
            "Tokens tried before their time, by what they were copied from.",
            stats.drafted_tokens,
            stats.drafted_predicted,
            stats.drafted_recent,
        )
        yield _by_source(
            "cierzo_accepted_draft_tokens",
            "Those that were right.",
            stats.accepted_tokens,
            stats.accepted_predicted,
            stats.accepted_recent,
        )


def _by_source(name: str, text: str, total: int, predicted: int, recent: int) -> Metric:
    family = CounterMetricFamily(name, text, labels=["source"])
    family.add_metric(["text"], total - predicted - recent)
    family.add_metric(["prediction"], predicted)
    family.add_metric(["recent"], recent)
    return family
