"""Drivers: where the value comes from. What each channel, tier, cohort.. has of the users and of what they spent."""

from collections.abc import Iterable
from typing import Final

from pipeline.association import lift_of_part
from pipeline.reports.base import Table, UserReport, Value, share
from pipeline.state import Orders, UserState
from pipeline.units import DAY
from pipeline.visits import Factor, cohort, tenure

_LEAST_BUYERS: Final = 30  # below it the interval's normal approximation means nothing
_COLUMNS: Final = (
    *("factor", "value", "users", "users_share", "buyers", "spent", "spent_share", "spent_per_user"),
    *("lift", "lift_low", "lift_high"),
)
_MONEY: Final = ("spent", "spent_per_user")


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


def _make(states: Iterable[UserState], now: int, days: int | None) -> Table:
    whole = _Part()
    parts: dict[str, dict[str, _Part]] = {}
    for state in states:
        if not state.known or not state.activity.days:
            continue
        spent = _spent(state.orders, now // DAY, days)
        whole.add(spent)
        for factor, value in factors(state, now):
            parts.setdefault(factor, {}).setdefault(value, _Part()).add(spent)
    if not whole.spent:
        return Table(_COLUMNS, [], _MONEY)
    rows: list[tuple[Value, ...]] = []
    for factor in sorted(parts, key=lambda name: (-_spread(parts[name].values(), whole), name)):
        values = sorted(parts[factor].items(), key=lambda pair: (-_excess(pair[1], whole), pair[0]))
        if len(values) > 1:  # what all have in common tells nobody apart
            rows.extend(_row(factor, value, part, whole) for value, part in values)
    return Table(_COLUMNS, rows, _MONEY)


def _spent(orders: Orders | None, today: int, days: int | None) -> int:
    """In the reporting currency's minor units, for all time or the last `days` up to `today`."""
    if orders is None:
        return 0
    return orders.spent if days is None else sum(spent for day, _, spent in orders.recent if day > today - days)


def _spread(parts: Iterable[_Part], whole: _Part) -> float:
    """The share of the value that lies elsewhere than its users: by it factors are ranked."""
    return sum(max(0.0, _excess(part, whole)) for part in parts)


def _excess(part: _Part, whole: _Part) -> float:
    """How much more of the value it has than of the users: by it the values of a factor are ranked."""
    return part.spent / whole.spent - part.users / whole.users


def _row(factor: str, value: str, part: _Part, whole: _Part) -> tuple[Value, ...]:
    lift, low, high = lift_of_part(part.moments, whole.moments)
    sure = low is not None and high is not None and part.buyers >= _LEAST_BUYERS
    return (
        factor,
        value,
        part.users,
        share(part.users, whole.users),
        part.buyers,
        part.spent,
        share(part.spent, whole.spent),
        round(part.spent / part.users),
        round(lift, 2),
        round(low, 2) if sure and low is not None else None,
        round(high, 2) if sure and high is not None else None,
    )


DRIVERS: Final = UserReport(
    "drivers", "by channel, tier, key moment, cohort, tenure: its share of users and of what they spent, ranked", _make
)
