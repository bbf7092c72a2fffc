"""Thresholds of the users at the top of a feature, from integer log-bucket histograms: 1 % off at most.

They are read off the rows once a day and enter the log by an adopt record: what a partition decides never goes by what
other partitions know.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil, log
from typing import Final

from pipeline.context import Context
from pipeline.policy import Policy
from pipeline.segments import as_of
from pipeline.state import UserState
from pipeline.units import HOUR

_RATIO: Final = 1.01 / 0.99
"""Of a bucket's upper to its lower edge (Masson et al. 2019, DDSketch, with an error of 1 %)."""

Thresholds = dict[str, dict[float, float]]
"""Feature -> share at the top -> the value from which on one belongs to it."""


class Histogram:
    """How many values there are in each bucket (edge * ratio^(i-1), edge * ratio^i]; values of 0 are counted apart."""

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()
        self.zeros = 0

    def add(self, value: float) -> None:
        """One more value, at least 0."""
        if value > 0:
            self.buckets[ceil(log(value) / log(_RATIO))] += 1
        else:
            self.zeros += 1

    def merge(self, other: "Histogram") -> None:
        """All values of another."""
        self.buckets.update(other.buckets)
        self.zeros += other.zeros

    def top(self, share: float) -> float | None:
        """The value from which on at most about `share` of all lie, never 0; None without a value above 0.

        It is the middle of the bucket of the value of that rank, so within 1 % of it.
        """
        rank = share * (self.buckets.total() + self.zeros)
        seen, threshold = 0, None
        for bucket in sorted(self.buckets, reverse=True):
            threshold = 2 * _RATIO**bucket / (_RATIO + 1)
            seen += self.buckets[bucket]
            if seen >= rank:
                break
        return threshold


def wanted(policy: Policy) -> dict[str, set[float]]:
    """Feature -> the shares at the top that the policy's segments and tiers go by."""
    found: dict[str, set[float]] = {}
    for group in (*policy.tiers, *policy.segments):
        for test in group.where:
            if test.top is not None:
                found.setdefault(test.feature.name, set()).add(test.top)
    return found


def measure(states: Iterable[UserState], context: Context) -> dict[str, Histogram]:
    """The histograms of a partition's users who were active, as of its clock."""
    features = {
        t.feature for g in (*context.policy.tiers, *context.policy.segments) for t in g.where if t.top is not None
    }
    found = {feature.name: Histogram() for feature in features}
    now = context.clock - context.dark * HOUR
    for state in states:
        if state.known and state.activity.days:
            for feature in features:
                value = feature.value(state, max(now, as_of(state)), context)
                if value is not None and not isinstance(value, str):
                    found[feature.name].add(value)
    return found


def thresholds(policy: Policy, histograms: Mapping[str, Histogram]) -> Thresholds:
    """What is to be published for the policy; a feature that nobody has more than 0 of is left out."""
    found: Thresholds = {}
    for name, shares in sorted(wanted(policy).items()):
        for share in sorted(shares):
            threshold = histograms[name].top(share) if name in histograms else None
            if threshold is not None:
                found.setdefault(name, {})[share] = threshold
    return found
