"""`rekindle report reasons`: why users leave, as far as events can tell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from agents.cli.base import as_json, emit, progress, settings_of, table
from agents.cli.past import events, past_of, policy_option
from agents.replay import few_collections
from pipeline.association import Comparison
from pipeline.play import play
from pipeline.reports.reasons import WINDOW, Q, Reason, Reasons
from pipeline.reports.reasons import reasons as compared
from pipeline.units import DAY
from pipeline.visits import Visits


@click.command()
@events
@policy_option
@as_json
@click.pass_context
def reasons(ctx: click.Context, *, files: tuple[str, ...], policy_file: Path | None, as_json: bool) -> None:
    """What is associated with leaving: over-represented in the last active days of users who went dormant.

    EVENTS are files as `rekindle replay` reads them (`-`: stdin); without files the user topic of the running
    deployment is read. Users who left are compared with users who stayed, at the same time; found on one half of the
    users at a false discovery rate of 5 %, then confirmed on the other half. docs/methods/reasons.md says how.
    """
    settings = settings_of(ctx)
    with few_collections(), progress(quiet=as_json) as bar:
        past = past_of(settings, files, policy_file, bar)
        task = bar.add_task("replaying", total=len(past.raws))
        visits = Visits()
        for done in visits.collect(play(past.raws, past.adopted), past.partition(settings.tenant)):
            bar.update(task, completed=done)
    dormant = past.policy.lifecycle.dormant
    result = compared(visits, dormant)
    if as_json:
        emit(_document(result, dormant))
    else:
        _tell(result, dormant)


def _document(result: Reasons, dormant: int) -> dict[str, Any]:
    return {
        "name": "reasons",
        "says": "associated with leaving or staying; an association is no cause",
        "dormant_days": dormant / DAY,
        "window_days": WINDOW,
        "users": result.users,
        "left": result.left,
        "departures": result.departures,
        "pairs": {"discovery": result.pairs[0], "confirmation": result.pairs[1]},
        "too_few": result.too_few,
        "tested": result.tested,
        "names_dropped": result.dropped,
        "false_discovery_rate": Q,
        "factors": [
            {
                "factor": reason.factor[0],
                "value": reason.factor[1],
                "associated_with": _direction(reason),
                "confirmed": reason.confirmed,
                "discovery": _sides(reason.discovery) | {"q": reason.q},
                "confirmation": _sides(reason.confirmation),
            }
            for reason in result.found
        ],
    }


def _sides(found: Comparison) -> dict[str, float]:
    return {
        "left_share": round(found.share, 4),
        "stayed_share": round(found.other, 4),
        "lift": round(found.lift, 3),
        "lift_low": round(found.low, 3),
        "lift_high": round(found.high, 3),
        "p": found.p,
    }


def _direction(reason: Reason) -> str:
    return "leaving" if reason.discovery.lift > 1 else "staying"


def _tell(result: Reasons, dormant: int) -> None:
    silent = f"{dormant / DAY:g} days without activity"
    click.echo(f"{result.users:,} users; {result.left:,} went dormant ({silent}), {result.departures:,} times")
    if result.too_few is not None:
        click.echo(result.too_few)
        return
    confirmed = [reason for reason in result.found if reason.confirmed]
    click.echo(
        f"{sum(result.pairs):,} of these times have a counterpart: somebody who stayed then; compared are the last "
        f"{WINDOW} active days"
    )
    found = (
        f"{len(result.found)} found, of which at most {Q:.0%} are false on average" if result.found else "none found"
    )
    click.echo(f"{result.tested} factors tested on one half of the users ({result.pairs[0]:,} pairs): {found}")
    if result.found:
        click.echo(f"{len(confirmed)} of them confirmed on the other half ({result.pairs[1]:,} pairs)")
    if result.dropped:
        click.echo(f"others dropped: {result.dropped:,} event names that fewer users have")
    for direction in ("leaving", "staying"):
        _list(f"associated with {direction}", [r for r in confirmed if _direction(r) == direction])
    _list("found, but not confirmed", [reason for reason in result.found if not reason.confirmed])
    if confirmed:
        click.echo("\nan association is no cause: try a change on some users and measure it before believing one")


def _list(title: str, found: Sequence[Reason]) -> None:
    if not found:
        return
    click.echo(f"\n{title}")
    headings = ("factor", "value", "left", "stayed", "lift", "95 %", "p", "searched half: lift", "95 %", "q")
    rows = [
        (
            *reason.factor,
            f"{reason.confirmation.share:.1%}",
            f"{reason.confirmation.other:.1%}",
            *_lift(reason.confirmation),
            _p(reason.confirmation.p),
            *_lift(reason.discovery),
            _p(reason.q),
        )
        for reason in found
    ]
    table(headings, rows)


def _lift(found: Comparison) -> tuple[str, str]:
    return f"{found.lift:.2f}", f"{found.low:.2f} to {found.high:.2f}"


def _p(value: float) -> str:
    return "< .0001" if value < 1e-4 else f"{value:.4f}".lstrip("0")
