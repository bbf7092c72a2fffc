"""The oracle: the same core over the whole log must give what the workers wrote: every row, every cell, every output.

It finds what the shell loses, doubles or mixes up: commits, rebalances, kills. What the core itself gets wrong is found
by the naive reference of the tests. Where retention has cut the log, a snapshot is the beginning instead.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from agents.erasure_key import erasure_key
from agents.evidence import UNREADABLE, Evidence, gather, position_of, unfolded
from agents.exits import Exit, Refusal
from agents.kafka.store import Source, check_source, record_crc
from agents.outputcheck import Kind, Message, compare, outputs_of, twice, whole_from
from agents.replay import few_collections
from agents.settings import Settings
from agents.snapshot import Begin, Table, load
from agents.statecheck import differences, invariants
from pipeline.control import is_control
from pipeline.erasure import WrongKey, check_value
from pipeline.partition import Partition
from pipeline.position import Position
from pipeline.records import LogRecord
from schemas.codec import DECODE_ERRORS, decode_control
from schemas.control import Gap

_DETAILS: Final = 200
_PULSE: Final = 0.2  # s between two looks at how far the workers are


@dataclass(frozen=True)
class Gone:
    """Records that a partition's state was folded from and its log no longer holds."""

    partition: int
    first: int
    last: int


@dataclass
class Findings:
    """What differs. `lost`, `wrong`, `duplicate` count outputs; `state_errors` rows, cells, positions, broken sums."""

    lost: int = 0
    wrong: int = 0
    duplicate: int = 0
    state_errors: int = 0
    details: list[str] = field(default_factory=list)
    """In words; the first 200."""
    read: int = 0
    """Records of the user topic that were compared."""
    behind: int = 0
    """Records that no worker has folded yet: they are not compared."""
    older: int = 0
    """Outputs that are missing and of before what their topics still hold: they are not compared."""
    unsettled: list[int] = field(default_factory=list)
    """Partitions that a worker had folded half of a record in: they could not be compared."""
    gone: list[Gone] = field(default_factory=list)
    """Of partitions that could not be replayed, since a part of the log is gone: only their sums were compared."""

    @property
    def differs(self) -> bool:
        """Something is not as it has to be."""
        return bool(self.lost or self.wrong or self.duplicate or self.state_errors)

    @property
    def ok(self) -> bool:
        """Nothing differs, in any partition."""
        return not (self.differs or self.unsettled or self.gone)

    def note(self, line: str) -> None:
        """Keep a detail."""
        if len(self.details) < _DETAILS:
            self.details.append(line)

    def state(self, lines: Iterable[str]) -> None:
        """Count rows, cells and sums that differ."""
        for line in lines:
            self.state_errors += 1
            self.note(line)

    def output(self, kind: Kind, line: str) -> None:
        """Count an output that differs."""
        setattr(self, kind, getattr(self, kind) + 1)
        if kind != "older":
            self.note(line)


async def verify(settings: Settings, *, wait: float = 30.0, snapshot: Path | None = None) -> Findings:
    """Compare what lies in Kafka, once all is folded, or after `wait` seconds up to where the workers are.

    Args:
        settings: the deployment.
        wait: for the workers, s.
        snapshot: where to begin; the beginning of the log when None.

    Raises:
        Refusal: no broker, a topic is missing, there is no key of erasures, or the snapshot does not belong to the log.
        MissingBody, UnknownVersion, UnreadableBody, CoreError: the log can't be replayed by this release.
        WrongKey: the workers have another key of erasures.
    """
    return (await examine(settings, wait=wait, snapshot=snapshot))[1]


async def examine(settings: Settings, *, wait: float = 30.0, snapshot: Path | None = None) -> tuple[Evidence, Findings]:
    """As `verify`, with what was read. Raises as it."""
    deadline, secret = monotonic() + wait, erasure_key(settings)
    begin = load(snapshot) if snapshot is not None else None
    while True:
        with few_collections():
            evidence = await gather(settings, wait=max(0.0, deadline - monotonic()))
            findings = check(evidence, tenant=settings.tenant, secret=secret, begin=begin)
        if not findings.unsettled or monotonic() > deadline:
            return evidence, findings
        await asyncio.sleep(_PULSE)


