"""The core's and the naive reference's results in the same words."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from pipeline.erasure import decode_mark
from pipeline.lifecycle import STAGES
from pipeline.records import LogRecord
from pipeline.state import Recall, UserState
from pipeline.sums import REGISTRY as SUMS
from tests.builders import Folded, fold, milliseconds
from tests.reference.naive import Naive
from tests.reference.person import User


def check(records: Sequence[LogRecord], registry: Mapping[str, bytes]) -> None:
    """Assert that both say the same about a log of one partition."""
    found = differences(fold(records, extra=registry), Naive(registry).fold(records))
    assert not found, "\n".join(found)


def differences(core: Folded, naive: Naive) -> list[str]:
    """What differs, one line each."""
    found = []
    for name, of_core, of_naive in _PARTS:
        theirs, ours = _flat(of_core(core)), _flat(of_naive(naive))
        found += [
            f"{name} {k}: core {theirs.get(k)}, naive {ours.get(k)}"
            for k in {**theirs, **ours}
            if theirs.get(k) != ours.get(k)
        ]
    return found


def _flat(part: Any) -> dict[Any, Any]:
    return part if isinstance(part, dict) else dict(enumerate(part))


def _core_deadletters(core: Folded) -> list[tuple[int, str]]:
    return core.deadletters


def _naive_deadletters(naive: Naive) -> list[tuple[int, str]]:
    return naive.deadletters


def _core_decisions(core: Folded) -> list[dict[str, Any]]:
    return [_decision(m) for m in core.messages("decisions")]


def _decision(message: dict[str, Any]) -> dict[str, Any]:
    data = message["data"]
    episode, content, perk, drawn = data["episode"], data["content"], data["perk"], data["experiment"]
    return {
        "user": message["subject"],
        "rule": data["rule_id"],
        "time": milliseconds(message["time"]),
        **{k: data[k] for k in ("step", "decision", "reasons", "trigger_id", "channel", "lifecycle")},
        "template": data["template_id"],
        "next_eligible_at": milliseconds(data["next_eligible_at"]),
        "expires_at": milliseconds(data["expires_at"]),
        "episode": (milliseconds(episode["start"]), milliseconds(episode["entered_at"])),
        "content": (content["feature_id"], content["items"]) if content else None,
        "perk": (perk["id"], perk["reserved"]) if perk else None,
        "experiment": (drawn["salt"], round(drawn["share"], 9), drawn["arm"]) if drawn else None,
    }


def _core_triggers(core: Folded) -> list[str]:
    return [trigger["id"] for trigger in core.triggers]


def _naive_triggers(naive: Naive) -> list[str]:
    return [decision["trigger_id"] for decision in naive.decisions if decision["decision"] == "send"]


def _naive_decisions(naive: Naive) -> list[dict[str, Any]]:
    return naive.decisions


def _core_outcomes(core: Folded) -> list[tuple[Any, ...]]:
    return [
        (
            *(d["trigger_id"], d["arm"], d["recalled"], milliseconds(d["returned_at"]), milliseconds(d["goal_at"])),
            *(d["value"], milliseconds(d["window_end"])),
        )
        for d in core.outcomes
    ]


def _naive_outcomes(naive: Naive) -> list[tuple[Any, ...]]:
    return naive.outcomes


def _core_groups(core: Folded) -> list[tuple[Any, ...]]:
    return [
        (
            *(m["subject"], d["kind"], d["change"], d["segment"], milliseconds(m["time"]), milliseconds(d["since"])),
            *(d["tier"], m["id"]),
        )
        for m in core.messages("segments")
        for d in [m["data"]]
    ]


def _naive_groups(naive: Naive) -> list[tuple[Any, ...]]:
    return naive.groups


def _core_certificates(core: Folded) -> list[tuple[str, int, int]]:
    return [
        (m["subject"], milliseconds(d["erased_until"]) or 0, d["offset"])
        for m in core.messages("erasures")
        for d in [m["data"]]
    ]


def _naive_certificates(naive: Naive) -> list[tuple[str, int, int]]:
    return [(_mark(key), until, offset) for key, until, offset in naive.certificates]


def _core_marks(core: Folded) -> dict[str, list[int]]:
    return {
        key[1:].hex(): list(msgspec.structs.astuple(decode_mark(row)))
        for key, row in core.table.items()
        if key[:1] == b"e"
    }


def _naive_marks(naive: Naive) -> dict[str, list[int]]:
    return {_mark(key): mark for key, mark in naive.marks.items()}


def _mark(key: bytes) -> str:
    return blake2b(key, digest_size=16).hexdigest()


def _core_users(core: Folded) -> dict[tuple[str, str], Any]:
    return {(key, name): value for key, state in core.users.items() for name, value in plain_user(state).items()}


def plain_user(state: UserState) -> dict[str, Any]:
    activity, journey, profile, bought = state.activity, state.journey, state.profile, state.orders
    recall = state.recall or Recall()
    return {
        "stage": (state.known, STAGES[state.stage], state.since, state.risk),
        "activity": (activity.first, activity.last, activity.days, activity.ring, activity.dark, activity.last_id),
        "decayed": tuple(round(c, 9) for c in (activity.c7, activity.c30, activity.c90)),
        "activated": (activity.order_day, activity.activated),
        "came": (journey.first_at, journey.first),
        "touch": (journey.last_at, journey.last) if journey.touches else None,
        "episode": recall.episode,
        "contact": (
            recall.rule,
            recall.trigger_id,
            recall.decided_at,
            recall.window_end,
            recall.returned_at,
            recall.goal,
        )
        if recall.rule
        else None,
        "cells": _core_cells(recall),
        "contacts": [(one.at, one.channel, one.trigger_id) for one in recall.contacts],
        "pending": sorted((w.rule, w.step, w.episode, w.deadline, w.at, w.reasons) for w in recall.pending),
        "drawn": recall.drawn,
        "orders": (bought.count, bought.spent, bought.recent, sorted(bought.items)) if bought else (0, 0, [], []),
        "profile": (profile.timezone, profile.locale, profile.unsubscribed, profile.consent, profile.unreachable)
        if profile
        else (None, None, False, {}, {}),
        "score": (kept.model, kept.percent, kept.at, kept.at + kept.horizon) if (kept := state.check) else None,
        "segments": {m.segment: m.since for m in state.groups.segments} if state.groups else {},
        "tier": (state.groups.tier, state.groups.tier_since, state.groups.changes) if state.groups else ("", 0, 0),
        "seen": len(state.seen) // 10,
    }


def _core_cells(recall: Recall) -> list[tuple[str, str, str, bool]]:
    """Rule, stratum, arm, and whether it is the user's first contact there."""
    arms = {False: "treatment", True: "holdout"}
    found = [(recall.rule, recall.stratum, arms[recall.holdout], bool(recall.first & 1))] if recall.rule else []
    return [*found, ("*", recall.program, arms[recall.withheld], bool(recall.first & 2))] if recall.program else found


