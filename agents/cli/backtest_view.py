"""What a backtest found, for a terminal: figures, a small chart, and what it cannot know."""

from collections.abc import Sequence
from typing import Final

import click

from agents.backtest import Candidate, Tried
from agents.cli.base import table
from pipeline.backtest import Backtest, Comparison, FirstContacts, RuleFigures, SweepRow
from pipeline.money import amount

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_CHART: Final = 78
_STRIP: Final = 3  # hours
_RULES: Final = (
    *("rule", "mode", "flagged", "users", "came back by themselves", "with the goal", "later"),
    *("first contacts: sent / held out", "base rate", "holdout can show"),
)
_SWEEP: Final = (
    *("with", "flagged", "messages", "held out", "came back by themselves", "holdout can show"),
    *("lost flagged in time", "days ahead", "fullest hour"),
)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def tell(tried: Tried, candidate: Candidate, other: str | None) -> None:
    """Print everything. `other`: what `--against` is called."""
    found = tried.backtest
    weeks = f"{len(found.weeks):,} weeks"
    click.echo(
        f"{found.events:,} events of {found.users:,} users, {found.start[:10]} to {found.end[:10]} ({weeks}), "
        f"under {candidate.name}"
    )
    if found.rejected:
        click.echo(f"{found.rejected:,} events were refused; `rekindle replay` writes them to deadletters.jsonl")
    shadow = [rule.id for rule in candidate.policy.rules if rule.mode == "shadow"]
    if shadow:
        click.echo(f"in shadow, so that nothing is sent: {', '.join(shadow)}; --live plays every rule as live")
    _rules(found, candidate)
    _overlap(found)
    _lost(found)
    _load(found)
    _chart(found)
    if tried.comparison is not None and other is not None:
        _heading(f"against {other}")
        tell_comparison(tried.comparison, other, candidate.name)
    if tried.sweep:
        _sweep(tried.sweep)
    _heading("what a replay can't know")
    for what, why in tried.limits.items():
        click.echo(f"- {what}. {why}")


def _rules(found: Backtest, candidate: Candidate) -> None:
    by_all = candidate.policy.holdout
    rows = [_rule(rule) for rule in found.rules]
    if sum(rule.kind == "recall" for rule in found.rules) > 1:
        rows.append(_rule(found.total))
    if len(found.rules) > 1 or by_all:
        rows.append(("all rules", *[""] * 6, *_first(found.together)))
    _heading("rules")
    table(_RULES, rows)
    if by_all:
        click.echo(
            f"all rules: users at their first contact by any; held out by the holdout over all rules, {percent(by_all)}"
        )
    others = [f"{rule.rule} ({rule.kind})" for rule in found.rules if rule.kind != "recall"]
    if others:
        click.echo(f'no recalls, so neither "came back" nor the lost are counted of them: {", ".join(others)}')
    for rule in found.rules:
        if rule.nobody:
            click.echo(f"{rule.rule} {rule.nobody}")
    unmeasured = sum(rule.flagged - rule.measured for rule in found.rules)
    if unmeasured:
        click.echo(f"{unmeasured:,} of the flagged are in neither share: their goal window ends after the history")
    goals = {rule.id: rule.goal.event for rule in candidate.policy.rules}
    for rule in found.rules:
        if rule.came_back and not rule.reached_goal:
            goal = goals[rule.rule]
            click.echo(f"{rule.rule}: of those who came back none reached the goal, {goal}; is that its name?")
    _heading("decisions, one for each message of a contact")
    told = [
        (rule.rule, verdict, f"{count:,}", percent(count / rule.considered))
        for rule in found.rules
        for verdict, count in rule.decisions.items()
    ]
    table(("rule", "decision", "count", "share"), told)
    for rule in found.rules:
        if rule.reasons:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in rule.reasons.items())
            click.echo(f"reasons of {rule.rule}: {reasons}")
        if rule.reasons.get("ceiling"):
            click.echo(f"{rule.rule} reached its ceiling, and was paused from then on: here nobody resumes it")
    currency = candidate.policy.currency.reporting
    for perk in found.perks:
        budget = "" if perk.budget is None else f"; its budget is {amount(perk.budget, currency)}"
        click.echo(f"perk {perk.perk}: {perk.sends:,} sends need {amount(perk.reserved, currency)}{budget}")