def check(evidence: Evidence, *, tenant: str = "default", secret: bytes = b"", begin: Begin | None = None) -> Findings:
    """Replay the inputs and compare. Pure: no I/O.

    Args:
        evidence: all topics.
        tenant: of the workers.
        secret: of `erasure_key`.
        begin: the snapshot to begin with; the beginning of the log when None.

    Raises:
        Refusal: the snapshot does not belong to this log.
        WrongKey: the state was written under another secret.
        MissingBody, UnknownVersion, UnreadableBody, CoreError: as `Partition.fold`.
    """
    findings = Findings()
    seen: Counter[bytes] = Counter()
    begin = begin or Begin({}, {})
    if begin.tables and len(begin.tables) != evidence.count:
        line = f"the snapshot has {len(begin.tables)} partitions, and {evidence.source} {evidence.count}"
        raise Refusal(Exit.PARTITIONS, line)
    registry = {**begin.registry, **evidence.registry}
    for number in range(evidence.count):
        state = evidence.state[number]
        try:
            position = position_of(state)
        except UNREADABLE as error:
            findings.state_errors += 1
            findings.note(f"partition {number}: the partition row can't be read: {error}")
            continue
        if position.erasure_key not in {"", check_value(secret)}:
            raise WrongKey
        findings.behind += unfolded(evidence.inputs[number], state)
        table = dict(begin.tables.get(number, {}))
        start = position_of(table)
        if begin.tables:
            _refuse_foreign(evidence, number, start, position)
        sent = Counter(outputs_of(evidence, number, range(position.offset)))
        seen.update(message[2] for message in sent.elements() if message[0] == "triggers")
        records = _folded(evidence.inputs[number], range(max(start.offset, 0), position.offset))
        if gone := _gone(evidence, number, start, position, records):
            findings.gone.append(gone)
            findings.state(invariants(number, state))
            continue
        partition = Partition(number, evidence.count, registry, tenant=tenant, topic=evidence.source, secret=secret)
        findings.read += len(records)
        expected = _replayed(partition, records, table)
        if _half_folded(position, position_of(table)) and _end(evidence, number) > position.offset:
            findings.unsettled.append(number)
            findings.note(f"partition {number}: a worker is in the middle of record {position.offset}; try again")
            continue
        findings.state((*differences(number, table, state), *invariants(number, state)))
        sent = Counter(outputs_of(evidence, number, range(max(start.offset, 0), position.offset)))
        for kind, line in compare(number, expected, sent, half=start.offset, cut=whole_from(evidence, number)):
            findings.output(kind, line)
    for identity, times in twice(seen):
        findings.duplicate += times - 1
        findings.note(f"the trigger {identity} exists {times} times with different content")
    return findings


def _refuse_foreign(evidence: Evidence, number: int, start: Position, position: Position) -> None:
    """The snapshot has to be of this log, and of before the state."""
    where = f"{evidence.source} partition {number}"
    if start.offset > position.offset:
        line = f"the snapshot has folded {where} up to {start.offset}, and the state up to {max(position.offset, 0)}"
        raise Refusal(Exit.USAGE, f"{line}: take an older one")
    if start.last is not None:
        found = [record for record in evidence.inputs[number] if record.offset == start.last[0]]
        place = (found[0].timestamp, record_crc(found[0].key, found[0].value)) if found else None
        source = Source(evidence.earliest(number), _end(evidence, number), place)
        check_source(where, "state topic", start.offset, start.last, source, accept_gap=True)


def _end(evidence: Evidence, number: int) -> int:
    """Where a partition of the user topic ends."""
    inputs = evidence.inputs[number]
    return max(evidence.ends.get(number, 0), inputs[-1].offset + 1 if inputs else 0)


def _gone(
    evidence: Evidence, number: int, start: Position, position: Position, records: list[LogRecord]
) -> Gone | None:
    """What the log no longer holds of the records between start and position. An offset may be a marker, and a state
    may have begun with a log that was cut already: so it goes by how many records the state has counted.
    """
    first, earliest = max(start.offset, 0), evidence.earliest(number)
    counted = position.counts.read + position.counts.control - start.counts.read - start.counts.control
    if earliest <= first or counted <= len(records):
        return None
    return Gone(number, first, min(earliest, position.offset) - 1)


def _folded(inputs: list[LogRecord], folded: range) -> list[LogRecord]:
    """Records of `folded`, without those that were lost before they were read, as an operator accepted."""
    records = [record for record in inputs if record.offset in folded]
    gaps: list[Gap] = []
    for record in records:
        if is_control(record):
            try:
                message = decode_control(record.value or b"")
            except DECODE_ERRORS:
                continue
            if isinstance(message, Gap):
                gaps.append(message)
    return [r for r in records if not any(gap.start <= r.offset < gap.end for gap in gaps)] if gaps else records


def _replayed(partition: Partition, records: list[LogRecord], table: Table) -> Counter[Message]:
    """What the records lead to, behind `table`, which is changed in place."""
    expected: Counter[Message] = Counter()
    partition.restore(table.items())
    for _ in partition.fold(records):
        _take(partition, expected, table)
    _take(partition, expected, table)
    return expected


def _take(partition: Partition, outputs: Counter[Message], table: Table) -> None:
    commit = partition.commit()
    for topic, messages in commit.outputs.items():
        outputs.update((topic, message.key, message.value, tuple(message.headers)) for message in messages)
    commit.write_to(table)


def _half_folded(actual: Position, expected: Position) -> bool:
    """Whether the worker committed inside of the record at its offset: time has come further than the records tell."""
    if actual.offset != expected.offset:
        return False
    return (actual.horizon or 0, actual.next_hour, actual.judged) > (
        (expected.horizon or 0, expected.next_hour, expected.judged)
    )
