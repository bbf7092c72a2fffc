"""What holds for every message to a user, whatever is in the log and whichever policies follow each other."""

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from zoneinfo import ZoneInfo

from hypothesis import given, settings

from pipeline.policy import Policy, parse
from pipeline.records import LogRecord
from pipeline.state import Profile
from pipeline.units import DAY
from schemas.codec import decode_lease
from tests.builders import Folded, fold, milliseconds
from tests.property.policies import LEASES, POLICIES
from tests.property.strategies import REGISTRY, logs

BY_SALT: Final = {policy.salt: policy for policy in map(parse, POLICIES)}


@given(logs())
def test_nobody_is_contacted_more_often_or_at_other_times_than_the_policy_allows(records: list[LogRecord]) -> None:
    folded = fold(records, extra=REGISTRY)
    _within_the_caps(folded, records)
    _not_in_quiet_hours(folded)
    _within_the_leases(folded, records)


def _within_the_caps(folded: Folded, records: list[LogRecord]) -> None:
    """Sent or held out, in the 24 h and 7 d up to each contact; but for users who were erased meanwhile."""
    erased = {r.key for r in records if b'"delete"' in (r.value or b"")}
    failed = b"".join(r.value or b"" for r in records if b"Message Failed" in (r.value or b""))
    users: dict[str, list[dict[str, Any]]] = {}
    for message in folded.messages("decisions"):
        counted = message["data"]["experiment"] and message["data"]["trigger_id"].encode() not in failed
        if counted and message["subject"].encode() not in erased:
            users.setdefault(message["subject"], []).append(message)
    for contacts in users.values():
        for number, message in enumerate(contacts):
            policy, channel = _policy(message), message["data"]["channel"]
            before = contacts[: number + 1]
            mine = [m for m in before if m["data"]["channel"] == channel]
            for caps, counted in ((policy.caps, before), (policy.channel_caps.get(channel), mine)):
                for most, span in ((caps.per_day, DAY), (caps.per_week, 7 * DAY)) if caps else ():
                    assert most is None or sum(_time(m) > _time(message) - span for m in counted) <= most


def _not_in_quiet_hours(folded: Folded) -> None:
    for trigger in folded.triggers:
        quiet = _policy(trigger).quiet_hours
        if quiet is not None:
            name = trigger["data"]["timezone"]
            zone = ZoneInfo(name if name and name != "Nowhere/Land" else quiet.timezone)
            local = datetime.fromtimestamp(_time(trigger) / 1000, zone)
            minute = local.hour * 60 + local.minute
            over_midnight = quiet.start > quiet.end
            assert (quiet.end <= minute < quiet.start) if over_midnight else not quiet.start <= minute < quiet.end


def _within_the_leases(folded: Folded, records: list[LogRecord]) -> None:
    """No slot has spent more than the greatest lease that it was given, and what it has spent was offered."""
    log = b"".join(r.value or b"" for r in records)
    given = [decode_lease(lease).perks for lease in LEASES if sha256(lease).hexdigest().encode() in log]
    spent = 0
    for (name, dims), cell in folded.cells.items():
        if name == "perks":
            assert cell[0] <= max(lease[str(dims[0])][int(dims[1])] for lease in given)
            spent += cell[0]
    assert spent == sum(t["data"]["perk"]["reserved"] for t in folded.triggers if t["data"]["perk"])


@settings(max_examples=settings().max_examples // 2)  # each folds its log record by record
@given(logs())
def test_a_message_is_agreed_to_in_time_and_what_waits_ends_in_one_decision(records: list[LogRecord]) -> None:
    """Record by record, so that what was known at each is at hand."""
    folded = fold([], extra=REGISTRY)
    for record in records:
        before = folded.users
        known = {topic: len(messages) for topic, messages in folded.outputs.items()}
        folded.feed([record])
        position, policy = folded.partition.position, folded.partition.policy
        after = folded.users
        for trigger in folded.triggers[known.get("triggers", 0) :]:
            states = [state for users in (before, after) if (state := users.get(trigger["subject"])) is not None]
            assert any(_agreed(state.profile or Profile(), trigger["data"]["channel"], policy) for state in states)
            assert _time(trigger) <= _expires(trigger)
            assert (position.horizon or 0) - policy.lateness < _expires(trigger)
        decided = [_named(m) for m in folded.messages("decisions")[known.get("decisions", 0) :]]
        steps = {rule.id: len(rule.steps) for rule in policy.rules}
        erased = b'"delete"' in (record.value or b"")
        for user, waits in _waiting(before):
            if not erased and waits[0] in steps and waits[1] <= steps[waits[0]]:
                ends = decided.count((user, *waits))
                still = (user, waits) in set(_waiting(after))
                assert ends + still == 1 or (waits[1] and not ends + still)  # a step may go with its goal window


def _waiting(users: dict[str, Any]) -> Iterator[tuple[str, tuple[str, int, int]]]:
    for user, state in users.items():
        for pending in state.recall.pending if state.recall else ():
            if pending.reasons:
                yield user, (pending.rule, pending.step, pending.episode)


def _named(message: dict[str, Any]) -> tuple[str, str, int, int | None]:
    data = message["data"]
    return message["subject"], data["rule_id"], data["step"], milliseconds(data["episode"]["start"])


def _agreed(profile: Profile, channel: str, policy: Policy) -> bool:
    consent = policy.consent[channel]
    said = profile.consent.get(consent.trait)
    agreed = said is True if consent.basis == "opt_in" else said is not False
    return agreed and not profile.unsubscribed and channel not in profile.unreachable


def _policy(message: dict[str, Any]) -> Policy:
    return BY_SALT[message["data"]["experiment"]["salt"]]


def _time(message: dict[str, Any]) -> int:
    return milliseconds(message["time"]) or 0


def _expires(message: dict[str, Any]) -> int:
    return milliseconds(message["data"]["expires_at"]) or 0
