"""Gates in words, for people who ask why."""

from typing import Final

import msgspec

from pipeline.risk import Term
from pipeline.risk.words import words
from schemas.trigger import Gate


class Sentence(msgspec.Struct):
    """A gate, and what it means in words."""

    feature: str
    value: float | int | str | None
    threshold: float | int | str | None
    passed: bool
    words: str


def sentence(gate: Gate) -> Sentence:
    """A gate of a trigger or a decision in words."""
    return Sentence(gate.feature, gate.value, gate.threshold, gate.passed, _words(gate))


def _words(gate: Gate) -> str:
    value, threshold = _short(gate.value), _short(gate.threshold)
    said = {
        "silence_days": (f"silent for {value} days, the rule asks for {threshold}", "only "),
        "p_alive": (f"P(alive) is {value}, the rule asks for less than {threshold}", ""),
        "risk": (f"the risk is {value}, the rule asks for {threshold} or more", ""),
        "age_days": (f"first seen {value} days ago, the rule asks for {threshold}", "only "),
        "segment": (f"entered {value}", ""),
        "active_days": (f"{value} active days, the rule asks for {threshold}", "only "),
        "days_since_contact": (
            f"{value} days since the last contact, the next may come after {threshold}",
            "only ",
        ),
    }
    if gate.feature == "segment" and not gate.passed:
        return f"not in {value}"
    if gate.feature == "p_alive" and gate.passed and value == threshold:
        return f"P(alive) has just fallen below {threshold}"
    if gate.feature == "risk" and gate.value is None:
        return "no churn model is adopted (rekindle model publish)"
    if gate.feature in said:
        text, only = said[gate.feature]
        return text if gate.passed else only + text
    if gate.contribution is not None:
        return words(Term(gate.feature.removeprefix("risk."), float(gate.value or 0), gate.contribution))
    for prefix, yes, no in _BY_CHANNEL:
        if gate.feature.startswith(prefix):
            return (yes if gate.passed else no).format(gate.feature.removeprefix(prefix))
    yes, no = _YES_NO.get(gate.feature, (f"{gate.feature}: yes", f"{gate.feature}: no"))
    return yes if gate.passed else no


_BY_CHANNEL: Final = (
    ("consent_", "consent to {}", "no consent to {}"),
    ("reachable_", "reachable by {}", "the last message by {} bounced"),
)
_YES_NO: Final = {
    "not_activated": ("the key moment was not reached", "the key moment was reached"),
    "in_segment": ("in the segment", "no longer in the segment"),
    "not_quiet_hours": ("no quiet hours where the user is", "quiet hours where the user is"),
    "budget": ("the perk's budget has room", "the perk's budget is spent, or nothing is leased (rekindle perks lease)"),
    "ceiling": ("the rule is below its ceiling of this hour", "the rule has reached its ceiling of this hour"),
    "cap_day": ("below the cap of a day", "the most messages of a day were sent"),
    "cap_week": ("below the cap of a week", "the most messages of a week were sent"),
    "channel_cap_day": ("below the channel's cap of a day", "this channel's most messages of a day were sent"),
    "channel_cap_week": ("below the channel's cap of a week", "this channel's most messages of a week were sent"),
    "still_silent": ("still silent at the deadline", "came back before it was decided"),
    "in_time": ("decided in time", "it could not be sent before it expired"),
    "episode_free": ("no other rule has this silence", "another rule has this silence: one trigger per episode"),
    "not_paused": ("sending is not paused", "sending is paused (rekindle resume)"),
    "subscribed": ("subscribed", "unsubscribed"),
    "live": ("the rule is live", "the rule is in shadow: decisions are written, nothing is sent"),
}


def _short(value: float | str | None) -> str:
    return f"{round(value, 2):g}" if isinstance(value, float | int) else str(value)