def _overlap(found: Backtest) -> None:
    if found.overlap:
        _heading("silences that two rules considered")
        rows = [(" and ".join(pair.rules), f"{pair.episodes:,}", f"{pair.users:,}") for pair in found.overlap]
        table(("rules", "silences", "users"), rows)


def _rule(rule: RuleFigures) -> tuple[object, ...]:
    later = percent(rule.later / rule.measured if rule.measured else None)
    flagged = f"{rule.flagged:,}", f"{rule.users:,}", percent(rule.wasted), percent(rule.with_goal), later
    return (rule.rule, rule.mode, *flagged, *(_first(rule.first_contacts) if rule.first_contacts else ()))


def _first(first: FirstContacts) -> tuple[str, ...]:
    can_show = "-" if not first.treated + first.held else _points(first.uplift)
    if first.uplift is None and first.treated + first.held:
        can_show += f": {'nobody is held out' if not first.held else _too_few(first)}"
    return f"{first.treated:,} / {first.held:,}", percent(first.base_rate), can_show


def _too_few(first: FirstContacts) -> str:
    return "too few users" if first.measured else "no goal window is over"


def _points(uplift: float | None) -> str:
    return "nothing" if uplift is None else f"+{uplift * 100:.1f} points"


def _lost(found: Backtest) -> None:
    coverage = found.coverage
    _heading("lost users")
    if not coverage.lost:
        click.echo(f"nobody was silent for the last {coverage.horizon_days:g} days; a shorter --horizon may tell more")
        return
    click.echo(
        f"{coverage.lost:,} of {found.users:,} were silent for the last {coverage.horizon_days:g} days or longer; "
        f"{coverage.in_time:,} of them ({percent(coverage.share)}) were flagged before those days were over"
    )
    if coverage.lead_days is not None:
        low, middle, high = coverage.lead_days
        click.echo(
            f"flagged so many days before they counted as lost: {middle:g} (median; 10 %: {low:g}, 90 %: {high:g})"
        )
    if coverage.rules:
        click.echo("in time, by rule: " + ", ".join(f"{rule} {count:,}" for rule, count in coverage.rules.items()))
    reasons = ", ".join(coverage.reasons)
    missed = {
        "too late": coverage.late,
        f"due but kept back ({reasons})": coverage.suppressed,
        "noticed too late, or left to a rule that waited to the end": coverage.other,
        "never considered by any recall rule": coverage.unseen,
    }
    if coverage.by_activity:
        click.echo(f"{coverage.by_activity:,} were flagged by their last activity itself, and by nothing after it")
    if any(missed.values()):
        click.echo("missed: " + ", ".join(f"{count:,} {why}" for why, count in missed.items() if count))


def _load(found: Backtest) -> None:
    if not found.load:
        return
    _heading("load")
    rows = []
    for load in found.load:
        hour = load.by_hour.index(max(load.by_hour))
        usual = f"{_DAYS[hour // 24]} {hour % 24:02}:00 UTC, {percent(load.by_hour[hour] / load.sends)} of all"
        fullest = f"{load.peak:,} at {load.peak_at[:16].replace('T', ' ')} UTC"
        rows.append((load.channel, f"{load.sends:,}", f"{load.per_week:,.1f}", usual, fullest))
    table(("channel", "sends", "a week", "fullest hour of the week", "fullest hour ever"), rows)
    wide = max(len(load.channel) for load in found.load)
    click.echo(f"by hour of the week, UTC, a block for {_STRIP} hours from midnight on:")
    for load in found.load:
        counts = [sum(load.by_hour[at : at + _STRIP]) for at in range(0, len(load.by_hour), _STRIP)]
        blocks = _blocks(counts, max(counts))
        each = len(blocks) // len(_DAYS)
        days = "  ".join(f"{day} {blocks[at * each : (at + 1) * each]}" for at, day in enumerate(_DAYS))
        click.echo(f"{load.channel:<{wide}}  {days}")


