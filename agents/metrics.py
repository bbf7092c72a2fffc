"""Every metric of a worker, once.

What happens is counted as it happens, once per chunk and once per commit. What is, and every sum over many cells, is
worked out when it is asked for, in the server's thread. Labels come from bounded sets; no user is named anywhere.
"""

import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from time import monotonic, time
from typing import Any, Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agents.families import OTHER, Series, arms, gauge, grown, less, modes, of, population, recall, scores
from agents.observe import ChunkFolded, Committed
from pipeline.partition import Partition
from pipeline.position import CORE_VERSION, Counts
from pipeline.state import STATE_VERSION
from pipeline.units import HOUR
from schemas.deadletter import DeadLetterReason
from schemas.topics import OUTPUTS

_REASONS: Final = get_args(DeadLetterReason)
_ABORTS: Final = ("fenced", "failed")
_LEAVES: Final = ("rebalance", "fenced", "shutdown")
_OUTCOMES: Final = ("applied", "duplicate", "rejected")
_PARTS: Final = ("late", "backfilled", "dedupe_unsure", "skipped")

_FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_SLOW: Final = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300)
_BYTES_AGE: Final = 30.0  # s for which the bytes of all rows are not added up again


class Metrics:
    """An `Observer` that counts. `registry` gets every metric; `now` is the wall clock, s."""

    def __init__(self, registry: CollectorRegistry, *, now: Callable[[], float] = time) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._cores: dict[int, Partition] = {}
        self._counted: dict[int, Counts] = {}

        def counter(name: str, says: str, **labels: Iterable[str]) -> Counter:
            made = Counter(f"rekindle_{name}", says, tuple(labels), registry=registry)
            for label in labels.values():
                for value in label:
                    made.labels(value)  # at 0 from the start: an alert needs something to rise from
            return made

        def histogram(name: str, says: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rekindle_{name}_seconds", says, buckets=buckets, registry=registry)

        self._events = counter("events", "Events read, by what became of them; together: all.", outcome=_OUTCOMES)
        self._parts = counter(
            "events_noted", "Late, backfilled, dedupe_unsure: applied; skipped: rejected.", note=_PARTS
        )
        self._control = counter("control_messages", "Control messages folded: ticks, adoptions, pauses, holds.")
        self._woken = counter("users_woken", "Users whose deadline was reached.")
        self._lost = counter("records_lost", "Records deleted before they were read, in gaps that were accepted.")
        self._dead = counter("dead_letters", "Dead letters written, by reason.", reason=(*_REASONS, OTHER))
        self._outputs = counter("outputs", "Records written, by output topic.", topic=[topic.name for topic in OUTPUTS])
        self._rows = counter("changelog_records", "Records written to the state topic.")
        self._bytes = counter("changelog_bytes", "Bytes of keys and values written to the state topic.")
        self._records = counter("records", "Records of the user topic folded, control messages among them.")
        self._aborted = counter("transactions_aborted", "Transactions that failed, by reason.", reason=_ABORTS)
        self._fenced = counter("fenced", "Partitions that another worker's producer took.")
        self._left = counter("partitions_left", "Partitions that left this worker, by reason.", reason=_LEAVES)
        self._ticks = counter("ticks", "Live ticks appended by this worker.")
        self._reread = counter("source_rereads", "Chunks that did not continue the last one: read again.")
        self._fold = histogram("chunk_fold", "Time to fold a chunk, without its pauses.", _FAST)
        self._commit = histogram("commit", "Time from a snapshot to the end of its transaction.", _FAST)
        self._visible = histogram(
            "reveal_to_visible",
            "From the append of a commit's oldest record to the visibility of its outputs.",
            _SLOW,
        )
        self._load = histogram("state_load", "Time to load a partition's state when it is assigned.", _SLOW)
        self._lag = Gauge("rekindle_source_lag_records", "Records not folded yet.", ("partition",), registry=registry)
        Gauge(
            "rekindle_build_info", "Versions of this worker; always 1.", ("release", "core", "state"), registry=registry
        ).labels(_release(), CORE_VERSION, STATE_VERSION).set(1)
        self._stocks = _Stocks(self._cores, now)
        registry.register(self._stocks)
        ProcessCollector(registry=registry)

    # -- Observer
    # -----------------------------------------------------------------------------------------------------------

    def assigned(self, partition: int, *, seconds: float, rows: int, lag: int, core: Any) -> None:  # noqa: ARG002 the protocol's
        """See Observer."""
        self._load.observe(seconds)
        self._lag.labels(partition).set(lag)
        if isinstance(core, Partition):
            self._stocks.add(partition, core)
            self._counted[partition] = _copy(core.position.counts)

    def revoked(self, partition: int, *, reason: str) -> None:
        """See Observer."""
        self._left.labels(of(reason, _LEAVES)).inc()
        self._stocks.remove(partition)
        self._counted.pop(partition, None)
        if (str(partition),) in self._lag._metrics:  # noqa: SLF001 removing what isn't there warns
            self._lag.remove(partition)

    def folded(self, chunk: ChunkFolded) -> None:
        """See Observer."""
        self._fold.observe(chunk.seconds)
        self._records.inc(chunk.records)
        self._lag.labels(chunk.partition).set(max(0, chunk.highwater - chunk.position))

    def progress(self, partition: int, *, position: int, highwater: int) -> None:
        """See Observer."""
        self._lag.labels(partition).set(max(0, highwater - position))

    def committed(self, commit: Committed) -> None:
        """See Observer."""
        self._commit.observe(commit.seconds)
        self._rows.inc(commit.rows)
        self._bytes.inc(commit.row_bytes)
        for topic, messages in commit.outputs.items():
            self._outputs.labels(topic).inc(len(messages))
        for _key, _value, headers in commit.outputs.get("deadletters", ()):
            self._dead.labels(of(dict(headers).get("reason", b"").decode(), _REASONS)).inc()
        if commit.visible_ms is not None and any(commit.outputs.values()):
            self._visible.observe(max(0.0, commit.visible_ms / 1000))
        if commit.partition in self._counted:
            self._count(commit.partition, commit.core.position.counts)

    def aborted(self, partition: int, *, reason: str) -> None:  # noqa: ARG002 the protocol's
        """See Observer."""
        self._aborted.labels(of(reason, _ABORTS)).inc()

    def fenced(self, partition: int) -> None:  # noqa: ARG002 the protocol's
        """See Observer."""
        self._fenced.inc()

    def ticked(self, partition: int) -> None:  # noqa: ARG002 the protocol's
        """See Observer."""
        self._ticks.inc()

    def reread(self, partition: int) -> None:  # noqa: ARG002 the protocol's
        """See Observer."""
        self._reread.inc()

    def _count(self, partition: int, counts: Counts) -> None:
        """Add what the partition row counted since the last look."""
        before, now = self._counted[partition], _copy(counts)
        self._counted[partition] = now
        for name in _OUTCOMES:
            self._events.labels(name).inc(getattr(now, name) - getattr(before, name))
        for name in _PARTS:
            self._parts.labels(name).inc(getattr(now, name) - getattr(before, name))
        self._control.inc(now.control - before.control)
        self._woken.inc(now.woken - before.woken)
        self._lost.inc(now.lost - before.lost)


class _Stocks(Collector):
    """What the owned partitions hold, worked out at each scrape from copies that the interpreter's lock makes whole.

    Sums that only grow are counters of this process: a partition's past is not counted when it comes, and what it
    added here stays when it leaves, so that a rebalance never looks like a restart.
    """

    def __init__(self, cores: dict[int, Partition], now: Callable[[], float]) -> None:
        self._cores = cores
        self._now = now
        self._lock = threading.Lock()
        self._base: dict[int, Mapping[Series, int]] = {}
        self._gone: Tally[Series] = Tally()
        self._measured: dict[Series, tuple[float, int]] = {}

    def add(self, partition: int, core: Partition) -> None:
        """A partition has come."""
        with self._lock:
            self._cores[partition] = core
            self._base[partition] = grown(core)

    def remove(self, partition: int) -> None:
        """A partition has left; unknown ones are passed over."""
        with self._lock:
            core = self._cores.pop(partition, None)
            if core is not None:
                self._gone.update(less(grown(core), self._base.pop(partition)))
            self._measured.pop((str(partition),), None)

    def describe(self) -> Iterable[Metric]:
        """Nothing: else registering would collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        with self._lock:
            cores = sorted(self._cores.items())
            total = Tally(self._gone)
            for number, core in cores:
                total.update(less(grown(core), self._base[number]))
        yield from population([core for _, core in cores])
        yield from recall(total, [core for _, core in cores])
        yield from arms([core for _, core in cores])
        yield from scores([core for _, core in cores])
        yield from modes([core for _, core in cores])
        yield from self._partitions({(str(number),): core for number, core in cores})

    def _partitions(self, cores: Mapping[Series, Partition]) -> Iterator[Metric]:
        wall = self._now() * 1000
        delays, backlogs = {}, {}
        for name, core in cores.items():
            if (clock := core.clock) is not None:
                if core.position.domain == "live":
                    delays[name] = (wall - clock) / 1000
                    clock = max(clock, int(wall) - core.policy.lateness)
                backlogs[name] = core.wheel.backlog(clock // HOUR)

        def each(name: str, says: str, samples: Mapping[Series, float]) -> Metric:
            return gauge(name, says, ("partition",), samples)

        yield each("clock_delay_seconds", "Now less the clock of event time; live partitions only.", delays)
        yield each("deadline_backlog", "Users to look at, hour closed already; some are not due.", backlogs)
        rows = {name: len(core.rows) for name, core in cores.items()}
        yield each("state_rows", "Users and visitors held.", rows)
        sizes = {name: self._size(name, core) for name, core in cores.items()}
        yield each("state_bytes", "Bytes of their rows and keys, as of the last 30 s.", sizes)
        dark = {name: core.guard.dark * HOUR / 1000 for name, core in cores.items()}
        yield each("source_dark_seconds", "Time in which silence did not count, so far.", dark)
        offsets = {name: max(core.offset, 0) for name, core in cores.items()}
        yield each(
            "source_offset", "Next offset of the user topic to fold: it moves, or the partition stands.", offsets
        )

    def _size(self, name: Series, core: Partition) -> int:
        measured = self._measured.get(name)
        if measured is None or monotonic() - measured[0] > _BYTES_AGE:
            total = sum(map(len, list(core.rows.values()))) + sum(map(len, list(core.rows)))
            measured = self._measured[name] = (monotonic(), total)
        return measured[1]


def _copy(counts: Counts) -> Counts:
    return Counts(*(getattr(counts, name) for name in Counts.__struct_fields__))


def _release() -> str:
    try:
        return version("rekindle")
    except PackageNotFoundError:
        return "unknown"
