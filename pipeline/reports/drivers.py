"""Drivers: where the value comes from. What each channel, tier, cohort.. has of the users and of what they spent."""

from collections.abc import Iterable
from typing import Final

from pipeline.association import lift_of_part
from pipeline.reports.base import Table, UserReport, Value, share
from pipeline.state import UserState
from pipeline.visits import Factor, cohort, tenure

_LEAST_BUYERS: Final = 30  # below it the interval's normal approximation means nothing
_COLUMNS: Final = (
    *("factor", "value", "users", "users_share", "buyers", "spent", "spent_share", "spent_per_user"),
    *("lift", "lift_low", "lift_high"),
)


class _Part:
    """Users who have something in common. `squares`: the sum of what each of them spent, squared."""

    __slots__ = ("buyers", "spent", "squares", "users")

    def __init__(self) -> None:
        self.users = self.buyers = self.spent = self.squares = 0

    def add(self, spent: int) -> None:
        self.users += 1
        self.buyers += spent > 0
        self.spent += spent
        self.squares += spent * spent

    @property
    def moments(self) -> tuple[int, int, int]:
        return self.users, self.spent, self.squares


def factors(state: UserState, now: int) -> Iterable[Factor]:
    """What a user is counted under, as of `now` (ms)."""
    yield "first channel", state.journey.first
    yield "tier", (state.groups.tier if state.groups is not None else "") or "(none)"
    yield "key moment", "reached" if state.activity.activated else "not reached"
    yield "cohort", cohort(state)
    yield "tenure", tenure(state, now)


def _make(states: Iterable[UserState], now: int) -> Table:
    whole = _Part()
    parts: dict[Factor, _Part] = {}
    for state in states:
        if not state.known or not state.activity.days:
            continue
        spent = state.orders.spent if state.orders is not None else 0
        whole.add(spent)
        for factor in factors(state, now):
            parts.setdefault(factor, _Part()).add(spent)
    if not whole.spent:
        return Table(_COLUMNS, [])
    rows = [
        _row(factor, part, whole)
        for factor, part in sorted(parts.items(), key=lambda pair: (-_excess(pair[1], whole), pair[0]))
        if part.users < whole.users  # a factor that all have in common tells nobody apart
    ]
    return Table(_COLUMNS, rows)


def _excess(part: _Part, whole: _Part) -> float:
    """How much more of the value it has than of the users: what ranks."""
    return part.spent / whole.spent - part.users / whole.users


def _row(factor: Factor, part: _Part, whole: _Part) -> tuple[Value, ...]:
    lift, low, high = lift_of_part(part.moments, whole.moments)
    sure = low is not None and high is not None and part.buyers >= _LEAST_BUYERS
    return (
        *factor,
        part.users,
        share(part.users, whole.users),
        part.buyers,
        part.spent,
        share(part.spent, whole.spent),
        round(part.spent / part.users),
        round(lift, 3),
        round(low, 3) if sure and low is not None else None,
        round(high, 3) if sure and high is not None else None,
    )


DRIVERS: Final = UserReport(
    "drivers", "by channel, tier, key moment, cohort, tenure: its share of users and of what they spent, ranked", _make
)
