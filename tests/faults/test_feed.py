"""What the fault runs are fed brings about all that has to be covered; and the audit sees what must not happen."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from msgspec import structs

from agents.evidence import Evidence
from agents.statecheck import invariants
from pipeline.partition import Partition
from pipeline.units import DAY
from schemas.decision import Decision
from schemas.segment import SegmentChange
from schemas.topics import OUTPUTS
from schemas.trigger import Perk, Trigger
from tests.builders import adopt, identify, log, played
from tests.faults.audit import audit
from tests.faults.feed import BODIES, Feed
from tests.faults.outputs import KINDS, Outputs, Told, outputs_of, seen, time_of
from tests.faults.rules import POLICY
from tests.kept import write

COUNT = 4
HOURS = 40  # what two runs of a fault are fed, about
SECRET = b"of this test"
M = TypeVar("M", Trigger, Decision, SegmentChange)


@pytest.fixture(scope="module")
def fed() -> Evidence:
    """A run without a fault, and without a Kafka."""
    feed = Feed("a", COUNT)
    entries = {number: [played(), adopt(POLICY)] for number in range(COUNT)}
    for _ in range(HOURS):
        for number, entry in feed.hour():
            entries[number].append(entry)
    inputs = {number: log(entries[number]) for number in range(COUNT)}
    found = Evidence("users", COUNT, dict(BODIES), inputs, {}, {topic.name: {} for topic in OUTPUTS})
    for number in range(COUNT):
        write(found, Partition(number, COUNT, found.registry, topic=found.source, secret=SECRET), [inputs[number]])
    return found


def test_a_run_without_a_fault_brings_about_all_that_has_to_be_covered(fed: Evidence) -> None:
    came = seen(fed, outputs_of(fed))
    assert sorted(KINDS - came.keys()) == []


def test_nothing_unsafe_happens_in_it(fed: Evidence) -> None:
    assert audit(fed, outputs_of(fed)) == []
    assert [line for number in range(COUNT) for line in invariants(number, fed.state[number])] == []


def late(told: Told[M], **fields: Any) -> Told[M]:
    """The same message at the end of the log, with other fields."""
    return told._replace(offset=1 << 40, message=structs.replace(told.message, **fields))


def with_data(told: Told[Trigger], **fields: Any) -> Told[Trigger]:
    """The same trigger with other data."""
    return told._replace(message=structs.replace(told.message, data=structs.replace(told.message.data, **fields)))


def one_too_many(found: Outputs) -> Outputs:
    sent = next(told for told in found.decisions if told.message.data.decision == "send")
    more = [late(sent, data=structs.replace(sent.message.data, trigger_id=f"more-{n}")) for n in range(4)]
    return found._replace(decisions=[*found.decisions, *more])


def at_night(found: Outputs) -> Outputs:
    sent = found.triggers[0]
    night = with_data(late(sent, time="2024-01-03T23:30:00+01:00"), timezone="Europe/Berlin")
    return found._replace(triggers=[night, *found.triggers[1:]])


def in_an_unknown_zone(found: Outputs) -> Outputs:
    sent = found.triggers[0]
    night = with_data(late(sent, time="2024-01-03T23:30:00+01:00"), timezone="Mars/Olympus")
    return found._replace(triggers=[night, *found.triggers[1:]])


def by_a_channel_without_consent(found: Outputs) -> Outputs:
    sent = next(told for told in found.triggers if told.message.data.locale is told.message.data.timezone is None)
    return found._replace(triggers=[with_data(sent, channel="push")])


def a_dear_perk(found: Outputs) -> Outputs:
    perks = [told for told in found.triggers if told.message.data.perk]
    return found._replace(triggers=[with_data(perks[0], perk=Perk("gift", 1_000))])


def a_perk_without_a_lease(found: Outputs) -> Outputs:
    perks = [told for told in found.triggers if told.message.data.perk]
    return found._replace(triggers=[with_data(perks[0], perk=Perk("another", 1))])


def a_trigger_twice(found: Outputs) -> Outputs:
    return found._replace(triggers=[*found.triggers, found.triggers[-1]])


def to_a_holdout(found: Outputs) -> Outputs:
    held = next(told for told in found.decisions if told.message.data.decision == "holdout")
    first = found.triggers[0]
    sent = first._replace(message=structs.replace(first.message, id=held.message.data.trigger_id))
    return found._replace(triggers=[sent, *found.triggers[1:]])


def of_before_an_erasure(found: Outputs) -> Outputs:
    return found._replace(segments=[*found.segments, *map(late, found.segments)])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (one_too_many, "more than 3 contacts within 1 d by any channel"),
        (at_night, "in quiet hours"),
        (in_an_unknown_zone, "in quiet hours"),
        (by_a_channel_without_consent, "without consent"),
        (a_dear_perk, "has spent 1000 of perk gift, and was leased"),
        (a_perk_without_a_lease, "has spent 1 of perk another, and was leased 0"),
        (a_trigger_twice, "was written twice"),
        (to_a_holdout, "was sent to a holdout"),
        (of_before_an_erasure, "after they were erased up to"),
    ],
)
def test_the_audit_sees(fed: Evidence, harm: Callable[[Outputs], Outputs], words: str) -> None:
    assert any(words in line for line in audit(fed, harm(outputs_of(fed))))


def test_who_takes_a_consent_back_is_not_sent_to(fed: Evidence) -> None:
    outputs = outputs_of(fed)
    number, offset, trigger = next(told for told in outputs.triggers if told.message.data.channel == "email")
    before = fed.inputs[number][offset - 1]
    no = identify(time_of(trigger.time) - 9 * DAY, trigger.subject, consent={"email": False})  # however old it is
    said = {
        **fed.inputs,
        number: [*fed.inputs[number][: offset - 1], structs.replace(before, key=no.key, value=no.value)],
    }
    outputs.refused.pop((number, before.offset), None)
    lines = audit(replace(fed, inputs=said), outputs)
    assert any(line.startswith(f"{trigger.subject}: sent by email") for line in lines)
