"""`rekindle quantiles`: who is at the top of a feature."""

import click

from agents.cli.amounts import published_currency
from agents.cli.base import Group, as_json, emit, run, settings_of, table
from agents.kafka.quantiles import plan_quantiles, publish_quantiles
from pipeline.features import FEATURES
from pipeline.features.base import Unit
from pipeline.money import amount
from pipeline.units import DAY


@click.group(cls=Group)
def quantiles() -> None:
    """Publish the thresholds of segments and tiers by `top`."""


@quantiles.command("publish")
@click.option("--dry-run", is_flag=True, help="Say what the thresholds are; publish nothing.")
@as_json
@click.pass_context
def publish(ctx: click.Context, *, dry_run: bool, as_json: bool) -> None:
    """Read the thresholds off all users as committed, for the published policy, and let every partition adopt them.

    Run it daily: users then enter and leave by the new thresholds within the hour, which opens no episode of a rule.
    """
    settings = settings_of(ctx)
    found = run(settings, plan_quantiles(settings) if dry_run else publish_quantiles(settings))
    if as_json:
        named = {name: {f"{share:g}": limit for share, limit in shares.items()} for name, shares in found.items()}
        emit({"published": bool(found) and not dry_run, "quantiles": named})
    elif not found:
        click.echo("nothing to publish: no segment or tier of the published policy goes by `top`, or nobody has any")
    else:
        currency = published_currency(settings)
        rows = [
            (name, f"{100 * share:g} %", _limit(limit, FEATURES[name].unit, currency))
            for name, shares in found.items()
            for share, limit in shares.items()
        ]
        table(("feature", "top", "from"), rows)
        click.echo("nothing was published: this was a dry run" if dry_run else "published")


def _limit(limit: float, unit: Unit, currency: str) -> str:
    if unit == "days":
        return f"{limit / DAY:,.1f} days"
    return amount(round(limit), currency) if unit == "money" else f"{round(limit, 4):g}"
