"""Who was lost, and whether a recall rule had flagged them in time."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.backtest.figures import Coverage
from pipeline.backtest.watch import Considered
from pipeline.reports.base import share
from pipeline.units import DAY


class LastSilences(NamedTuple):
    """The silences that nobody came back from. By user: `lost`, when the horizon was over; `flags`, when each rule
    first flagged it after the last activity (ms); `by_activity`: flagged by that activity itself; `others`, what else
    was decided of it.
    """

    lost: dict[str, int]
    flags: dict[str, dict[str, int]]
    by_activity: set[str]
    others: dict[str, list[Considered]]

    def in_time(self, user: str) -> bool:
        """Whether a rule flagged a lost user before the horizon was over."""
        return user in self.flags and min(self.flags[user].values()) < self.lost[user]


def last_silences(recalls: Iterable[Considered], last: Mapping[str, int], end: int, horizon: int) -> LastSilences:
    """What recall rules decided in order of time. `last`: of every user the last activity; `end`: of the history;
    `horizon`: after how long a silence a user counts as lost. All in ms.
    """
    lost = {user: at + horizon for user, at in last.items() if at + horizon <= end}
    flags: dict[str, dict[str, int]] = defaultdict(dict)
    others: dict[str, list[Considered]] = defaultdict(list)
    by_activity = set()
    for one in recalls:
        if one.user in lost and one.episode == last[one.user]:
            if not one.flags:
                others[one.user].append(one)
            elif one.at > one.episode:
                flags[one.user].setdefault(one.rule, one.at)
            else:
                by_activity.add(one.user)
    by_activity -= flags.keys()
    missed = {user: found for user, found in others.items() if user not in flags and user not in by_activity}
    return LastSilences(lost, dict(flags), by_activity, missed)


def coverage(found: LastSilences, horizon: int) -> Coverage:
    """The figures of them. `horizon` in ms."""
    lost, flags = found.lost, found.flags
    leads = sorted(lost[user] - min(by_rule.values()) for user, by_rule in flags.items())
    in_time = [lead for lead in leads if lead > 0]
    kept = [own for own in found.others.values() if any(one.verdict == "suppressed" for one in own)]
    reasons = Counter(reason for own in kept for reason in {r for one in own for r in one.reasons})
    rules = Counter(rule for user, by_rule in flags.items() for rule, at in by_rule.items() if at < lost[user])
    return Coverage(
        horizon_days=_days(horizon),
        lost=len(lost),
        in_time=len(in_time),
        late=len(leads) - len(in_time),
        by_activity=len(found.by_activity),
        suppressed=len(kept),
        other=len(found.others) - len(kept),
        unseen=len(lost) - len(flags) - len(found.by_activity) - len(found.others),
        share=share(len(in_time), len(lost)),
        lead_days=(_quantile(in_time, 10), _quantile(in_time, 50), _quantile(in_time, 90)) if in_time else None,
        reasons=by_count(reasons),
        rules=by_count(rules),
    )


def by_count(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _quantile(ordered: Sequence[int], percent: int) -> float:
    """The smallest that at least so many of a hundred are not above, ms as days."""
    return _days(ordered[-(-percent * len(ordered) // 100) - 1])


def _days(ms: int) -> float:
    return round(ms / DAY, 2)
