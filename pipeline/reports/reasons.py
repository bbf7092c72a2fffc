"""Reasons: what happened in the last active days of users who left, against users who stayed.

An association, found on one half of the users and confirmed on the other; docs/methods/reasons.md says how and what it
cannot tell.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import xxhash

from pipeline.association import Comparison, benjamini_hochberg, compare
from pipeline.units import DAY, HOUR
from pipeline.visits import EVENT, FAILURE, Factor, Visit, Visits

LEAST: Final = 100
"""Users on either side, at least, to say anything; half of it in each half of the users."""
WINDOW: Final = 3
"""Active days that a window holds at most; all of them within the dormant span."""
PERIODS: Final = 4
"""Periods in a dormant span: what happens in the same one happens at the same time. A week of 28 days."""
Q: Final = 0.05
"""Expected share of false ones among what the first half finds."""
ALPHA: Final = 0.05
"""Level of the confirmation in the other half."""
_MOST_NAMES: Final = 100
_RARE: Final = 10  # a factor of fewer windows, or of all but so few, is not tested: it could not stand out


class Window(NamedTuple):
    """A user's last active days up to one of them. `stratum`: what it is matched by, its period and how many days."""

    stratum: tuple[int, int]
    factors: frozenset[Factor]


class Reason(NamedTuple):
    """A factor found in the first half. `q`: its p value adjusted for all that were tested."""

    factor: Factor
    discovery: Comparison
    q: float
    confirmation: Comparison

    @property
    def confirmed(self) -> bool:
        """Whether the half that the search did not see says the same."""
        same = (self.discovery.lift > 1) == (self.confirmation.lift > 1)
        return same and self.confirmation.p < ALPHA


class Reasons(NamedTuple):
    """`users` and how many of them `left`; `pairs` compared in each half, None for `too_few` of them; factors
    `tested`; event names `dropped` because there are too many; what was found, the most frequent excess first.
    """

    users: int
    left: int
    pairs: tuple[int, int]
    too_few: str | None = None
    tested: int = 0
    dropped: int = 0
    found: Sequence[Reason] = ()


def reasons(visits: Visits, dormant: int) -> Reasons:
    """Compare those who went dormant (after a silence of `dormant` ms) with those who stayed.

    A user left if a silence of theirs was that long; the latest counts. A visit that was followed by another in time is
    one of a user who stayed then, whatever came later (Lubin & Gail 1984). Each left user is matched with another
    user of the same half who stayed after a visit in the same period that ends a window of as many active days.
    """
    left, stayed = _windows(visits, dormant)
    halves = [_pairs(half, left, stayed) for half in (0, 1)]
    sizes = len(halves[0]), len(halves[1])
    base = Reasons(len(visits.by_user), len(left), sizes)
    if len(left) < LEAST:
        return base._replace(too_few=f"too few dormant users to tell: {len(left)}, at least {LEAST}")
    if min(sizes) < LEAST // 2:
        why = "too few of them have a counterpart who stayed, at the same time and with as many active days"
        return base._replace(too_few=f"{why}: {sizes[0]} + {sizes[1]}, at least {LEAST // 2} in each half")
    kept, dropped = _kept(visits)
    tested, found = search(halves[0], halves[1], kept)
    return base._replace(tested=tested, dropped=dropped, found=found)


Pair = tuple[frozenset[Factor], frozenset[Factor]]
"""Factors in the window of a user who left, and of one who stayed."""


def search(
    discovery: Sequence[Pair], confirmation: Sequence[Pair], kept: frozenset[Factor]
) -> tuple[int, list[Reason]]:
    """How many factors were tested on the first half (of event names only the `kept`), and those that were found.
    Neither half is empty.
    """
    left, stayed = _count(discovery)
    n = len(discovery)
    factors = sorted(
        factor
        for factor, count in (left + stayed).items()
        if _RARE <= count <= 2 * n - _RARE and (factor[0] not in {EVENT, FAILURE} or factor in kept)
    )
    compared = [compare(left[factor], n, stayed[factor], n) for factor in factors]
    adjusted = benjamini_hochberg([comparison.p for comparison in compared])
    again_left, again_stayed = _count(confirmation)
    m = len(confirmation)
    found = [
        Reason(factor, comparison, q, compare(again_left[factor], m, again_stayed[factor], m))
        for factor, comparison, q in zip(factors, compared, adjusted, strict=True)
        if q <= Q
    ]
    found.sort(key=lambda reason: (not reason.confirmed, -_excess(reason), reason.factor))
    return len(factors), found


