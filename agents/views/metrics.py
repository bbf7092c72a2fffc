"""What the projector counts, once."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class ViewMetrics:
    """The metrics of a projector; no label names a user."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)
        self.lag = Gauge(
            "rekindle_views_lag_records",
            "Records of the state topic that the views do not show yet.",
            registry=registry,
        )
        self.age = Gauge(
            "rekindle_views_fresh_timestamp_seconds",
            "When the views last showed all there was; 0: never since the start.",
            registry=registry,
        )
        self.up = Gauge("rekindle_views_redis_up", "1 if Redis answers.", registry=registry)
        self.current = Gauge(
            "rekindle_views_current", "1 if readers see these views; 0 while they are built.", registry=registry
        )
        self.rows = Counter("rekindle_views_rows", "Rows of users written or removed.", registry=registry)
        self.records = Counter("rekindle_views_records", "Records read, coalesced or not.", registry=registry)
        self.decisions = Counter("rekindle_views_decisions", "Decisions read.", registry=registry)
        self.rebuilds = Counter("rekindle_views_rebuilds", "Times that the views were made anew.", registry=registry)
        self.errors = Counter(
            "rekindle_views_redis_errors", "Times that Redis failed or had lost data.", registry=registry
        )
        self.write = Histogram(
            "rekindle_views_write_seconds", "Time of one transaction.", buckets=_BUCKETS, registry=registry
        )
