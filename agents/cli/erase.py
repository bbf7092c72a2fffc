"""`rekindle erase|certificate`: forget a user, and say how far that has come."""

from __future__ import annotations

from time import time

import click
import msgspec

from agents.cli.base import as_json, emit, run, settings_of
from agents.cli.views_base import Moment, minute
from agents.erasure import Certificate, forget
from agents.erasure import certificate as look_up
from agents.exits import Exit, Refusal


@click.command()
@click.argument("user", metavar="ID")
@click.option("--at", type=Moment(), help="When they asked; now by default. The same moment again erases once.")
@click.option("--wait", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds for it to be applied.")
@as_json
@click.pass_context
def erase(ctx: click.Context, *, user: str, at: int | None, wait: float, as_json: bool) -> None:
    """Erase the user ID: row, changelog and views at once, and nothing that happened before is ever applied again.

    Appends an event of the type `delete` and waits for the certificate. The exit code is 1 if it is not applied by
    then; it will be, once a worker runs. What lies in topics goes with their retention: `rekindle certificate`.
    """
    settings = settings_of(ctx)
    found = run(settings, forget(settings, user, round(time() * 1000) if at is None else at, wait))
    if found is None:
        raise Refusal(
            Exit.BUG,
            f"sent, and not applied after {wait:g} s: is a worker running, or was it refused "
            "(`rekindle deadletters list`)? Look again by `rekindle certificate ID`",
        )
    _show(found, as_json=as_json)


@click.command()
@click.argument("user", metavar="ID")
@as_json
@click.pass_context
def certificate(ctx: click.Context, *, user: str, as_json: bool) -> None:
    """Show how far the erasure of the user ID has come: none, applied, or complete.

    Complete: the time is over for which any topic keeps what it is given, and none holds anything of before. The exit
    code is 1 if they were not erased.
    """
    settings = settings_of(ctx)
    found = run(settings, look_up(settings, user, round(time() * 1000)))
    _show(found, as_json=as_json)
    if found.state == "none":
        ctx.exit(Exit.BUG)


def _show(found: Certificate, *, as_json: bool) -> None:
    if as_json:
        emit(msgspec.to_builtins(found))
        return
    lines = [("erasure", found.state), ("mark", found.mark)]
    if found.erased_until is not None and found.applied_at is not None and found.last_record_at is not None:
        when = (
            "never: a topic keeps its records for ever" if found.complete_from is None else minute(found.complete_from)
        )
        lines += [
            ("until", f"{minute(found.erased_until)}: nothing that happened before is applied"),
            ("applied", f"{minute(found.applied_at)}, partition {found.partition}, offset {found.offset}"),
            (
                "refused",
                f"{found.refused} records of before since; the last one about them {minute(found.last_record_at)}",
            ),
            ("complete", when),
        ]
    for name, value in (*lines, *(("remains", line) for line in found.remains)):
        click.echo(f"{name:9} {value}")
