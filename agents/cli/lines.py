"""One line for a person: what a trigger, a decision, an outcome or a dead letter says, and why."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from agents.files import text_of
from pipeline.money import amount
from schemas.decision import Decision
from schemas.erasure import Erasure
from schemas.outcome import Outcome, OutcomeData
from schemas.segment import SegmentChange, SegmentData
from schemas.trigger import Gate, RecallData, Trigger

_trigger = msgspec.json.Decoder(Trigger).decode
_decision = msgspec.json.Decoder(Decision).decode
_outcome = msgspec.json.Decoder(Outcome).decode
_erasure = msgspec.json.Decoder(Erasure).decode
_segment = msgspec.json.Decoder(SegmentChange).decode

_SAID = {
    "silence_days": "silent for {value} days (the rule's limit is {threshold})",
    "p_alive": "P(alive) {value}, below {threshold}",
    "risk": "risk {value}, {threshold} or more",
    "age_days": "first seen {value} days ago (the rule's limit is {threshold})",
    "segment": "entered {value}",
}
_CONDITIONS = ("p_alive", "risk", "age_days", "segment", "silence_days")
"""By which a rule can be due; a silence is told of some of the others, too."""


def because(data: RecallData) -> str:
    """What made the rule due: `silent for 30 days (the rule's limit is 30)`."""
    found = {gate.feature: gate for gate in data.explain}
    named = next((feature for feature in _CONDITIONS if feature in found), None)
    if named is None:
        return "due"
    silence = found.get("silence_days")
    days = f", silent for {_short(silence.value)} days" if silence and named in {"p_alive", "risk"} else ""
    return _said(found[named]) + days


def _said(gate: Gate) -> str:
    if gate.feature == "p_alive" and _short(gate.value) == _short(gate.threshold):
        return f"P(alive) just below {_short(gate.threshold)}"
    return _SAID[gate.feature].format(value=_short(gate.value), threshold=_short(gate.threshold))


def _short(value: float | str | None) -> str:
    """A number as a person would say it: 48.197 -> 48.2, 0.6499 -> 0.65."""
    if not isinstance(value, float | int):
        return str(value)
    return f"{round(value, 1 if abs(value) >= 1 else 2):g}"


def describe(topic: str, record: Any) -> str:
    """The line of a record of an output topic (its short name), without the user's content."""
    if topic == "triggers":
        trigger = _trigger(record.value)
        data = trigger.data
        return (
            f"{_minute(trigger.time)}  {trigger.subject}  {data.rule_id}: {data.channel} {data.template_id}: "
            f"{because(data)}; until {_minute(data.expires_at)}"
        )
    if topic == "decisions":
        decision = _decision(record.value)
        why = ", ".join(decision.data.reasons)
        return (
            f"{_minute(decision.time)}  {decision.subject}  {decision.data.rule_id}: {decision.data.decision}"
            f"{f' ({why})' if why else ''}: {because(decision.data)}"
        )
    if topic == "outcomes":
        outcome = _outcome(record.value)
        what = outcome.data
        return f"{_minute(outcome.time)}  {what.user}  {what.rule_id} {what.arm}: {_ending(what)}"
    if topic == "segments":
        change = _segment(record.value)
        name = f"the tier {change.data.segment}" if change.data.kind == "tier" else change.data.segment
        return f"{_minute(change.time)}  {change.subject}  {change.data.change}s {name}{_tested(change.data)}"
    if topic == "erasures":
        done = _erasure(record.value).data
        ends = f"gone from all topics by {_minute(done.complete_by)}"
        return f"{_minute(done.applied_at)}  {done.mark}: erased until {_minute(done.erased_until)}; {ends}"
    told = headers_of(record)
    key = (record.key or b"").decode("utf-8", "replace")
    return (
        f"{moment(record.timestamp)}  {told.get('reason')}: {told.get('message')}  "
        f"(partition {told.get('partition')}, offset {told.get('offset')}, key {key!r})"
    )


def _tested(change: SegmentData) -> str:
    """The comparisons: those that hold of an entering, those that don't of a leaving."""
    wanted = change.change == "enter"
    tests = [f"{g.feature} {_short(g.value)} ({g.threshold})" for g in change.explain if g.passed == wanted]
    return f": {', '.join(tests)}" if tests else ""


def _ending(outcome: OutcomeData) -> str:
    if outcome.recalled and outcome.latency is not None:
        worth = (
            ""
            if outcome.value is None or outcome.currency is None
            else f", worth {amount(outcome.value, outcome.currency)}"
        )
        return f"recalled after {outcome.latency / 86_400_000:.1f} days{worth}"
    if outcome.returned_at:
        return f"came back at {_minute(outcome.returned_at)}, without the goal"
    return "not recalled"


def headers_of(record: Any) -> dict[str, str]:
    """Headers as text."""
    return {name: value.decode("utf-8", "replace") for name, value in record.headers}


def document(record: Any) -> dict[str, Any]:
    """A dead letter for JSON: its headers, its key and the raw bytes."""
    return {**headers_of(record), "key": text_of(record.key or b""), "value": text_of(record.value or b"")}


def moment(ms: int) -> str:
    """A time in ms as `2025-03-01 12:00` UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _minute(text: str) -> str:
    return text[:16].replace("T", " ")
