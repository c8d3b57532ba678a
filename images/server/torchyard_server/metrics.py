"""Prometheus metrics. Their names and labels are the same for every model."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


# One more series for each counter that says when it was created: nobody asks.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter(
            "torchyard_server_requests",
            "Inference requests by HTTP status; 499 stands for callers that left.",
            ["code"],
            registry=registry,
        )
        self.seconds = Histogram(
            "torchyard_server_request_seconds",
            "Seconds from the headers of an inference request to its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "torchyard_server_batch_size", "Rows of a batch.", buckets=_ROWS, registry=registry
        )
        self.inflight = Gauge(
            "torchyard_server_inflight",
            "Inference requests that are read, wait or are computed.",
            registry=registry,
        )
        self._queue_depth = Gauge(
            "torchyard_server_queue_depth", "Requests that wait for a batch.", registry=registry
        )
        self._ready = Gauge(
            "torchyard_server_ready", "1 while the server is ready, else 0.", registry=registry
        )
        self._model = Gauge(
            "torchyard_server_model_info",
            "1, with what is served as labels.",
            ["model", "version", "digest"],
            registry=registry,
        )

    def serving(self, model: str, version: str, digest: str) -> None:
        """Say what is served, from now on."""
        self._model.labels(model, version, digest).set(1)

    def watch(self, ready: Callable[[], bool], queue_depth: Callable[[], int]) -> None:
        """Read readiness and queue at the moment of each scrape."""
        self._ready.set_function(ready)
        self._queue_depth.set_function(queue_depth)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)
