"""Plays history: events in order of time, with the ticks, adoptions and the time domain that a live log would hold."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Final

import msgspec

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
_DECODED: Final = 200_000  # rows


class Raw(msgspec.Struct, frozen=True, gc=False):
    """An event as it was read: its bytes, its key (None: it names nobody) and its time in ms (None: it tells none)."""

    key: bytes | None
    value: bytes
    time: int | None


Step = AnyControl | Raw
"""One step of a play: a message for every partition, or an event for the partition of its key."""


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
    found = list(raws)
    times: list[int] = []
    last = 0
    ordered = True
    for raw in found:
        time = raw.time
        if time is not None:
            ordered = ordered and time >= last
            last = time
        times.append(last)
    return found if ordered else [found[at] for at in sorted(range(len(found)), key=times.__getitem__)]


def control_record(message: AnyControl, offset: int = 0, timestamp: int = 0) -> LogRecord:
    """A control message as a record."""
    kind = str(message.__struct_config__.tag)
    return LogRecord(offset, timestamp, CONTROL_KEY, encode_json(message), control_headers(kind))


def as_record(step: Step, offset: int) -> LogRecord:
    """A step as a record of a log of one partition."""
    return LogRecord(offset, 0, step.key, step.value) if isinstance(step, Raw) else control_record(step, offset)


def history_span(raws: Sequence[Raw]) -> tuple[int, int] | None:
    """First and last time (ms) of the largest run of events without a gap of more than a year: what lies outside of
    it is absurd, and must not make the player tick decades away. None if nothing tells a time that a tick may have.
    """
    latest = LATEST_TICK - _LONGEST_GAP
    times = [time for raw in raws if (time := raw.time) is not None and EARLIEST <= time < latest]
    if not times:
        return None
    start, end = min(times), max(times)
    if end - start <= _LONGEST_GAP:
        return start, end
    times.sort()
    runs = [[start, start, 0]]
    for time in times:
        if time - runs[-1][1] > _LONGEST_GAP:
            runs.append([time, time, 0])
        runs[-1][1] = time
        runs[-1][2] += 1
    start, end, _ = max(runs, key=lambda run: run[2])
    return start, end


def play(raws: Sequence[Raw], policy: str | None, closing: int = HOUR, *, model: str | None = None) -> Iterator[Step]:
    """The log of a history in the time domain `played`: its declaration, the adoption of `policy` and `model` (by their
    hashes), a tick for every hour of its span, and a closing one `closing` ms after its last event.
    """
    yield Domain("played")
    if policy is not None:
        yield Adopt(policy=policy)
    if model is not None:
        yield Adopt(model=model)
    span = history_span(raws)
    if span is None:
        yield from raws
        return
    start, end = span
    due = start // PLAYED_TICK * PLAYED_TICK
    yield Tick(due)
    due += PLAYED_TICK
    for raw in raws:
        time = raw.time
        if time is not None and time <= end:
            while due <= time:
                yield Tick(due)
                due += PLAYED_TICK
        yield raw
    close = end + closing
    while due < close:
        yield Tick(due)
        due += PLAYED_TICK
    yield Tick(close)


class Played(Partition):
    """A partition whose rows are written nowhere: they are encoded only where they are many, to take 400 bytes a user
    instead of 1,000. Its commits carry outputs, and no changelog to go by.
    """

    def commit(self) -> Commit:
        """Outputs since the last one."""
        if len(self._hot) < _DECODED:
            return Commit([], self._outbox.take(), self.offset)
        return super().commit()


def replay(steps: Iterable[Step], partition: Partition) -> Iterator[Commit]:
    """Fold a play through one partition; what it commits, every few thousand records."""
    log = map(as_record, steps, count())
    while batch := list(islice(log, _BATCH)):
        for _ in partition.fold(batch):
            yield partition.commit()
        yield partition.commit()
