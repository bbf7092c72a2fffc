"""Samples to learn from: what the core knew of each user at regular times, and, once that is settled, what followed."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import xxhash

from pipeline.activity import Activity
from pipeline.partition import Partition
from pipeline.play import Step, as_record
from pipeline.records import Commit, LogRecord
from pipeline.risk.document import Events
from pipeline.risk.model import Sample, silence_start
from pipeline.units import HOUR
from schemas.control import Tick

PER_HORIZON: Final = 6
"""Snapshots in a horizon."""
MOST: Final = 500_000
"""Samples to hold at once; with more, users are left out by a hash of their id."""

_BATCH: Final = 5_000


class Collected(NamedTuple):
    """What there is to learn from, what became of the events, and the partition as it is after the last of them."""

    samples: list[Sample]
    events: Events
    partition: Partition


def collect(steps: Iterable[Step], partition: Partition, horizon: int, end: int, most: int = MOST) -> Collected:
    """All samples of a history whose horizon it holds, by time and user: a snapshot every sixth of the horizon.

    Times are effective: a horizon in which the source was dark ends later. Who was erased meanwhile is no sample.

    Args:
        steps: of `pipeline.play.play`.
        partition: an empty one that knows the policy which the steps adopt.
        horizon: ms, a multiple of six hours.
        end: ms; the snapshots are laid so that the last one is at the last full hour before it.
        most: above so many, half of the users are left out, as often as it takes.
    """
    if horizon % (PER_HORIZON * HOUR):
        raise ValueError("the horizon must be a multiple of six hours")
    samples: list[Sample] = []
    waiting: deque[tuple[int, dict[bytes, Activity]]] = deque()
    limit = 1 << 64
    refused = Counter[str]()
    for at in _snapshots(steps, partition, horizon // PER_HORIZON, end, refused):
        users = {
            user: state.activity  # decoded anew for us: after a commit the partition holds bytes
            for user, state in partition.states()
            if state.known and state.activity.days and _hash(user) < limit
        }
        if waiting and waiting[0][0] == at - horizon:
            samples.extend(_labelled(*waiting.popleft(), users))
        waiting.append((at, users))
        while len(samples) + sum(len(users) for _, users in waiting) > most:
            limit //= 2
            samples = [sample for sample in samples if _hash(sample.user) < limit]
            waiting = deque((at, {u: a for u, a in users.items() if _hash(u) < limit}) for at, users in waiting)
    counts = partition.position.counts
    reasons = dict(sorted(refused.items(), key=lambda pair: (-pair[1], pair[0])))
    events = Events(counts.read, counts.applied, counts.duplicate, counts.rejected, reasons)
    return Collected(samples, events, partition)


def _labelled(at: int, then: dict[bytes, Activity], now: dict[bytes, Activity]) -> Iterator[Sample]:
    for user, activity in then.items():
        if user in now:
            yield Sample(user, activity, at, int(silence_start(now[user]) < at))


def _snapshots(
    steps: Iterable[Step], partition: Partition, every: int, end: int, refused: Counter[str]
) -> Iterator[int]:
    """Fold the steps, and stop at every snapshot's time (ms, effective); counts what is refused by its reason."""
    batch: list[LogRecord] = []
    due = None
    for offset, step in enumerate(steps):
        if isinstance(step, Tick) and step.time is not None:
            _fold(partition, batch, refused)
            batch = []
            now = step.time - partition.guard.dark * HOUR
            if due is None:
                due = now + (end // HOUR * HOUR - now) % every
            while due <= now:
                yield due
                due += every
        batch.append(as_record(step, offset))
        if len(batch) >= _BATCH:
            _fold(partition, batch, refused)
            batch = []


def _hash(user: bytes) -> int:
    return xxhash.xxh3_64_intdigest(user)


def _fold(partition: Partition, batch: list[LogRecord], refused: Counter[str]) -> None:
    for _ in partition.fold(batch):
        _count(partition.commit(), refused)
    _count(partition.commit(), refused)


def _count(commit: Commit, refused: Counter[str]) -> None:
    refused.update(dict(letter.headers)["reason"].decode() for letter in commit.outputs.get("deadletters", ()))
