"""The core's and the naive reference's results in the same words."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from pipeline.erasure import decode_mark
from pipeline.lifecycle import STAGES
from pipeline.records import LogRecord
from pipeline.state import UserState
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


def _core_decisions(core: Folded) -> list[tuple[Any, ...]]:
    return [
        (m["subject"], d["rule_id"], milliseconds(m["time"]), d["decision"], d["reasons"], d["trigger_id"])
        for m in core.messages("decisions")
        for d in [m["data"]]
    ]


def _naive_decisions(naive: Naive) -> list[tuple[Any, ...]]:
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
    activity, journey, recall, profile = state.activity, state.journey, state.recall, state.profile
    return {
        "stage": (state.known, STAGES[state.stage], state.since, state.risk),
        "activity": (activity.first, activity.last, activity.days, activity.ring, activity.dark, activity.last_id),
        "decayed": tuple(round(c, 9) for c in (activity.c7, activity.c30, activity.c90)),
        "orders": (activity.order_day, activity.activated),
        "touch": ((journey.first_at, journey.first), (journey.last_at, journey.last))
        if journey.touches
        else (None, None),
        "episode": recall.episode if recall else 0,
        "contact": (recall.rule, recall.trigger_id, recall.holdout, recall.decided_at)
        if recall and recall.rule
        else None,
        "profile": (profile.timezone, profile.locale, profile.unsubscribed, profile.consent)
        if profile
        else (None, None, False, {}),
        "seen": len(state.seen) // 12,
    }


def _naive_users(naive: Naive) -> dict[tuple[str, str], Any]:
    return {(key, name): value for key, user in naive.users.items() for name, value in _naive_user(user).items()}


def _naive_user(user: User) -> dict[str, Any]:
    contact, profile = user.contact, user.profile
    return {
        "stage": (user.known, user.stage, user.since, user.risk),
        "activity": (user.first, user.last, user.days, user.ring, user.dark, user.last_id),
        "decayed": tuple(round(c, 9) for c in user.decayed) if user.days else (0.0, 0.0, 0.0),
        "orders": (user.order_day, user.activated),
        "touch": (user.first_touch, user.last_touch),
        "episode": user.episode,
        "contact": (contact["rule"], contact["id"], contact["arm"] == "holdout", contact["at"]) if contact else None,
        "profile": (
            *(profile.get("timezone"), profile.get("locale"), profile.get("unsubscribed", False)),
            profile.get("consent", {}),
        ),
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
    ("outcomes", _core_outcomes, _naive_outcomes),
    ("certificates", _core_certificates, _naive_certificates),
    ("marks", _core_marks, _naive_marks),
    ("users", _core_users, _naive_users),
    ("sums", _core_sums, _naive_sums),
    ("counts", _core_counts, _naive_counts),
)
