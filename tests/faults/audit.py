"""A safety audit: what must never happen to a user, read from inputs and outputs alone, whatever the core thinks.

It shares no code with the gates. Where what is known from outside leaves room, it allows both.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from agents.evidence import Evidence
from pipeline.records import LogRecord
from pipeline.units import DAY
from schemas.control import CONTROL_KEY, Adopt, AnyControl, Lease
from schemas.event import UNSUBSCRIBE_EVENTS, Event, Traits, event_time
from schemas.partitioner import partition_of
from tests.faults.outputs import Outputs, Told, time_of
from tests.faults.rules import BASIS, CAPS, QUIET

_SLOTS: Final = 256
_event = msgspec.json.Decoder(Event).decode
_control = msgspec.json.Decoder(AnyControl).decode
_lease = msgspec.json.Decoder(Lease).decode


def audit(evidence: Evidence, outputs: Outputs) -> list[str]:
    """One line for each violation: caps, quiet hours, consent, leases, ids, arms, erasures."""
    told = _Statements(evidence, outputs)
    return [
        *_caps(outputs, told),
        *_quiet(outputs),
        *_consent(outputs, told),
        *_leases(evidence, outputs),
        *_ids(outputs),
        *_erasures(outputs, told),
    ]


class _Said(NamedTuple):
    """What somebody has said of their channels, `at` the latest (ms). A no counts always, a yes unless it is older."""

    consent: dict[str, bool]
    unsubscribed: bool
    at: int

    def agrees(self, channel: str) -> bool:
        """Whether they may be written to by it."""
        return self.consent.get(channel, BASIS[channel] == "opt_out") and not self.unsubscribed

    def and_then(self, event: Event, time: int) -> "_Said":
        """With what the event says, of `time` (ms)."""
        if event.type == "track" and event.event in UNSUBSCRIBE_EVENTS:
            return _Said(self.consent, True, max(self.at, time))
        if event.type != "identify" or not event.traits:
            return self
        traits = msgspec.json.decode(event.traits, type=Traits)
        counts = {c: yes for c, yes in (traits.consent or {}).items() if not yes or time >= self.at}
        left = self.unsubscribed
        if traits.unsubscribed is not None and (traits.unsubscribed or time >= self.at):
            left = traits.unsubscribed
        stated = traits.consent or traits.unsubscribed is not None
        return _Said(self.consent | counts, left, max(self.at, time) if stated else self.at)


_SILENT: Final = _Said({}, False, 0)


class _Statements:
    """What the inputs say of each user, record by record: consent, erasures, messages that failed."""

    def __init__(self, evidence: Evidence, outputs: Outputs) -> None:
        self.failed: set[str] = set()
        self.erased: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """User -> offset of the erasure, and up to when it erases (ms)."""
        self._said: dict[str, list[tuple[int, _Said]]] = defaultdict(list)
        self._ids: dict[str, set[str]] = defaultdict(set)
        until = {
            (t.message.data.partition, t.message.data.offset): t.message.data.erased_until for t in outputs.erasures
        }
        for number, records in evidence.inputs.items():
            for record in records:
                if record.key is None or record.key == CONTROL_KEY or (number, record.offset) in outputs.refused:
                    continue
                user, event = record.key.decode(), _event(record.value or b"")
                if (number, record.offset) in until:
                    self.erased[user].append((record.offset, time_of(until[number, record.offset])))
                    self._said[user].append((record.offset, _SILENT))
                    self._ids[user].clear()
                elif event.messageId not in self._ids[user]:
                    self._ids[user].add(event.messageId)
                    self._take(user, record, event)

    def around(self, user: str, offset: int) -> list[_Said]:
        """What somebody had said before the record at `offset`, and with it."""
        found = _SILENT
        both = []
        for at, said in self._said[user]:
            if at > offset:
                break
            both = [found] if at == offset else []
            found = said
        return [*both, found]

    def lives(self, user: str, offset: int) -> int:
        """How often somebody had been erased before the record at `offset`."""
        return sum(at < offset for at, _ in self.erased[user])

    def _take(self, user: str, record: LogRecord, event: Event) -> None:
        if event.type == "track" and event.event == "Message Failed" and event.properties:
            self.failed.add(msgspec.json.decode(event.properties)["trigger_id"])
        before = self._said[user][-1][1] if self._said[user] else _SILENT
        after = before.and_then(event, event_time(event, None) or 0)
        if after != before:
            self._said[user].append((record.offset, after))


def _caps(outputs: Outputs, told: _Statements) -> Iterator[str]:
    """Sends and holdouts of one life, but those that are said to have failed."""
    contacts: dict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
    for _, offset, decision in outputs.decisions:
        data = decision.data
        if data.decision in {"send", "holdout"} and data.trigger_id not in told.failed:
            life = decision.subject, told.lives(decision.subject, offset)
            contacts[life].append((time_of(decision.time), data.channel))
    for (user, _), all_of_them in contacts.items():
        for channel, days, most in CAPS:
            times = sorted(time for time, by in all_of_them if channel in {None, by})
            for place in range(most, len(times)):
                if times[place] - times[place - most] < days * DAY:
                    over = f"more than {most} contacts within {days} d by {channel or 'any channel'}"
                    yield f"{user}: {over}, the last at {times[place]}"


def _quiet(outputs: Outputs) -> Iterator[str]:
    start, end, default = QUIET
    for _, _, trigger in outputs.triggers:
        minute = _minute(time_of(trigger.time), trigger.data.timezone, default)
        if minute >= start or minute < end:
            yield f"{trigger.subject}: sent at {trigger.time} in {trigger.data.timezone}, in quiet hours"


def _minute(time: int, zone: str | None, default: str) -> int:
    try:
        there = ZoneInfo(zone or default)
    except (KeyError, ValueError):
        there = ZoneInfo(default)
    local = datetime.fromtimestamp(time / 1000, there)
    return local.hour * 60 + local.minute


def _consent(outputs: Outputs, told: _Statements) -> Iterator[str]:
    for _, offset, trigger in outputs.triggers:
        if not any(said.agrees(trigger.data.channel) for said in told.around(trigger.subject, offset)):
            yield f"{trigger.subject}: sent by {trigger.data.channel} at {trigger.time} without consent"


def _leases(evidence: Evidence, outputs: Outputs) -> Iterator[str]:
    """No slot has spent more than the lease in force allowed when it spent."""
    spent: dict[tuple[str, int], int] = defaultdict(int)
    leased: dict[int, list[tuple[int, dict[str, list[int]]]]] = {}
    for number, records in evidence.inputs.items():
        leased[number] = [
            (record.offset, _lease(evidence.registry[f"lease/{message.lease}"]).perks)
            for record in records
            if record.key == CONTROL_KEY and record.headers
            for message in [_control(record.value or b"")]
            if isinstance(message, Adopt) and message.lease
        ]
    for number, offset, trigger in outputs.triggers:
        perk = trigger.data.perk
        if perk is None:
            continue
        slot = partition_of(trigger.subject.encode(), _SLOTS)
        spent[perk.id, slot] += perk.reserved
        in_force = [perks for at, perks in leased[number] if at < offset]
        room = in_force[-1].get(perk.id, [0] * _SLOTS)[slot] if in_force else 0
        if spent[perk.id, slot] > room:
            yield f"slot {slot} has spent {spent[perk.id, slot]} of perk {perk.id}, and was leased {room}"


def _ids(outputs: Outputs) -> Iterator[str]:
    """A trigger once; none of a holdout."""
    held = {told.message.data.trigger_id for told in outputs.decisions if told.message.data.decision == "holdout"}
    sent: set[str] = set()
    for _, _, trigger in outputs.triggers:
        if trigger.id in sent:
            yield f"{trigger.subject}: the trigger {trigger.id} was written twice"
        if trigger.id in held:
            yield f"{trigger.subject}: the trigger {trigger.id} was sent to a holdout"
        sent.add(trigger.id)


def _erasures(outputs: Outputs, told: _Statements) -> Iterator[str]:
    everything: list[Told[Any]] = [*outputs.triggers, *outputs.decisions, *outputs.segments]
    for _, offset, message in everything:
        until = max((until for at, until in told.erased[message.subject] if at < offset), default=0)
        if time_of(message.time) <= until:
            yield f"{message.subject}: {message.type} of {message.time} after they were erased up to {until}"
