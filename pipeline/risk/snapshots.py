"""Samples to learn from: what the core knew of each user at regular times, and, once that is settled, what followed."""

from collections import deque
from collections.abc import Iterable, Iterator
from copy import copy
from typing import Final

import xxhash

from pipeline.activity import Activity
from pipeline.control import LATEST_TICK
from pipeline.partition import Partition
from pipeline.play import Play, control_record
from pipeline.records import LogRecord
from pipeline.risk.model import Sample, silence_start
from pipeline.units import HOUR
from schemas.control import Tick

PER_HORIZON: Final = 6
"""Snapshots in a horizon."""
MOST: Final = 500_000
"""Samples to keep; with more, users are left out by a hash of their id."""

_BATCH: Final = 5_000


def collect(steps: Iterable[Play], partition: Partition, horizon: int, end: int, most: int = MOST) -> list[Sample]:
    """All matured samples of a history, by time and user: a snapshot every sixth of the horizon.

    Args:
        steps: of `pipeline.play.play`.
        partition: an empty one that knows the policy which the steps adopt.
        horizon: ms, a multiple of six hours.
        end: ms; the snapshots are laid so that the last one is at the last full hour before it.
        most: above so many, half of the users are left out, as often as it takes.
    """
    samples: list[Sample] = []
    limit = 1 << 64
    for batch in matured(steps, partition, horizon, end):
        samples.extend(sample for sample in batch if xxhash.xxh3_64_intdigest(sample.user) < limit)
        while len(samples) > most:
            limit //= 2
            samples = [sample for sample in samples if xxhash.xxh3_64_intdigest(sample.user) < limit]
    return samples


def matured(steps: Iterable[Play], partition: Partition, horizon: int, end: int) -> Iterator[list[Sample]]:
    """The users of each snapshot by their ids, as soon as the horizon after it has passed; see `collect`.

    Times are effective: a horizon in which the source was dark ends later. A user who was erased meanwhile is none.
    """
    if horizon % (PER_HORIZON * HOUR):
        raise ValueError("the horizon must be a multiple of six hours")
    every = horizon // PER_HORIZON
    waiting: deque[tuple[int, dict[bytes, Activity]]] = deque()
    batch: list[LogRecord] = []
    due = None
    for offset, (control, raw) in enumerate(steps):
        if isinstance(control, Tick) and control.time is not None:
            _fold(partition, batch)
            batch = []
            now = control.time - partition.guard.dark * HOUR
            if due is None:
                due = now + (end // HOUR * HOUR - now) % every
            for at in range(due, min(now, LATEST_TICK) + 1, every):
                users = {k: copy(s.activity) for k, s in partition.states() if s.known and s.activity.days}
                if waiting and waiting[0][0] == at - horizon:
                    yield _labelled(*waiting.popleft(), users)
                waiting.append((at, users))
                due = at + every
        if control is not None:
            batch.append(control_record(control, offset))
        elif raw is not None:
            batch.append(LogRecord(offset, 0, raw.key, raw.value))
        if len(batch) >= _BATCH:
            _fold(partition, batch)
            batch = []


def _labelled(at: int, then: dict[bytes, Activity], now: dict[bytes, Activity]) -> list[Sample]:
    return [
        Sample(user, activity, at, int(silence_start(now[user]) < at)) for user, activity in then.items() if user in now
    ]


def _fold(partition: Partition, batch: list[LogRecord]) -> None:
    for _ in partition.fold(batch):
        partition.commit()
    partition.commit()
