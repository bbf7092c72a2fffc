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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agents.observe import ChunkFolded, Committed
from pipeline.lifecycle import STAGES
from pipeline.money import EXPONENTS
from pipeline.partition import Partition
from pipeline.position import CORE_VERSION, Counts
from pipeline.reports.calibration import by_model, over, ripe, together
from pipeline.state import STATE_VERSION
from pipeline.sums import CALIBRATION, DECISIONS, OUTCOMES, RISK, SEGMENTS, STAGE
from pipeline.sums.calibration import CAME, PERCENT, SILENT
from pipeline.sums.outcomes import ALL_RULES, PERK_COST, VALUE
from pipeline.sums.population import P_ALIVE_BUCKETS
from pipeline.units import HOUR
from schemas.deadletter import DeadLetterReason
from schemas.decision import Reason, Verdict
from schemas.topics import OUTPUTS
from schemas.trigger import Arm

OTHER: Final = "other"
"""Whatever is in none of the sets below: a label of a rule that no adopted policy has any more, above all."""
_REASONS: Final = get_args(DeadLetterReason)
_VERDICTS: Final = frozenset(get_args(Verdict))
_WHY: Final = frozenset((*get_args(Reason), ""))
_ARMS: Final = frozenset(get_args(Arm))
_KINDS: Final = ("user", "visitor")
_ABORTS: Final = ("fenced", "failed")
_LEAVES: Final = ("rebalance", "fenced", "shutdown")
_MONEY: Final = {OUTCOMES.fields[VALUE]: "value", OUTCOMES.fields[PERK_COST]: "perk_cost"}
_STEPS: Final = tuple(field for field in OUTCOMES.fields if field not in _MONEY)
_OUTCOMES: Final = ("applied", "duplicate", "rejected")
_PARTS: Final = ("late", "backfilled", "dedupe_unsure", "skipped")

_FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_SLOW: Final = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300)
_SCORED_DAYS: Final = 28
_BYTES_AGE: Final = 30.0  # s for which the bytes of all rows are not added up again

Series = tuple[str, ...]


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
        self._left.labels(_of(reason, _LEAVES)).inc()
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
            self._dead.labels(_of(dict(headers).get("reason", b"").decode(), _REASONS)).inc()
        if commit.visible_ms is not None and any(commit.outputs.values()):
            self._visible.observe(max(0.0, commit.visible_ms / 1000))
        if commit.partition in self._counted:
            self._count(commit.partition, commit.core.position.counts)

    def aborted(self, partition: int, *, reason: str) -> None:  # noqa: ARG002 the protocol's
        """See Observer."""
        self._aborted.labels(_of(reason, _ABORTS)).inc()

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
            self._base[partition] = _grown(core)

    def remove(self, partition: int) -> None:
        """A partition has left; unknown ones are passed over."""
        with self._lock:
            core = self._cores.pop(partition, None)
            if core is not None:
                self._gone.update(_less(_grown(core), self._base.pop(partition)))
            self._measured.pop((str(partition),), None)

    def describe(self) -> Iterable[Metric]:
        """Nothing: else registering would collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        with self._lock:
            cores = sorted(self._cores.items())
            grown = Tally(self._gone)
            for number, core in cores:
                grown.update(_less(_grown(core), self._base[number]))
        yield from _population([core for _, core in cores])
        yield from _recall(grown, [core for _, core in cores])
        yield from _scores([core for _, core in cores])
        yield from _modes([core for _, core in cores])
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

        def gauge(name: str, says: str, samples: Mapping[Series, float]) -> Metric:
            return _gauge(name, says, ("partition",), samples)

        yield gauge("clock_delay_seconds", "Now less the clock of event time; live partitions only.", delays)
        yield gauge("deadline_backlog", "Users to look at, hour closed already; some are not due.", backlogs)
        rows = {name: len(core.rows) for name, core in cores.items()}
        yield gauge("state_rows", "Users and visitors held.", rows)
        sizes = {name: self._size(name, core) for name, core in cores.items()}
        yield gauge("state_bytes", "Bytes of their rows and keys, as of the last 30 s.", sizes)
        dark = {name: core.guard.dark * HOUR / 1000 for name, core in cores.items()}
        yield gauge("source_dark_seconds", "Time in which silence did not count, so far.", dark)
        offsets = {name: max(core.offset, 0) for name, core in cores.items()}
        yield gauge(
            "source_offset", "Next offset of the user topic to fold: it moves, or the partition stands.", offsets
        )

    def _size(self, name: Series, core: Partition) -> int:
        measured = self._measured.get(name)
        if measured is None or monotonic() - measured[0] > _BYTES_AGE:
            total = sum(map(len, list(core.rows.values()))) + sum(map(len, list(core.rows)))
            measured = self._measured[name] = (monotonic(), total)
        return measured[1]


def _population(cores: list[Partition]) -> Iterator[Metric]:
    stages: Tally[Series] = Tally({(kind, stage): 0 for kind in _KINDS for stage in STAGES[1:]})
    risks: Tally[Series] = Tally({(edge,): 0 for edge in P_ALIVE_BUCKETS})
    tiers = {("tier", tier.id): 0 for core in cores for tier in core.policy.tiers}
    groups = Tally[Series](tiers | {("segment", s.id): 0 for core in cores for s in core.policy.segments})
    for core in cores:
        for (name, dims), cell in list(core.cells.values.items()):
            labels = tuple(map(str, dims))
            if name == STAGE.name and labels in stages:
                stages[labels] += cell[0]
            elif name == RISK.name and labels in risks:
                risks[labels] += cell[0]
            elif name == SEGMENTS.name and labels in groups:
                groups[labels] += cell[0]
    yield _gauge("users", "Users and visitors by stage of their lifecycle.", ("kind", "stage"), stages)
    says = "Users by P(alive) when last looked at: lower edge of a tenth."
    yield _gauge("users_by_p_alive", says, ("p_alive",), risks)
    yield _gauge("segment_users", "Users in each segment and tier of the policy.", ("kind", "segment"), groups)


def _recall(grown: Mapping[Series, int], cores: list[Partition]) -> Iterator[Metric]:
    rules = {ALL_RULES, *(rule.id for core in cores for rule in core.policy.rules)}
    limited = {rule.id for core in cores for rule in core.policy.rules if rule.ceiling is not None}
    decisions = Tally[Series]({(rule, "suppressed", "ceiling"): 0 for rule in limited})  # for an alert to rise from
    people = Tally[Series]()
    money = {"value": Tally[Series](), "perk_cost": Tally[Series]()}
    for (name, rule, *rest), count in grown.items():
        series = (_of(rule, rules), *rest)
        if name == DECISIONS.name:
            decisions[series] += count
        elif rest[-1] in _MONEY:
            money[_MONEY[rest[-1]]][series[:-1]] += count
        else:
            people[series] += count
    says = "Decisions by rule, verdict and first reason."
    yield _counter("decisions", says, ("rule", "decision", "reason"), decisions)
    says = (
        "Users by rule and arm: decided; window over (measured); of these, back at all, and with the goal (recalled). "
        "Messages: sent, delivered, clicked, bounced, failed. Rule *: by the draw over all rules."
    )
    yield _counter("recall_users", says, ("rule", "arm", "step"), people)
    unit = 10 ** max((EXPONENTS[core.policy.currency.reporting] for core in cores), default=2)
    says = "What the goals were worth, in the policy's reporting currency."
    perks = "What was reserved for perks, in the policy's reporting currency."
    for name, amounts in money.items():
        worth = {series: minor / unit for series, minor in amounts.items()}
        yield _counter(f"recall_{name}", says if name == "value" else perks, ("rule", "arm"), worth)


def _scores(cores: list[Partition]) -> Iterator[Metric]:
    """Of the adopted models, over each partition's last days of which everything is known."""
    seen, foretold = Tally[Series](), Tally[Series]()
    for core in cores:
        version = core.position.model[:12]
        known = list(core.cells.values.items()) if version else []
        scored = [(dims, cell) for (name, dims), cell in known if name == CALIBRATION.name]
        end = over(scored)
        for _, days in by_model((dims, cell) for dims, cell in scored if dims[1] == version):
            recent = [(day, bands) for day, bands in days if day >= end - _SCORED_DAYS]
            for band, cell in together(ripe(recent, end)).items():
                seen[version, band, "silent"] += cell[SILENT]
                seen[version, band, "came"] += cell[CAME]
                foretold[version, band] += cell[PERCENT]
    span = f"the last {_SCORED_DAYS} days whose horizon is over"
    yield _gauge("scores", f"Scores of {span}, by what followed.", ("model", "band", "result"), seen)
    expected = {series: percent / 100 for series, percent in foretold.items()}
    says = f"Of the scores of {span}: how many were to be silent."
    yield _gauge("scores_foretold", says, ("model", "band"), expected)


