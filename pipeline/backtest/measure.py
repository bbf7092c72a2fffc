"""A history under a policy, counted up: from what was considered to the figures."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final

from pipeline.backtest import first_contacts
from pipeline.backtest.figures import Backtest, Coverage, FirstContacts, Load, Overlap, PerkBudget, RuleFigures, Week
from pipeline.backtest.watch import Considered, WhatIf
from pipeline.units import DAY, HOUR
from schemas.codec import rfc3339

_ALL: Final = "all rules"
_HOURS_OF_WEEK: Final = 168
_MONDAY: Final = 3  # 1970-01-01 was a Thursday


def measure(found: WhatIf, horizon: int) -> Backtest:
    """The figures of a history under a policy. `horizon`: after how long a silence (ms) a user counts as lost."""
    considered = found.considered
    by_rule: dict[str, list[Considered]] = {rule.id: [] for rule in found.policy.rules}
    for one in considered:
        by_rule.setdefault(one.rule, []).append(one)
    modes = {rule.id: rule.mode for rule in found.policy.rules}
    shares = first_contacts.holdout_shares(found.policy)
    flagged = {rule: [one for one in own if one.flags] for rule, own in by_rule.items()}
    first = {rule: first_contacts.of_rule(own, found.end, shares.get(rule, 0.0)) for rule, own in flagged.items()}
    of_all = first_contacts.together(flagged, found.end, found.policy)
    # The end of the horizon by user: who became lost, and when.
    lost = {user: last + horizon for user, last in found.last.items() if last + horizon <= found.end}
    flags = _first_flags(considered, found.last, lost)
    return Backtest(
        policy=found.policy.hash,
        start=rfc3339(found.start),
        end=rfc3339(found.end),
        events=found.events,
        rejected=found.rejected,
        users=len(found.last),
        total=_figures(_ALL, " ".join(sorted(set(modes.values()))), considered, found.end, of_all),
        rules=[_figures(rule, modes.get(rule, ""), own, found.end, first[rule]) for rule, own in by_rule.items()],
        coverage=_coverage(considered, found.last, lost, flags, horizon),
        weeks=_weeks(considered, lost, flags, found.start, found.end),
        load=_load(considered, found.start, found.end),
        overlap=_overlap(considered),
        perks=_perks(considered, {name: perk.budget for name, perk in found.policy.perks.items()}),
    )


def _figures(rule: str, mode: str, considered: Sequence[Considered], end: int, first: FirstContacts) -> RuleFigures:
    flags = [one for one in considered if one.flags]
    measured = [one for one in flags if one.is_measured(end)]
    came_back = sum(1 for one in measured if 0 < one.came_back <= one.window_end)
    reached = sum(1 for one in measured if one.goal_at)
    return RuleFigures(
        rule=rule,
        mode=mode,
        considered=len(considered),
        decisions=_sorted(Counter(one.verdict for one in considered)),
        reasons=_sorted(Counter(reason for one in considered for reason in one.reasons)),
        flagged=len(flags),
        users=len({one.user for one in flags}),
        measured=len(measured),
        came_back=came_back,
        wasted=_share(came_back, len(measured)),
        later=sum(1 for one in measured if one.came_back > one.window_end),
        reached_goal=reached,
        with_goal=_share(reached, len(measured)),
        first_contacts=first,
    )


def _first_flags(
    considered: Iterable[Considered], last: Mapping[str, int], lost: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """By user who is lost: when each rule first flagged the silence that they did not come back from (ms)."""
    flags: dict[str, dict[str, int]] = defaultdict(dict)
    for one in considered:
        if one.flags and one.user in lost and one.at > last[one.user]:
            flags[one.user].setdefault(one.rule, one.at)
    return flags


def _coverage(
    considered: Iterable[Considered],
    last: Mapping[str, int],
    lost: Mapping[str, int],
    flags: Mapping[str, Mapping[str, int]],
    horizon: int,
) -> Coverage:
    others: dict[str, list[Considered]] = defaultdict(list)
    for one in considered:
        if one.user in lost and one.user not in flags and one.at > last[one.user]:
            others[one.user].append(one)
    leads = sorted(lost[user] - min(by_rule.values()) for user, by_rule in flags.items())
    in_time = [lead for lead in leads if lead > 0]
    kept = [found for found in others.values() if any(one.verdict == "suppressed" for one in found)]
    reasons = Counter(reason for found in kept for reason in {r for one in found for r in one.reasons})
    rules = Counter(rule for user, by_rule in flags.items() for rule, at in by_rule.items() if at < lost[user])
    return Coverage(
        horizon_days=_days(horizon),
        lost=len(lost),
        in_time=len(in_time),
        late=len(leads) - len(in_time),
        suppressed=len(kept),
        other=len(others) - len(kept),
        unseen=len(lost) - len(flags) - len(others),
        share=_share(len(in_time), len(lost)),
        lead_days=(_quantile(in_time, 10), _quantile(in_time, 50), _quantile(in_time, 90)) if in_time else None,
        reasons=_sorted(reasons),
        rules=_sorted(rules),
    )


def _weeks(
    considered: Sequence[Considered],
    lost: Mapping[str, int],
    flags: Mapping[str, Mapping[str, int]],
    start: int,
    end: int,
) -> list[Week]:
    """Every week of the history, the empty ones too."""
    weeks = {
        week: Week(start=rfc3339((week * 7 - _MONDAY) * DAY)[:10], flagged={}, sent={}, lost=0, in_time=0)
        for week in range(_week(start), _week(max([end, *(one.at for one in considered)])) + 1)
    }
    for one in considered:
        week = weeks[_week(one.at)]
        if one.flags:
            week.flagged[one.rule] = week.flagged.get(one.rule, 0) + 1
        if one.verdict == "send":
            week.sent[one.rule] = week.sent.get(one.rule, 0) + 1
    for user, at in lost.items():
        week = weeks[_week(at)]
        week.lost += 1
        week.in_time += min(flags[user].values(), default=at) < at if user in flags else 0
    return list(weeks.values())


def _load(considered: Iterable[Considered], start: int, end: int) -> list[Load]:
    hours: dict[str, Counter[int]] = defaultdict(Counter)
    for one in considered:
        if one.verdict == "send":
            hours[one.channel][one.at // HOUR] += 1
    weeks = max(1.0, (end - start) / (7 * DAY))
    found = []
    for channel, by_hour in sorted(hours.items()):
        of_week = [0] * _HOURS_OF_WEEK
        for hour, sends in by_hour.items():
            of_week[(hour + _MONDAY * 24) % _HOURS_OF_WEEK] += sends
        peak_at, peak = min(by_hour.items(), key=lambda item: (-item[1], item[0]))
        whole = by_hour.total()
        found.append(Load(channel, whole, round(whole / weeks, 2), of_week, peak, rfc3339(peak_at * HOUR)))
    return found


def _overlap(considered: Iterable[Considered]) -> list[Overlap]:
    rules: dict[tuple[str, int], set[str]] = defaultdict(set)
    for one in considered:
        rules[one.user, one.episode].add(one.rule)
    episodes: Counter[tuple[str, str]] = Counter()
    users: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (user, _), names in rules.items():
        for first, second in combinations(sorted(names), 2):
            episodes[first, second] += 1
            users[first, second].add(user)
    return [Overlap(pair, count, len(users[pair])) for pair, count in sorted(episodes.items())]


def _perks(considered: Iterable[Considered], budgets: Mapping[str, int]) -> list[PerkBudget]:
    """The policy's perks, those too that nobody would have got."""
    found = {perk: PerkBudget(perk, 0, 0, budget) for perk, budget in budgets.items()}
    for one in considered:
        if one.verdict == "send" and one.perk is not None:
            budget = found.setdefault(one.perk.id, PerkBudget(one.perk.id, 0, 0, None))
            budget.sends += 1
            budget.reserved += one.perk.reserved
    return [found[perk] for perk in sorted(found)]


def _week(time: int) -> int:
    return (time // DAY + _MONDAY) // 7


def _quantile(ordered: Sequence[int], percent: int) -> float:
    """The smallest that at least so many of a hundred are not above, ms as days."""
    return _days(ordered[-(-percent * len(ordered) // 100) - 1])


def _days(ms: int) -> float:
    return round(ms / DAY, 2)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
