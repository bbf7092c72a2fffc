"""`rekindle explain`: why, gate by gate."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from agents.cli.base import Group, as_json, emit, settings_of
from agents.cli.views_base import as_of, from_kafka, minute, read, sight_of
from agents.exits import Exit, Refusal
from agents.looks import trigger_look, user_look


@click.group(cls=Group)
def explain() -> None:
    """Why a user is recalled or not, gate by gate; or why a trigger was sent."""


@explain.command("user")
@click.argument("user", metavar="ID")
@as_of
@from_kafka
@as_json
@click.pass_context
def of_user(ctx: click.Context, *, user: str, as_of: int | None, from_kafka: bool, as_json: bool) -> None:
    """Every rule for the user ID: when it falls due if silence goes on, what it would decide, what is in the way."""
    look = user_look(sight_of(settings_of(ctx), user, kafka=from_kafka), as_of)
    why = look["why"]
    if as_json:
        emit(why)
        return
    click.echo(f"{user}: {why['summary']}")
    if risk := why["risk"]:
        days = risk["horizon"] / 86_400_000
        click.echo(
            f"risk {risk['p_none']:g}: P(nothing in {days:g} days) as of {minute(why['as_of'])} by {risk['model']}"
        )
        click.echo("".join(f"  {reason}\n" for reason in risk["why"]), nl=False)
    for rule in why["rules"]:
        click.echo(f"\n{rule['rule']} ({rule['mode']}): {_standing(rule)}")
        _gates(rule["now"], f"as of {minute(why['as_of'])}")
        if rule["then"]:
            _gates(rule["then"], f"at its deadline {minute(rule['deadline'])}, if silence goes on")


@explain.command("trigger")
@click.argument("identity", metavar="ID")
@as_json
@click.pass_context
def of_trigger(ctx: click.Context, *, identity: str, as_json: bool) -> None:
    """Why the trigger ID was sent, or was not: its gates as they were. Among the last decisions only."""
    document = read(settings_of(ctx), lambda views: views.trigger(identity))
    if document is None:
        raise Refusal(Exit.USAGE, f"no trigger {identity!r} is among the last decisions")
    look = trigger_look(document)
    if as_json:
        emit(look)
        return
    click.echo(look["summary"])
    _gates(look["gates"], "at its deadline")


def _standing(rule: Mapping[str, Any]) -> str:
    if rule["foretold"] is None:
        return "; ".join(rule["why_not"]) or "no deadline"
    obstacles = f": {'; '.join(rule['why_not'])}" if rule["why_not"] else ""
    when = f"due {minute(rule['deadline'])}, decided from {minute(rule['decided_from'])}"
    return f"{when}: {rule['foretold']}{obstacles}"


def _gates(gates: Iterable[Mapping[str, Any]], title: str) -> None:
    click.echo(f"  {title}")
    for gate in gates:
        if gate["feature"].startswith("risk."):  # what the risk is made of is no gate
            mark = "   "
        else:
            mark = click.style("yes", "green") if gate["passed"] else click.style("no ", "red")
        click.echo(f"    {mark}  {gate['words']}")
