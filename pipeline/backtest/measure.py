"""A history under a policy, counted up: from what was considered to the figures."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final

from pipeline.backtest.figures import Backtest, Load, Overlap, PerkBudget, RuleFigures, Week
from pipeline.backtest.first_contacts import of_rule, together
from pipeline.backtest.lost import LastSilences, by_count, coverage, last_silences
from pipeline.backtest.nobody import why_nobody
from pipeline.backtest.watch import Considered, WhatIf
from pipeline.policy import Rule
from pipeline.policy.compiled import Kind
from pipeline.reports.base import share
from pipeline.units import DAY, HOUR
from schemas.codec import rfc3339

_RECALLS: Final = "all recalls"
_HOURS_OF_WEEK: Final = 168
_MONDAY: Final = 3  # 1970-01-01 was a Thursday


def measure(found: WhatIf, horizon: int) -> Backtest:
    """The figures of a history under a policy. `horizon`: after how long a silence (ms) a user counts as lost."""
    considered, rules = found.considered, found.policy.rules
    by_rule: dict[str, list[Considered]] = {rule.id: [] for rule in rules}
    for one in considered:
        by_rule[one.rule].append(one)
    recalling = {rule.id: rule.mode for rule in rules if rule.kind == "recall"}
    recalls = [one for one in considered if one.rule in recalling]
    flagged = {rule: [one for one in own if one.flags] for rule, own in by_rule.items()}
    silences = last_silences(recalls, found.last, found.end, horizon)
    return Backtest(
        policy=found.policy.hash,
        start=rfc3339(found.start),
        end=rfc3339(found.end),
        events=found.events,
        rejected=found.rejected,
        users=len(found.last),
        total=_figures(_RECALLS, "recall", " ".join(sorted(set(recalling.values()))), recalls, found.end),
        together=together(flagged, found.end, found.policy),
        rules=[_rule(rule, by_rule[rule.id], flagged[rule.id], found) for rule in rules],
        coverage=coverage(silences, horizon),
        weeks=_weeks(considered, silences, found.start, found.end),
        load=_load(considered, found.start, found.end),
        overlap=_overlap(considered),
        perks=_perks(considered, {name: perk.budget for name, perk in found.policy.perks.items()}),
    )


def _rule(rule: Rule, own: Sequence[Considered], flags: Sequence[Considered], found: WhatIf) -> RuleFigures:
    figures = _figures(rule.id, rule.kind, rule.mode, own, found.end)
    figures.first_contacts = of_rule(flags, found.end, found.policy.held_out(rule))
    if not figures.flagged:
        span = found.end - found.start
        figures.nobody = why_nobody(
            rule, found.policy, figures, active_days=found.active_days, span=span, modelled=found.modelled
        )
    return figures


def _figures(rule: str, kind: Kind, mode: str, considered: Sequence[Considered], end: int) -> RuleFigures:
    flags = [one for one in considered if one.flags]
    measured = [one for one in flags if one.is_measured(end)]
    came_back = sum(1 for one in measured if 0 < one.came_back <= one.window_end)
    reached = sum(1 for one in measured if one.goal_at)
    return RuleFigures(
        rule=rule,
        kind=kind,
        mode=mode,
        considered=len(considered),
        decisions=by_count(Counter(one.verdict for one in considered)),
        reasons=by_count(Counter(reason for one in considered for reason in one.reasons)),
        flagged=len(flags),
        users=len({one.user for one in flags}),
        measured=len(measured),
        came_back=came_back,
        wasted=share(came_back, len(measured)) if kind == "recall" else None,
        later=sum(1 for one in measured if one.came_back > one.window_end),
        reached_goal=reached,
        with_goal=share(reached, len(measured)),
    )


def _weeks(considered: Sequence[Considered], silences: LastSilences, start: int, end: int) -> list[Week]:
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
    for user, at in silences.lost.items():
        week = weeks[_week(at)]
        week.lost += 1
        week.in_time += silences.in_time(user)
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
