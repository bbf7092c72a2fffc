"""`python -m benchmarks.reasons`: how often `report reasons` finds what is not there, and how well it finds what is.

The figures of docs/methods/reasons.md, in some minutes; the same from run to run.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from rich.console import Console

from pipeline.reports.reasons import Pair, Reason, Window, reasons, search
from pipeline.units import DAY
from pipeline.visits import EVENT, Factor, Visit, Visits

_OTHERS: Final = 30
_CAUSE: Final[Factor] = ("made up", "cause")
_BASE: Final = 0.08  # share of those who stayed that have it


def pairs(draw: Random, count: int, lift: float = 1.0) -> list[Pair]:
    """Pairs of windows of as many users; only one factor is more frequent, by `lift`, before leaving."""

    def window(user: int, chance: float) -> Window:
        factors = {("made up", f"{n}") for n in range(_OTHERS) if draw.random() < 0.02 + 0.9 * n / _OTHERS}
        if draw.random() < chance:
            factors.add(_CAUSE)
        return Window(b"%d" % user, frozenset(factors))

    return [Pair(window(2 * n, _BASE * lift), window(2 * n + 1, _BASE)) for n in range(count)]


def habits(draw: Random, users: int = 600) -> Visits:
    """Users whose habits and channel last, who come more or less often and leave at rates from 1 to 20 % a visit, each
    drawn on its own: whatever is found but tenure is false.
    """
    visits = Visits()
    visits.end = 200
    for number in range(users):
        gap, leaving, channel = draw.choice([1, 3, 8]), draw.choice([0.01, 0.05, 0.2]), draw.choice("abcd")
        habit = {f"event {n}": min(1.0, 1.5 * draw.random()) for n in range(12)}
        day = first = draw.randint(0, 120)
        days = visits.by_user[b"%d" % number] = []
        while day < visits.end:
            seen = frozenset((EVENT, name) for name, chance in habit.items() if draw.random() < chance)
            standing = frozenset({("first channel", channel), ("tenure", f"{(day - first) // 30}")})
            days.append(Visit(day, 0, seen, standing))
            if draw.random() < leaving:
                break
            day += min(25, 1 + int(draw.expovariate(1 / gap)))
    return visits


def main() -> None:
    """Print the tables."""
    console, draw = Console(highlight=False), Random(3)
    chance = [search(pairs(draw, 100), pairs(draw, 100), frozenset())[1] for _ in range(1_000)]
    console.print(f"1,000 reports of chance alone, 100 pairs a half, {_OTHERS + 1} factors: {_false(chance)}")
    lasting = [reasons(habits(Random(seed)), 30 * DAY).found for seed in range(150)]
    found = [[reason for reason in each if reason.factor[0] != "tenure"] for each in lasting]
    console.print(f"150 histories of 600 users with habits: {_false(found)}")
    for lift in (1.5, 2, 3):
        for count in (100, 200, 500, 1_000, 2_000):
            tries = [search(pairs(draw, count, lift), pairs(draw, count, lift), frozenset())[1] for _ in range(60)]
            power = sum(any(each.factor == _CAUSE and each.confirmed for each in found) for found in tries) / 60
            console.print(f"lift {lift:g}, {count:,} pairs a half: confirmed in {power:.0%}")


def _false(reports: Sequence[Sequence[Reason]]) -> str:
    found = sum(bool(each) for each in reports) / len(reports)
    confirmed = sum(any(reason.confirmed for reason in each) for each in reports) / len(reports)
    return f"{found:.1%} find something, {confirmed:.1%} confirm it"


if __name__ == "__main__":
    main()
