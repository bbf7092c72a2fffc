"""Plays history: events in order of time, with the ticks, adoptions and the time domain that a live log would hold."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from pipeline.admission import EARLIEST
from pipeline.control import LATEST_TICK
from pipeline.partition import PLAYED_TICK, Partition
from pipeline.records import Commit, LogRecord
from pipeline.units import DAY, HOUR
from schemas.codec import DECODE_ERRORS, decode_event, encode_json
from schemas.control import CONTROL_KEY, Adopt, AnyControl, Domain, Tick, control_headers
from schemas.event import event_time

_LONGEST_GAP: Final = 366 * DAY
_BATCH: Final = 5_000


class Raw(NamedTuple):
    """An event as it was read: its bytes, its key (None: it names nobody) and its time in ms (None: it tells none)."""

    key: bytes | None
    value: bytes
    time: int | None


def read_raw(value: bytes) -> Raw:
    """Key and time of an event's bytes; what can't be read keeps its bytes, so that the fold makes it a dead letter."""
    try:
        event = decode_event(value)
    except DECODE_ERRORS:
        return Raw(None, value, None)
    identity = event.userId if event.userId is not None else event.anonymousId
    return Raw(None if identity is None else identity.encode(), value, event_time(event, None))


def in_order(raws: Iterable[Raw]) -> list[Raw]:
    """Sorted by time, ties in their order; what tells no time goes with the event before it."""
    timed: list[tuple[int, Raw]] = []
    last = 0
    for raw in raws:
        last = raw.time if raw.time is not None else last
        timed.append((last, raw))
    return [raw for _, raw in sorted(timed, key=lambda pair: pair[0])]


def control_record(message: AnyControl, offset: int = 0, timestamp: int = 0) -> LogRecord:
    """A control message as a record."""
    kind = str(message.__struct_config__.tag)
    return LogRecord(offset, timestamp, CONTROL_KEY, encode_json(message), control_headers(kind))


class Play(NamedTuple):
    """One step of a play: a message for every partition (`raw` None), or an event for the partition of its key."""

    control: AnyControl | None
    raw: Raw | None


def history_span(raws: Sequence[Raw]) -> tuple[int, int] | None:
    """First and last time (ms) of the largest run of events without a gap of more than a year: what lies outside of
    it is absurd, and must not make the player tick decades away. None if nothing tells a time that a tick may have.
    """
    latest = LATEST_TICK - _LONGEST_GAP
    times = sorted(raw.time for raw in raws if raw.time is not None and EARLIEST <= raw.time < latest)
    if not times:
        return None
    runs = [[times[0], times[0], 0]]
    if times[-1] - times[0] <= _LONGEST_GAP:
        return times[0], times[-1]
    for time in times:
        if time - runs[-1][1] > _LONGEST_GAP:
            runs.append([time, time, 0])
        runs[-1][1] = time
        runs[-1][2] += 1
    start, end, _ = max(runs, key=lambda run: run[2])
    return start, end


def play(raws: Sequence[Raw], policy: str | None, closing: int = HOUR, *, model: str | None = None) -> Iterator[Play]:
    """The log of a history in the time domain `played`: its declaration, the adoption of `policy` and `model` (by their
    hashes), a tick for every hour of its span, and a closing one `closing` ms after its last event.
    """
    yield Play(Domain("played"), None)
    if policy is not None:
        yield Play(Adopt(policy=policy), None)
    if model is not None:
        yield Play(Adopt(model=model), None)
    span = history_span(raws)
    if span is None:
        yield from (Play(None, raw) for raw in raws)
        return
    start, end = span
    tick = start // PLAYED_TICK * PLAYED_TICK
    yield Play(Tick(tick), None)
    for raw in raws:
        time = raw.time
        while time is not None and time <= end and tick + PLAYED_TICK <= time:
            tick += PLAYED_TICK
            yield Play(Tick(tick), None)
        yield Play(None, raw)
    close = end + closing
    while tick + PLAYED_TICK < close:
        tick += PLAYED_TICK
        yield Play(Tick(tick), None)
    yield Play(Tick(close), None)


def replay(steps: Iterable[Play], partition: Partition) -> Iterator[Commit]:
    """Fold a play through one partition; what it commits, every few thousand records."""
    batch: list[LogRecord] = []
    for offset, (control, raw) in enumerate(steps):
        if control is not None:
            batch.append(control_record(control, offset))
        elif raw is not None:
            batch.append(LogRecord(offset, 0, raw.key, raw.value))
        if len(batch) >= _BATCH:
            yield from _fold(partition, batch)
            batch = []
    yield from _fold(partition, batch)


def _fold(partition: Partition, batch: list[LogRecord]) -> Iterator[Commit]:
    for _ in partition.fold(batch):
        yield partition.commit()
    yield partition.commit()
