"""Reasons: what happened in the last active days before users left, against visits after which users stayed.

An association, found on one half of the users and confirmed on the other; docs/methods/reasons.md says how and what it
cannot tell.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import xxhash

from pipeline.association import Comparison, benjamini_hochberg, compare
from pipeline.units import DAY, HOUR
from pipeline.visits import EVENT, FAILURE, Factor, Visit, Visits

LEAST: Final = 100
"""Users who left, at least, to say anything; half as many pairs in each half of the users."""
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
    """A user's last active days up to one of them, and what there was in them."""

    user: bytes
    factors: frozenset[Factor]


class Pair(NamedTuple):
    """A window after which its user left, and one of the same time after which its user stayed."""

    left: Window
    stayed: Window


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
    """`users`, how many of them `left`, and how often; `pairs` compared in each half, or why there are `too_few`;
    factors `tested`; event names `dropped` because there are too many; what was found, the greatest difference first.
    """

    users: int
    left: int
    departures: int
    pairs: tuple[int, int]
    too_few: str | None = None
    tested: int = 0
    dropped: int = 0
    found: Sequence[Reason] = ()


def reasons(visits: Visits, dormant: int) -> Reasons:
    """Compare the visits after which users went dormant (a silence of `dormant` ms) with those after which they stayed.

    A visit counts once that silence had the time to pass. Those of the same half of the users, the same period and as
    many active days in their windows are paired, in the order of a hash, as many as there are of both kinds.
    """
    left, stayed = _windows(visits, dormant)
    halves = [_pairs(half, left, stayed) for half in (0, 1)]
    sizes = len(halves[0]), len(halves[1])
    gone = [window.user for windows in left.values() for _, window in windows]
    base = Reasons(len(visits.by_user), len(set(gone)), len(gone), sizes)
    if base.left < LEAST:
        return base._replace(too_few=f"too few dormant users to tell: {base.left}, at least {LEAST}")
    if min(sizes) < LEAST // 2:
        why = "too few of them have a counterpart who stayed, at the same time and with as many active days"
        return base._replace(too_few=f"{why}: {sizes[0]} + {sizes[1]}, at least {LEAST // 2} in each half")
    kept, dropped = _kept(visits)
    tested, found = search(halves[0], halves[1], kept)
    return base._replace(tested=tested, dropped=dropped, found=found)


def search(
    discovery: Sequence[Pair], confirmation: Sequence[Pair], kept: frozenset[Factor]
) -> tuple[int, list[Reason]]:
    """How many factors were tested on the first half (of event names only the `kept`), and those that were found.
    Neither half is empty.
    """
    seen = Counter(factor for pair in discovery for window in pair for factor in window.factors)
    factors = sorted(
        factor
        for factor, count in seen.items()
        if _RARE <= count <= 2 * len(discovery) - _RARE and (factor[0] not in {EVENT, FAILURE} or factor in kept)
    )
    compared = [_compare(factor, discovery) for factor in factors]
    adjusted = benjamini_hochberg([comparison.p for comparison in compared])
    found = [
        Reason(factor, comparison, q, _compare(factor, confirmation))
        for factor, comparison, q in zip(factors, compared, adjusted, strict=True)
        if q <= Q
    ]
    found.sort(key=lambda reason: (not reason.confirmed, -_difference(reason), reason.factor))
    return len(factors), found


def _difference(reason: Reason) -> float:
    """How many of a hundred more have it, by the half that did not choose it."""
    return abs(reason.confirmation.share - reason.confirmation.other)


def _compare(factor: Factor, pairs: Sequence[Pair]) -> Comparison:
    """A user may be in several pairs, and is alike in all of them: the variance is that of the users' totals."""
    n = len(pairs)
    left = sum(factor in pair.left.factors for pair in pairs)
    stayed = sum(factor in pair.stayed.factors for pair in pairs)
    mean = (left + stayed) / (2 * n)
    totals: dict[bytes, float] = defaultdict(float)
    for one, other in pairs:
        totals[one.user] += (factor in one.factors) - mean
        totals[other.user] -= (factor in other.factors) - mean
    independent = 2 * n * mean * (1 - mean)
    effect = sum(total * total for total in totals.values()) / independent if independent else 1.0
    return compare(left, n, stayed, n, effect)


def _kept(visits: Visits) -> tuple[frozenset[Factor], int]:
    """Event names that most users have, whoever they are, and how many names that leaves out."""
    users: Counter[Factor] = Counter()
    for days in visits.by_user.values():
        users.update(frozenset().union(*(visit.seen for visit in days)))
    ranked = sorted(users, key=lambda factor: (-users[factor], factor))
    return frozenset(ranked[:_MOST_NAMES]), max(0, len(ranked) - _MOST_NAMES)


_Stratum = tuple[int, int, int]
"""Half of the users, period, active days in the window."""
_Drawn = Mapping[_Stratum, list[tuple[int, Window]]]
"""Windows and the hash by which they are ordered."""


def _windows(visits: Visits, dormant: int) -> tuple[_Drawn, _Drawn]:
    """The windows after which users left, and those after which they stayed."""
    left: dict[_Stratum, list[tuple[int, Window]]] = defaultdict(list)
    stayed: dict[_Stratum, list[tuple[int, Window]]] = defaultdict(list)
    period = max(1, dormant // DAY // PERIODS)
    for user, days in visits.by_user.items():
        half = half_of(user)
        for at, silence in enumerate(_silences(days, visits)):
            last = days[at]
            if _span(last.day, last.dark, visits.end, visits.dark) <= dormant:
                break
            within = [
                visit for visit in days[max(0, at - WINDOW + 1) : at + 1] if (last.day - visit.day) * DAY <= dormant
            ]
            window = Window(user, frozenset().union(*(visit.seen for visit in within)) | last.standing)
            stratum = half, last.day // period, len(within)
            drawn = xxhash.xxh3_64_intdigest(b"reasons/pair/%d/" % last.day + user)
            (left if silence > dormant else stayed)[stratum].append((drawn, window))
    return left, stayed


def _silences(days: Sequence[Visit], visits: Visits) -> Iterator[int]:
    """After each visit: ms to the next one, or to the end of the history, without the source's dark hours."""
    for visit, after in pairwise(days):
        yield _span(visit.day, visit.dark, after.day, after.dark)
    yield _span(days[-1].day, days[-1].dark, visits.end, visits.dark)


def _span(day: int, dark: int, later_day: int, later_dark: int) -> int:
    return (later_day - day) * DAY - (later_dark - dark) * HOUR


def half_of(user: bytes) -> int:
    """0: the search looks at this user; 1: the confirmation does. Sticky: the same in every report."""
    return xxhash.xxh3_64_intdigest(b"reasons/half/" + user) & 1


def _pairs(half: int, left: _Drawn, stayed: _Drawn) -> list[Pair]:
    return [
        Pair(one, other)
        for stratum in sorted(left)
        if stratum[0] == half
        for (_, one), (_, other) in zip(sorted(left[stratum]), sorted(stayed.get(stratum, ())), strict=False)
    ]