def _naive_users(naive: Naive) -> dict[tuple[str, str], Any]:
    return {(key, name): value for key, user in naive.users.items() for name, value in _naive_user(user).items()}


def _naive_user(user: User) -> dict[str, Any]:
    contact, profile = user.contact, user.profile
    return {
        "stage": (user.known, user.stage, user.since, user.risk),
        "activity": (user.first, user.last, user.days, user.ring, user.dark, user.last_id),
        "decayed": tuple(round(c, 9) for c in user.decayed) if user.days else (0.0, 0.0, 0.0),
        "activated": (user.order_day, user.activated),
        "came": user.came,
        "touch": user.last_touch,
        "episode": user.episode,
        "contact": (contact.rule, contact.id, contact.at, contact.end * contact.open, contact.back or 0, contact.goal)
        if contact
        else None,
        "cells": [(*cell, cell in contact.first) for cell in contact.cells] if contact else [],
        "contacts": [(one.at, one.channel, one.id) for one in user.sent],
        "pending": sorted((w.rule, w.step, w.episode, w.deadline, w.at, w.reasons) for w in user.waiting),
        "drawn": user.drawn,
        "orders": (
            *(user.orders, user.spent, [(day, *sums) for day, sums in user.order_days.items()]),
            sorted((item, *times) for item, times in user.items.items()),
        ),
        "profile": (
            *(profile.get("timezone"), profile.get("locale"), profile.get("unsubscribed", False)),
            *(profile.get("consent", {}), user.unreachable),
        ),
        "score": (kept.model, kept.percent, kept.at, kept.until) if (kept := user.score) else None,
        "segments": user.segments,
        "tier": (user.tier, user.tier_since, user.changes),
        "seen": len(user.seen),
    }


def _core_sums(core: Folded) -> dict[Any, int]:
    return {
        (name, dims, field): value
        for (name, dims), cell in core.cells.items()
        for field, value in zip(SUMS[name].fields, cell, strict=True)
        if value
    }


def _naive_sums(naive: Naive) -> dict[Any, int]:
    return {key: value for key, value in naive.sums.items() if value}


def _core_counts(core: Folded) -> dict[str, int]:
    return {k: v for k, v in core.counts.items() if v and k != "woken"}


def _naive_counts(naive: Naive) -> dict[str, int]:
    return {k: v for k, v in naive.counts.items() if v}


_PARTS: tuple[tuple[str, Any, Any], ...] = (
    ("deadletters", _core_deadletters, _naive_deadletters),
    ("decisions", _core_decisions, _naive_decisions),
    ("triggers", _core_triggers, _naive_triggers),
    ("outcomes", _core_outcomes, _naive_outcomes),
    ("segments", _core_groups, _naive_groups),
    ("certificates", _core_certificates, _naive_certificates),
    ("marks", _core_marks, _naive_marks),
    ("users", _core_users, _naive_users),
    ("sums", _core_sums, _naive_sums),
    ("counts", _core_counts, _naive_counts),
)