def _excess(reason: Reason) -> float:
    """How many of a hundred more have it, by the half that did not choose it."""
    return abs(reason.confirmation.share - reason.confirmation.other)


def _count(pairs: Iterable[Pair]) -> tuple[Counter[Factor], Counter[Factor]]:
    left: Counter[Factor] = Counter()
    stayed: Counter[Factor] = Counter()
    for one, other in pairs:
        left.update(one)
        stayed.update(other)
    return left, stayed


def _kept(visits: Visits) -> tuple[frozenset[Factor], int]:
    """Event names that most users have, whoever they are, and how many names that leaves out."""
    users: Counter[Factor] = Counter()
    for days in visits.by_user.values():
        users.update(frozenset().union(*(visit.seen for visit in days)))
    ranked = sorted(users, key=lambda factor: (-users[factor], factor))
    return frozenset(ranked[:_MOST_NAMES]), max(0, len(ranked) - _MOST_NAMES)


def _windows(visits: Visits, dormant: int) -> tuple[dict[bytes, Window], dict[bytes, list[Window]]]:
    """The window of each user before their latest dormancy, and those after which they stayed, one a stratum."""
    left: dict[bytes, Window] = {}
    stayed: dict[bytes, list[Window]] = {}
    for user, days in visits.by_user.items():
        found: dict[tuple[int, int], Window] = {}
        for at, silence in enumerate(_silences(days, visits)):
            window = _window(days, at, dormant)
            if silence > dormant:
                left[user] = window
            elif at + 1 < len(days):
                found[window.stratum] = window
        stayed[user] = list(found.values())
    return left, stayed


def _silences(days: Sequence[Visit], visits: Visits) -> Iterator[int]:
    """After each visit: ms to the next one, or to the end of the history, without the source's dark hours."""
    for visit, after in zip(days, [*days[1:], None], strict=True):
        day, dark = (visits.end, visits.dark) if after is None else (after.day, after.dark)
        yield (day - visit.day) * DAY - (dark - visit.dark) * HOUR


def _window(days: Sequence[Visit], at: int, dormant: int) -> Window:
    last = days[at]
    within = [visit for visit in days[max(0, at - WINDOW + 1) : at + 1] if (last.day - visit.day) * DAY <= dormant]
    seen = frozenset().union(*(visit.seen for visit in within))
    period = last.day // max(1, dormant // DAY // PERIODS)
    return Window((period, len(within)), seen | last.standing)


def half_of(user: bytes) -> int:
    """0: the search looks at this user; 1: the confirmation does. Sticky: the same in every report."""
    return xxhash.xxh3_64_intdigest(b"reasons/half/" + user) & 1


def _drawn(user: bytes) -> int:
    return xxhash.xxh3_64_intdigest(b"reasons/pair/" + user)


def _pairs(half: int, left: Mapping[bytes, Window], stayed: Mapping[bytes, Sequence[Window]]) -> list[Pair]:
    """Everybody who left with somebody who stayed, each user once on either side, in the order of a hash."""
    order = sorted((user for user in stayed if half_of(user) == half), key=_drawn)
    waiting: dict[tuple[int, int], list[tuple[bytes, frozenset[Factor]]]] = {}
    for user in reversed(order):
        for window in stayed[user]:
            waiting.setdefault(window.stratum, []).append((user, window.factors))
    taken: set[bytes] = set()
    pairs: list[Pair] = []
    for user in order:
        if user not in left:
            continue
        window = left[user]
        candidates = waiting.get(window.stratum, [])
        passed = []
        while candidates:
            other, factors = candidates.pop()
            if other == user:
                passed.append((other, factors))
            elif other not in taken:
                taken.add(other)
                pairs.append((window.factors, factors))
                break
        candidates.extend(passed)
    return pairs
