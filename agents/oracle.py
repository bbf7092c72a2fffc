"""The oracle: the same core over the whole log must give what the workers wrote: every row, every cell, every output.

It finds what the shell loses, doubles or mixes up: commits, rebalances, kills. What the core itself gets wrong is found
by the naive reference of the tests.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import msgspec

from agents.erasure_key import erasure_key
from agents.evidence import UNREADABLE, Evidence, gather, position_of, unfolded
from agents.replay import few_collections
from agents.settings import Settings
from agents.statecheck import differences, invariants
from pipeline.control import is_control
from pipeline.erasure import WrongKey, check_value
from pipeline.partition import Partition
from pipeline.position import Position, decode_position
from pipeline.records import Headers, LogRecord
from schemas.codec import DECODE_ERRORS, decode_control
from schemas.control import Gap

_DETAILS: Final = 200
_PULSE: Final = 0.2  # s between two looks at how far the workers are

_OTHERS: Final = (b"ingest", b"relay", b"replay")  # stages of dead letters that no worker wrote

Message = tuple[str, bytes, bytes, tuple[tuple[str, bytes], ...]]
"""Topic, key, value and headers of an output: what has to be equal, byte by byte."""


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
    unsettled: list[int] = field(default_factory=list)
    """Partitions that a worker had folded half of a record in: they could not be compared."""

    @property
    def ok(self) -> bool:
        """Nothing differs, in any partition."""
        return not (self.lost or self.wrong or self.duplicate or self.state_errors or self.unsettled)

    def note(self, line: str) -> None:
        """Keep a detail."""
        if len(self.details) < _DETAILS:
            self.details.append(line)


async def verify(settings: Settings, *, wait: float = 30.0) -> Findings:
    """Compare what lies in Kafka, once all is folded, or after `wait` seconds up to where the workers are.

    Raises:
        Refusal: no broker, a topic is missing, or there is no key of erasures.
        MissingBody, UnknownVersion, UnreadableBody, CoreError: the log can't be replayed by this release.
        WrongKey: the workers have another key of erasures.
    """
    return (await examine(settings, wait=wait))[1]


async def examine(settings: Settings, *, wait: float = 30.0) -> tuple[Evidence, Findings]:
    """As `verify`, with what was read. Raises as it."""
    deadline, secret = monotonic() + wait, erasure_key(settings)
    while True:
        with few_collections():
            evidence = await gather(settings, wait=max(0.0, deadline - monotonic()))
            findings = check(evidence, tenant=settings.tenant, secret=secret)
        if not findings.unsettled or monotonic() > deadline:
            return evidence, findings
        await asyncio.sleep(_PULSE)


def check(evidence: Evidence, *, tenant: str = "default", secret: bytes = b"") -> Findings:
    """Replay the inputs and compare. Pure: no I/O. `secret`: of `erasure_key`.

    Raises:
        WrongKey: the state was written under another secret.
        MissingBody, UnknownVersion, UnreadableBody, CoreError: as `Partition.fold`.
    """
    findings = Findings()
    seen: Counter[bytes] = Counter()
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
        partition = Partition(
            number, evidence.count, evidence.registry, tenant=tenant, topic=evidence.source, secret=secret
        )
        records = _folded(evidence.inputs[number], position.offset)
        findings.read += len(records)
        expected: Counter[Message] = Counter()
        table: dict[bytes, bytes] = {}
        for _ in partition.fold(records):
            _take(partition, expected, table)
        _take(partition, expected, table)
        if _half_folded(position, table):
            findings.unsettled.append(number)
            findings.note(f"partition {number}: a worker is in the middle of record {position.offset}; try again")
            continue
        for line in (*differences(number, table, state), *invariants(number, state)):
            findings.state_errors += 1
            findings.note(line)
        actual = Counter(_outputs_before(evidence, number, position.offset))
        _compare(number, expected, actual, findings)
        seen.update(message[2] for message in actual.elements() if message[0] == "triggers")
    _unique(seen, findings)
    return findings


def _folded(inputs: list[LogRecord], offset: int) -> list[LogRecord]:
    """Records before `offset`, without those that were lost before they were read, as an operator accepted."""
    records = [record for record in inputs if record.offset < offset]
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


def _take(partition: Partition, outputs: Counter[Message], table: dict[bytes, bytes]) -> None:
    commit = partition.commit()
    for topic, messages in commit.outputs.items():
        outputs.update((topic, message.key, message.value, tuple(message.headers)) for message in messages)
    commit.write_to(table)


def _half_folded(actual: Position, table: dict[bytes, bytes]) -> bool:
    """Whether the worker committed inside of the record at its offset: time has come further than the records tell."""
    if b"p" not in table:
        return actual.offset >= 0 and actual.horizon is not None
    expected = decode_position(table[b"p"])
    if actual.offset != expected.offset:
        return False
    return (actual.horizon or 0, actual.next_hour, actual.judged) > (
        (expected.horizon or 0, expected.next_hour, expected.judged)
    )


def _outputs_before(evidence: Evidence, number: int, offset: int) -> Iterator[Message]:
    for topic, partitions in evidence.outputs.items():
        for record in partitions[number]:
            source = source_offset(topic, record.headers)
            if source is not None and source < offset:
                yield topic, record.key or b"", record.value or b"", tuple(record.headers)


def source_offset(topic: str, headers: Headers) -> int | None:
    """Offset of the record that led to an output; None: no worker wrote it."""
    told = dict(headers)
    if topic == "deadletters" and told.get("stage") in _OTHERS:
        return None
    return int(told.get("offset" if topic == "deadletters" else "rekindle-offset", b"-1"))


def _compare(number: int, expected: Counter[Message], actual: Counter[Message], findings: Findings) -> None:
    missing = Counter(identity_of(message) for message in (expected - actual).elements())
    known = {identity_of(message) for message in expected}
    surplus: Counter[str] = Counter()
    for message in (actual - expected).elements():
        identity = identity_of(message)
        surplus[identity] += 1
        if missing[identity] > 0:
            missing[identity] -= 1
            findings.wrong += 1
            findings.note(f"partition {number}: wrong content: {_words(message, identity)}")
        elif identity in known or surplus[identity] > 1:
            findings.duplicate += 1
            findings.note(f"partition {number}: once too often: {_words(message, identity)}")
        else:
            findings.wrong += 1
            findings.note(f"partition {number}: nothing in the log leads to {_words(message, identity)}")
    for message in expected:
        identity = identity_of(message)
        for _ in range(missing.pop(identity, 0)):
            findings.lost += 1
            findings.note(f"partition {number}: lost: {_words(message, identity)}")


class _WithId(msgspec.Struct):
    id: str


_with_id = msgspec.json.Decoder(_WithId).decode


def identity_of(message: Message) -> str:
    """Which output a message is: topic and id; of a dead letter topic and place."""
    topic, _, value, headers = message
    if topic == "deadletters":
        told = dict(headers)
        return f"{topic} {told.get('partition', b'').decode()}:{told.get('offset', b'').decode()}"
    try:
        return f"{topic} {_with_id(value).id}"
    except DECODE_ERRORS:
        return f"{topic} {value[:40]!r}"


def _words(message: Message, identity: str) -> str:
    _, key, _, headers = message
    told = {name: text.decode("utf-8", "replace") for name, text in headers}
    offset = told.get("rekindle-offset") or told.get("offset")
    return f"{identity} of user {key.decode('utf-8', 'replace')!r}, from record {offset}"


def _unique(triggers: Counter[bytes], findings: Findings) -> None:
    """No id of a trigger twice, over all partitions: a subscriber would send twice."""
    ids = Counter(_with_id(value).id for value in triggers)
    for identity, times in ids.items():
        if times > 1:
            findings.duplicate += times - 1
            findings.note(f"the trigger {identity} exists {times} times with different content")
