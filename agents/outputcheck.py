"""Comparing the outputs of a partition: those that are in their topics with those that the log leads to."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from agents.evidence import Evidence
from pipeline.records import Headers, LogRecord
from schemas.codec import DECODE_ERRORS
from schemas.control import CONTROL_KEY

_NONE = -1  # of what tells of no record
_OTHERS = (b"ingest", b"relay", b"replay")  # stages of dead letters that no worker wrote

Message = tuple[str, bytes, bytes, tuple[tuple[str, bytes], ...]]
"""Topic, key, value and headers of an output: what has to be equal, byte by byte."""

Kind = Literal["lost", "wrong", "duplicate", "older"]
"""How an output differs; `older`: it is missing, and of before what its topic still holds."""


def outputs_of(evidence: Evidence, number: int, folded: range) -> Iterator[Message]:
    """What workers wrote to a partition of all topics for the records `folded`, and what tells of no record."""
    for topic, partitions in evidence.outputs.items():
        for record in partitions[number]:
            source = source_offset(topic, record.headers)
            if source in folded or source == _NONE:
                yield topic, record.key or b"", record.value or b"", tuple(record.headers)


def source_offset(topic: str, headers: Headers) -> int | None:
    """Offset of the record that led to an output; None: no worker wrote it."""
    told = dict(headers)
    if topic == "deadletters" and told.get("stage") in _OTHERS:
        return None
    return int(told.get("offset" if topic == "deadletters" else "rekindle-offset", _NONE))


def whole_from(evidence: Evidence, number: int) -> dict[str, float]:
    """By topic: all outputs of records behind this one are there, of it and those before some may be gone."""
    found: dict[str, float] = {}
    for topic, partitions in evidence.outputs.items():
        if evidence.starts.get(topic, {}).get(number, 0):  # retention has cut it
            found[topic] = min(_sources(topic, partitions[number]), default=float("inf"))
    return found


def _sources(topic: str, records: list[LogRecord]) -> Iterator[int]:
    for record in records:
        if (source := source_offset(topic, record.headers)) is not None:
            yield source


def compare(
    number: int, expected: Counter[Message], actual: Counter[Message], *, half: int, cut: Mapping[str, float]
) -> Iterator[tuple[Kind, str]]:
    """One kind and line for each output that differs.

    Args:
        number: partition.
        expected: what the records lead to.
        actual: what is there of these records.
        half: a record of which a snapshot may hold a half: what else it led to is not judged; -1: there is none.
        cut: of `whole_from`.
    """
    missing = Counter(identity_of(message) for message in (expected - actual).elements())
    known = {identity_of(message) for message in expected}
    surplus: Counter[str] = Counter()
    for message in (actual - expected).elements():
        identity = identity_of(message)
        surplus[identity] += 1
        if missing[identity] > 0:
            missing[identity] -= 1
            yield "wrong", f"partition {number}: wrong content: {_words(message, identity)}"
        elif identity in known or surplus[identity] > 1:
            yield "duplicate", f"partition {number}: once too often: {_words(message, identity)}"
        elif half < 0 or source_offset(message[0], message[3]) != half:
            yield "wrong", f"partition {number}: nothing in the log leads to {_words(message, identity)}"
    for message in expected:
        identity = identity_of(message)
        for _ in range(missing.pop(identity, 0)):
            source = source_offset(message[0], message[3])
            older = source is not None and source <= cut.get(message[0], -1)
            yield "older" if older else "lost", f"partition {number}: lost: {_words(message, identity)}"


def twice(triggers: Counter[bytes]) -> Iterator[tuple[str, int]]:
    """Id and number of triggers that exist more than once with different content: a subscriber would send twice."""
    ids = Counter(_with_id(value).id for value in triggers)
    yield from ((identity, times) for identity, times in ids.items() if times > 1)


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
        return f"{topic} of {len(value)} bytes without an id"


def _words(message: Message, identity: str) -> str:
    _, key, _, headers = message
    told = {name: text.decode("utf-8", "replace") for name, text in headers}
    offset = told.get("rekindle-offset") or told.get("offset")
    whose = "a control message" if key == CONTROL_KEY else f"user {key.decode('utf-8', 'replace')!r}"
    return f"{identity} of {whose}, from record {offset}"