def _modes(cores: list[Partition]) -> Iterator[Metric]:
    yield _gauge("partitions", "Partitions owned.", (), {(): len(cores)})
    counts: dict[Series, float] = {(): cores[0].count} if cores else {}
    yield _gauge("source_partitions", "Partitions of the user topic, as whoever owns one knows.", (), counts)
    held = sum(core.guard.held for core in cores)
    yield _gauge("source_held_partitions", "Owned partitions whose source an operator holds.", (), {(): held})
    paused = sum(bool(core.position.paused) for core in cores)
    yield _gauge("sending_paused_partitions", "Owned partitions where a rule is paused.", (), {(): paused})
    adopted = Tally[Series]((core.position.policy[:12] or "none",) for core in cores)
    says = "Owned partitions by the policy that they decide by: 12 digits of its hash."
    yield _gauge("policy_partitions", says, ("policy",), adopted)


def _gauge(name: str, says: str, labels: Series, samples: Mapping[Series, float]) -> Metric:
    return _filled(GaugeMetricFamily(f"rekindle_{name}", says, labels=labels), samples)


def _counter(name: str, says: str, labels: Series, samples: Mapping[Series, float]) -> Metric:
    return _filled(CounterMetricFamily(f"rekindle_{name}", says, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Mapping[Series, float]) -> Metric:
    for values, sample in sorted(samples.items()):
        family.add_metric(values, sample)
    return family


def _grown(core: Partition) -> Tally[Series]:
    """The sums that only grow, without their days, under labels of bounded sets (but for the rule)."""
    found: Tally[Series] = Tally()
    for (name, dims), cell in list(core.cells.values.items()):
        if name == DECISIONS.name:
            _day, rule, verdict, reason = map(str, dims)
            found[name, rule, _of(verdict, _VERDICTS), _of(reason, _WHY)] += cell[0]
        elif name == OUTCOMES.name:
            _day, rule, _stratum, arm = map(str, dims)
            for field, count in zip(OUTCOMES.fields, cell, strict=True):
                found[name, rule, _of(arm, _ARMS), field] += count
    return found


def _less(now: Mapping[Series, int], before: Mapping[Series, int]) -> dict[Series, int]:
    return {series: count - before.get(series, 0) for series, count in now.items()}


def _of(value: str, known: Iterable[str]) -> str:
    return value if value in known else OTHER


def _copy(counts: Counts) -> Counts:
    return Counts(*(getattr(counts, name) for name in Counts.__struct_fields__))


def _release() -> str:
    try:
        return version("rekindle")
    except PackageNotFoundError:
        return "unknown"
