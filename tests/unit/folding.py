"""What the tests of the fold's rules share: a log that goes on, a worker that takes over."""

from collections.abc import Sequence

from pipeline.partition import Partition
from pipeline.records import LogRecord
from tests.builders import (
    POLICY,
    Entry,
    Folded,
    adopt,
    at,
    log,
    now,
    registry,
)


def live(*entries: Entry | Sequence[Entry]) -> list[LogRecord]:
    """A live log that adopts POLICY at its beginning."""
    return log(now(at(0)), adopt(appended=at(0)), *entries)


def restarted(folded: Folded, *policies: str) -> Folded:
    """Another worker takes over what was committed."""
    partition = Partition(0, 1, registry(*(policies or (POLICY,))))
    partition.restore(list(folded.table.items()))
    return Folded(partition, folded.changelog, folded.outputs)


def verdicts(folded: Folded) -> list[str]:
    return [verdict for _, _, verdict, _ in folded.decisions]


def after(folded: Folded, *entries: Entry | Sequence[Entry]) -> Folded:
    """The log goes on."""
    return folded.feed(log(*entries, start=folded.partition.offset))
