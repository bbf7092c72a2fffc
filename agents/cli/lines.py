"""One line for a person: what a trigger, a decision, an outcome or a dead letter says, and why."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from agents.deadletters import headers_of
from agents.files import text_of
from pipeline.money import amount
from pipeline.sentences import because, short
from pipeline.wording import Language, Words, decided, say
from schemas.decision import Decision
from schemas.erasure import Erasure
from schemas.outcome import Outcome, OutcomeData
from schemas.segment import SegmentChange, SegmentData
from schemas.trigger import Trigger

_trigger = msgspec.json.Decoder(Trigger).decode
_decision = msgspec.json.Decoder(Decision).decode
_outcome = msgspec.json.Decoder(Outcome).decode
_erasure = msgspec.json.Decoder(Erasure).decode
_segment = msgspec.json.Decoder(SegmentChange).decode

_NUMBERS = ("core", "partition", "offset", "time")  # headers of dead letters

_SENT = Words("{why}; until {until}", "{why}；有效期至 {until}")
_DECIDED = Words("{what}; due: {why}", "{what}；到期原因：{why}")


def describe(topic: str, record: Any, language: Language = "en") -> str:
    """The line of a record of an output topic (its short name), without the user's content; why something was sent or
    decided is said in the language.
    """
    if topic == "triggers":
        trigger = _trigger(record.value)
        data = trigger.data
        why = say(_SENT, language, why=because(data.explain, language), until=_minute(data.expires_at))
        return f"{_minute(trigger.time)}  {trigger.subject}  {data.rule_id}: {data.channel} {data.template_id}: {why}"
    if topic == "decisions":
        decision = _decision(record.value)
        taken = decision.data
        said = decided(taken.decision, taken.reasons, language)
        why = say(_DECIDED, language, what=said, why=because(taken.explain, language))
        return f"{_minute(decision.time)}  {decision.subject}  {taken.rule_id}: {why}"
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
    tests = [f"{g.feature} {short(g.value)} ({g.threshold})" for g in change.explain if g.passed == wanted]
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


def document(record: Any) -> dict[str, Any]:
    """A dead letter for JSON: its headers (numbers as numbers), its key and the raw bytes."""
    told = {name: int(text) if name in _NUMBERS else text for name, text in headers_of(record).items()}
    return {**told, "key": text_of(record.key or b""), "value": text_of(record.value or b"")}


def moment(ms: int) -> str:
    """A time in ms as `2025-03-01 12:00` UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _minute(text: str) -> str:
    return text[:16].replace("T", " ")
