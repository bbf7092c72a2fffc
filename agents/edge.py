"""Metrics of the processes at the edge: what `rekindle ingest` took in, what `rekindle relay` handed over."""

from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

_INGESTED: Final = ("sent", "refused", "skipped")
_RELAYED: Final = ("sent", "refused", "expired", "erased")
_ATTEMPTS: Final = ("2xx", "3xx", "4xx", "5xx", "unreachable")
_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class IngestMetrics:
    """Counts records of the foreign topic, and events made of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._events = Counter(
            "rekindle_ingest_events",
            "What became of a foreign topic's events; refused: dead letters; skipped: records that are no user events.",
            ("outcome",),
            registry=registry,
        )
        for outcome in _INGESTED:
            self._events.labels(outcome)
        self._lag = Gauge(
            "rekindle_ingest_lag_records",
            "Records of the foreign topic not taken in yet.",
            ("partition",),
            registry=registry,
        )
        ProcessCollector(registry=registry)
        self.counts = dict.fromkeys(_INGESTED, 0)

    def handled(self, partition: int, mapped: Any, *, lag: int) -> None:
        """A chunk was acknowledged; `mapped` is an `agents.intake.Mapped`."""
        sizes = (len(mapped.events), len(mapped.refused), mapped.skipped)
        for outcome, size in zip(_INGESTED, sizes, strict=True):
            self._events.labels(outcome).inc(size)
            self.counts[outcome] += size
        self._lag.labels(partition).set(max(0, lag))

    def left(self, partition: int) -> None:
        """A partition went elsewhere."""
        if (str(partition),) in self._lag._metrics:  # noqa: SLF001 removing what isn't there warns
            self._lag.remove(partition)


class RelayMetrics:
    """Counts triggers and attempts to hand them over."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._triggers = Counter(
            "rekindle_relay_triggers",
            "Triggers by how they ended; all but those sent: dead letters.",
            ("outcome",),
            registry=registry,
        )
        self._attempts = Counter("rekindle_relay_attempts", "Requests by their answer.", ("answer",), registry=registry)
        for outcome in _RELAYED:
            self._triggers.labels(outcome)
        for answer in _ATTEMPTS:
            self._attempts.labels(answer)
        self._seconds = Histogram(
            "rekindle_relay_request_seconds", "Time to an answer.", buckets=_SECONDS, registry=registry
        )
        self._open = Gauge("rekindle_relay_open", "Triggers that are being handed over.", registry=registry)
        ProcessCollector(registry=registry)

    def opened(self, change: int) -> None:
        """So many more (or fewer) are being handed over."""
        self._open.inc(change)

    def attempted(self, status: int | None, seconds: float) -> None:
        """An answer came, or none (None)."""
        self._attempts.labels("unreachable" if status is None else f"{status // 100}xx").inc()
        self._seconds.observe(seconds)

    def ended(self, outcome: str) -> None:
        """A trigger's outcome is written."""
        self._triggers.labels(outcome).inc()
