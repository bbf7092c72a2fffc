"""Rows and sums with names instead of positions, as people and other programs read them."""

from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

from pipeline.lifecycle import STAGES
from pipeline.state import UserState
from pipeline.sums import REGISTRY
from pipeline.sums.base import Dims
from pipeline.units import DAY
from schemas.codec import rfc3339

_EPOCH: Final = date(1970, 1, 1)


def user_view(key: bytes, state: UserState) -> dict[str, Any]:
    """A user's row for people and machines: names instead of positions, RFC 3339 instead of ms."""
    activity, journey, recall, profile = state.activity, state.journey, state.recall, state.profile
    active = activity.days > 0
    view: dict[str, Any] = {
        "user": key.decode(),
        "kind": "user" if state.known else "visitor",
        "lifecycle": STAGES[state.stage],
        "lifecycle_since": rfc3339(state.since) if active else None,
        "p_alive_from": state.risk / 10 if state.known else None,
        "activity": None,
        "journey": {"first_channel": journey.first, "last_channel": journey.last},
        "tier": None,
        "segments": [],
        "orders": None,
        "recall": None,
        "profile": None if profile is None else {name: getattr(profile, name) for name in profile.__struct_fields__},
    }
    if profile is not None:
        view["profile"]["at"] = rfc3339(profile.at)
        view["profile"]["unreachable"] = {channel: rfc3339(at) for channel, at in profile.unreachable.items()}
    if active:
        view["activity"] = {
            "first": rfc3339(activity.first),
            "last": rfc3339(activity.last),
            "days": activity.days,
            "days_decayed": {"7d": activity.c7, "30d": activity.c30, "90d": activity.c90},
            "recent_days": _days_back(activity.last // DAY, activity.ring),
            "last_message_id": activity.last_id,
            "last_order": day_text(activity.order_day) if activity.order_day >= 0 else None,
            "activated": activity.activated,
        }
    if recall is not None:
        view["recall"] = {
            "episode_start": rfc3339(recall.episode) if recall.episode else None,
            "rule_id": recall.rule,
            "rule_version": recall.rule_version,
            "trigger_id": recall.trigger_id,
            "arm": ("holdout" if recall.holdout else "treatment") if recall.decided_at else None,
            "decided_at": rfc3339(recall.decided_at) if recall.decided_at else None,
            "window_end": rfc3339(recall.window_end) if recall.window_end else None,
            "returned_at": rfc3339(recall.returned_at) if recall.returned_at else None,
            "stratum": recall.stratum or None,
            "held_out_by_all_rules": recall.withheld,
            "contacts": [
                {"at": rfc3339(c.at), "channel": c.channel, "trigger_id": c.trigger_id} for c in recall.contacts
            ],
            "waiting": [
                {
                    "rule_id": p.rule,
                    "step": p.step,
                    "due_since": rfc3339(p.deadline),
                    "tried_again_at": rfc3339(p.at),
                    "reasons": list(p.reasons),
                }
                for p in recall.pending
            ],
        }
    if state.orders is not None:
        view["orders"] = {
            "count": state.orders.count,
            "spent": state.orders.spent,
            "recent": [{"day": day_text(d), "orders": n, "spent": spent} for d, n, spent in state.orders.recent],
            "items": [{"item": item, "orders": n, "last": rfc3339(at)} for item, n, at in state.orders.items],
        }
    if state.groups is not None:
        view["tier"] = state.groups.tier or None
        view["segments"] = [{"segment": m.segment, "since": rfc3339(m.since)} for m in state.groups.segments]
    return view


def _days_back(last: int, ring: int) -> list[str]:
    """Dates of the bits of `ring`, latest first: bit i stands for i days before `last`."""
    found = []
    while ring:
        lowest = ring & -ring
        found.append(day_text(last + 1 - lowest.bit_length()))
        ring ^= lowest
    return found


@lru_cache(maxsize=4096)
def day_text(day: int) -> str:
    """Days since 1970 as an ISO date."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def sums_view(cells: dict[tuple[str, Dims], list[int]]) -> dict[str, list[dict[str, Any]]]:
    """Every sum as rows of named dimensions and fields, sorted; cells that came back to zero are left out."""
    view: dict[str, list[dict[str, Any]]] = {name: [] for name in REGISTRY}
    for (name, dims), values in sorted(cells.items(), key=lambda cell: (cell[0][0], tuple(map(str, cell[0][1])))):
        aggregate = REGISTRY.get(name)
        if aggregate is not None and any(values):
            named = dict(zip(aggregate.dims, dims, strict=True))
            if isinstance(day := named.get("day"), int):
                named["day"] = day_text(day)
            view[name].append(named | dict(zip(aggregate.fields, values, strict=True)))
    return view
