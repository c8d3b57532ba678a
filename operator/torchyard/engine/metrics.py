"""Every metric of the operator. None is labelled by an object's name: there is no end of those."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from torchyard import __version__

# Otherwise every counter has a second series that nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

Census = Callable[[], Mapping[tuple[str, str], int]]


class Metrics:
    """The metrics of one operator process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Gauge("torchyard_build", "The version that runs.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        self.requests = Counter(
            "torchyard_api_requests",
            "Requests to the API server; code 0 is no answer.",
            ["verb", "code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "torchyard_api_request_seconds",
            "Time until the API server answered; watches count until they are open.",
            ["verb"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.reconciles = Counter(
            "torchyard_reconciles",
            "Decisions that were carried out, by how that ended.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.reconcile_seconds = Histogram(
            "torchyard_reconcile_seconds",
            "Time of one decision and its writes.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.corrections = Counter(
            "torchyard_sweep_corrections",
            "What a sweep knew better than the watches: ghost is gone, missed was not told.",
            ["kind", "what"],
            registry=registry,
        )
        self.events_lost = Counter(
            "torchyard_events_lost",
            "Kubernetes Events that could not be posted.",
            registry=registry,
        )
        self.leader = Gauge(
            "torchyard_leader",
            "1 while this replica acts, 0 while it stands by.",
            registry=registry,
        )

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def watch_ages(self, read: Callable[[], Mapping[str, float]]) -> None:
        """Seconds since the newest watch of each kind was opened."""
        self.registry.register(
            _Family(
                "torchyard_watch_age_seconds",
                "Seconds since the newest watch of a kind was opened.",
                ["kind"],
                lambda: (((kind,), age) for kind, age in read().items()),
            )
        )

    def census(self, read: Census) -> None:
        """Resources by kind and phase."""
        self.registry.register(
            _Family(
                "torchyard_resources",
                "Resources by kind and phase.",
                ["kind", "phase"],
                lambda: ((labels, float(count)) for labels, count in read().items()),
            )
        )

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _Family(Collector):
    def __init__(
        self,
        name: str,
        text: str,
        labels: list[str],
        read: Callable[[], Iterable[tuple[tuple[str, ...], float]]],
    ) -> None:
        self._name, self._text, self._labels, self._read = name, text, labels, read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self._read():
            family.add_metric(labels, value)
        yield family