def _chart(found: Backtest) -> None:
    """A line of blocks for each rule and for the lost; each block one week, or as many as it takes to fit."""
    sends = any(week.sent for week in found.weeks)
    lines = {
        rule.rule: [(week.sent if sends else week.flagged).get(rule.rule, 0) for week in found.weeks]
        for rule in found.rules
    }
    lines["lost"] = [week.lost for week in found.weeks]
    lines["of them in time"] = [week.in_time for week in found.weeks]
    each = -(-len(found.weeks) // _CHART) or 1
    packed = {name: [sum(of[i : i + each]) for i in range(0, len(of), each)] for name, of in lines.items()}
    most_lost = max(packed["lost"], default=0)
    most = max((count for name in packed.keys() - {"lost", "of them in time"} for count in packed[name]), default=0)
    _heading(f"{'sent' if sends else 'flagged'} and lost, a block for {'a week' if each == 1 else f'{each} weeks'}")
    wide = max(map(len, packed))
    for name, counts in packed.items():
        blocks = _blocks(counts, most_lost if name in {"lost", "of them in time"} else most)
        click.echo(f"{name:<{wide}}  {blocks}  at most {max(counts, default=0):,}")


def _blocks(counts: Sequence[int], most: int) -> str:
    """The least block stands for one: what is not nothing is seen."""
    return "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // most)] if most else " " for count in counts)


def tell_comparison(found: Comparison, before: str, after: str) -> None:
    """What changes from one policy to another."""
    click.echo(
        f"silences that are sent for: {found.both:,} under both, {found.only_before:,} only under {before}, "
        f"{found.only_after:,} only under {after}"
    )
    click.echo(
        f"users who get anything: {found.users_both:,} under both, {found.users_before:,} no longer, "
        f"{found.users_after:,} newly"
    )
    for load in found.load:
        click.echo(f"sends by {load.channel}: {load.before:,} -> {load.after:,} ({load.after - load.before:+,})")
    if found.changes:
        rows = [(change.rule, change.before, change.after, f"{change.count:,}") for change in found.changes]
        table(("rule", "decision before", "after", "count"), rows)
    click.echo(f"{found.unchanged:,} decisions stay as they are")
    for title, examples in (("newly sent", found.newly_sent), ("no longer sent", found.no_longer_sent)):
        if examples:
            click.echo(f"{title}, the first {len(examples)}:" if len(examples) > 1 else f"{title}:")
            table(
                ("user", "silent since", "sent at", "by"),
                [(e.user, e.silent_since[:10], e.at[:16].replace("T", " "), e.rule) for e in examples],
            )


def _sweep(rows: Sequence[SweepRow]) -> None:
    _heading("sweep: messages, held out, and what the holdout can show are of all rules, the rest of recalls")
    table(
        _SWEEP,
        [
            (
                f"{one.field}={one.value}",
                f"{one.flagged:,}",
                f"{one.messages:,}",
                f"{one.held:,}",
                percent(one.wasted),
                _points(one.uplift),
                percent(one.covered),
                "-" if one.lead_days is None else f"{one.lead_days:g}",
                f"{one.peak:,}",
            )
            for one in rows
        ],
    )


def percent(share: float | None) -> str:
    """12.3 %; what is not nothing is never shown as 0 %, nor what is not all as 100 %."""
    if share is None:
        return "-"
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{min(share, 0.999) if share < 1 else share:.1%}".replace("%", " %")


def _heading(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)
