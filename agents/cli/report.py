"""`rekindle report`: what the sums say."""

from typing import Any

import click

from agents.cli.base import as_json, emit, settings_of, table
from agents.cli.views_base import read
from agents.looks import day_of, report_look
from pipeline.reports import REGISTRY, Span


def _day(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else day_of(value)
    except ValueError:
        msg = f"{value[:40]!r} is no day such as 2026-01-31" if value else ""
        raise click.BadParameter(msg) from None


@click.command()
@click.argument("name", type=click.Choice(list(REGISTRY)))
@click.option("--since", metavar="DAY", callback=_day, help="First day, such as 2026-01-01.")
@click.option("--until", metavar="DAY", callback=_day, help="Last day.")
@as_json
@click.pass_context
def report(ctx: click.Context, *, name: str, since: int | None, until: int | None, as_json: bool) -> None:
    """Show the report NAME over a span of days. Amounts are minor units of the reporting currency."""
    cells = read(settings_of(ctx), lambda views: views.sums(each.name for each in REGISTRY[name].sums))
    look = report_look(name, cells, Span(since, until))
    if as_json:
        emit(look)
        return
    if not look["rows"]:
        click.echo("nothing in these days")
        return
    table(look["columns"], [[_shown(value) for value in row] for row in look["rows"]])


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
