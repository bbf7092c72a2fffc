"""What a run wrote, decoded, each message with the place of the record that led to it; and what of it came about."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar, get_args

import msgspec

from agents.evidence import Evidence
from agents.outputcheck import source_offset
from pipeline.sums import CALIBRATION, OUTCOMES
from pipeline.sums.base import decode_key
from pipeline.units import HOUR
from schemas.decision import Decision, Reason, Verdict
from schemas.erasure import Erasure
from schemas.segment import SegmentChange
from schemas.trigger import Trigger
from tests.builders import milliseconds
from tests.faults.rules import IDS

M = TypeVar("M")
_LONG_AGO: Final = 18 * HOUR


class Told(NamedTuple, Generic[M]):
    """A message, and partition and offset of the record that led to it."""

    partition: int
    offset: int
    message: M


class Outputs(NamedTuple):
    """The messages of a run, those of each partition in their order."""

    triggers: list[Told[Trigger]]
    decisions: list[Told[Decision]]
    segments: list[Told[SegmentChange]]
    erasures: list[Told[Erasure]]
    refused: dict[tuple[int, int], str]
    """Of records that were dead-lettered, by partition and offset, the reason."""


def outputs_of(evidence: Evidence) -> Outputs:
    """Decode them."""
    refused = {}
    for number, records in evidence.outputs["deadletters"].items():
        for record in records:
            offset = source_offset("deadletters", record.headers)
            if offset is not None:
                refused[number, offset] = dict(record.headers)["reason"].decode()
    return Outputs(
        _told(evidence, "triggers", msgspec.json.Decoder(Trigger).decode),
        _told(evidence, "decisions", msgspec.json.Decoder(Decision).decode),
        _told(evidence, "segments", msgspec.json.Decoder(SegmentChange).decode),
        _told(evidence, "erasures", msgspec.json.Decoder(Erasure).decode),
        refused,
    )


def _told(evidence: Evidence, topic: str, decode: Callable[[bytes], M]) -> list[Told[M]]:
    return [
        Told(number, source_offset(topic, record.headers) or 0, decode(record.value or b""))
        for number, records in evidence.outputs[topic].items()
        for record in records
    ]


def time_of(text: str) -> int:
    """RFC 3339 -> ms."""
    return milliseconds(text) or 0


_STEPS: Final = ("step 1", "step 2")
_TRIGGERS: Final = ("sent later", "by the fallback", "with a perk", "with items", "from the backlog", *_STEPS)
_GROUPS: Final = ("enter segment", "leave segment", "enter tier", "leave tier")
_REPORTED: Final = OUTCOMES.fields[5:10]

KINDS: Final = frozenset(
    {
        *(f"reason {reason}" for reason in get_args(Reason)),
        *(f"decision {verdict}" for verdict in get_args(Verdict)),
        *(f"sent by {rule}" for rule in IDS),
        *_TRIGGERS,
        *_GROUPS,
        *(f"reported {kind}" for kind in _REPORTED),
        *(f"score {fate}" for fate in CALIBRATION.fields[:4]),
        "certificate",
        "refused erased",
    }
)
"""What the fault runs have to bring about, lest they say nothing of it."""


def seen(evidence: Evidence, outputs: Outputs) -> Counter[str]:
    """How often each of `KINDS` (and what else is counted by the way) came about."""
    found = Counter(f"refused {reason}" for reason in outputs.refused.values())
    found["certificate"] += len(outputs.erasures)
    for told in outputs.segments:
        found[f"{told.message.data.change} {told.message.data.kind}"] += 1
    for decided in outputs.decisions:
        found[f"decision {decided.message.data.decision}"] += 1
        found.update(f"reason {reason}" for reason in decided.message.data.reasons)
    for sent in outputs.triggers:
        found.update(_traits(sent.message))
    for rows in evidence.state.values():
        found.update(_sums(rows))
    return +found


def _traits(trigger: Trigger) -> Iterator[str]:
    data = trigger.data
    yield f"sent by {data.rule_id}"
    if data.step:
        yield _STEPS[data.step - 1]
    elif trigger.time != data.episode.entered_at:
        yield "sent later"
    if data.rule_id == "fading" and data.channel == "email":
        yield "by the fallback"
    if data.perk is not None:
        yield "with a perk"
    if data.content is not None and data.content.items:
        yield "with items"
    if data.rule_id == "belated" and time_of(data.episode.entered_at) - time_of(data.episode.start) > _LONG_AGO:
        yield "from the backlog"


def _sums(rows: dict[bytes, bytes]) -> Counter[str]:
    found: Counter[str] = Counter()
    for key, value in rows.items():
        if key[:1] != b"s":
            continue
        name, dims = decode_key(key[1:])
        if name == OUTCOMES.name and dims[1] != "*":
            cell = msgspec.msgpack.decode(value)[5:10]
            found.update({f"reported {kind}": count for kind, count in zip(_REPORTED, cell, strict=True)})
        elif name == CALIBRATION.name:
            cell = msgspec.msgpack.decode(value)[:4]
            found.update({f"score {fate}": count for fate, count in zip(CALIBRATION.fields[:4], cell, strict=True)})
    return found
