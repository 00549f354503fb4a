"""What a server tells of its threads."""

from __future__ import annotations

from pathlib import Path

from tests.api.live import start


def test_metrics_say_how_many_there_are_and_how_many_work(model: Path) -> None:
    with start(model, engine__threads=3) as server:
        metrics = server.metrics()
        assert metrics["cierzo_threads"] == 3
        assert 1 <= metrics["cierzo_threads_in_use"] <= 3
        server.chat(max_tokens=1)
        server.until("counted", lambda: server.metrics()["cierzo_engine_steps_total"] > 0)
        metrics = server.metrics()
        assert metrics["cierzo_threads"] == 3
        assert 1 <= metrics["cierzo_threads_in_use"] <= 3
