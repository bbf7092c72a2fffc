"""`rekindle perks` and `rekindle report perks`: how much of each perk's budget may be spent where, and was."""

import click

from agents.cli.amounts import published_currency, report_table
from agents.cli.base import Group, as_json, emit, run, settings_of
from agents.kafka.adopt import plan_lease, publish_lease
from agents.looks import amounts_of, table_look
from pipeline.reports import Table
from pipeline.reports.perks import perks_table


@click.group(cls=Group)
def perks() -> None:
    """Lease budgets of perks to the slots of users."""


@perks.command()
@click.option("--dry-run", is_flag=True, help="Say what would be leased; publish nothing.")
@as_json
@click.pass_context
def lease(ctx: click.Context, *, dry_run: bool, as_json: bool) -> None:
    """Lease more of each perk's budget to where it was used up, for every partition at once.

    Nothing is spent without a lease, and all leases of a perk add up to its budget at most: so it can't be over-spent,
    however many workers there are and however often this runs. Half of what is left goes out at a time. Run it after
    publishing a policy with perks, and then every hour or so.
    """
    settings = settings_of(ctx)
    planned = run(settings, plan_lease(settings) if dry_run else publish_lease(settings))
    currency = published_currency(settings)
    risen = {name: sum(grant.slots) - sum(grant.before) for name, grant in planned.items()}
    plain = perks_table(planned)
    shown = Table(
        (*plain.columns, "added"), [(*row, risen[str(row[0])]) for row in plain.rows], (*plain.money, "added")
    )
    if as_json:
        rows = [dict(zip(shown.columns, row, strict=True)) for row in shown.rows]
        published = not dry_run and any(risen.values())
        emit({"published": published, "perks": rows, "amounts": amounts_of(shown, currency)})
        return
    if not planned:
        click.echo("the published policy has no perks: there is nothing to lease")
        return
    report_table(shown, currency)
    if not any(risen.values()):
        click.echo("nothing to lease: all of the budgets is leased, or no slot has used up what it has")
    elif dry_run:
        click.echo("nothing was published: this was a dry run")
    else:
        click.echo("published; every partition may spend it from its next record on")


@click.command("perks")
@as_json
@click.pass_context
def report(ctx: click.Context, *, as_json: bool) -> None:
    """Perks: budgets, what is leased of them, spent, and stranded with slots that don't ask for it.

    As committed in the state topic, under the policy that was published last.
    """
    settings = settings_of(ctx)
    found, currency = run(settings, plan_lease(settings)), published_currency(settings)
    shown = perks_table({name: grant._replace(slots=grant.before) for name, grant in found.items()})
    if as_json:
        emit(table_look("perks", shown, currency))
    elif not shown.rows:
        click.echo("the published policy has no perks")
    else:
        report_table(shown, currency)
