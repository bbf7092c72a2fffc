"""`rekindle report`: what the sums say, and what all users' rows or a whole history say."""

from pathlib import Path

import click

from agents.cli.amounts import report_table
from agents.cli.base import Group, as_json, emit, progress, run, settings_of
from agents.cli.past import events, past_of, policy_option
from agents.cli.perks import report as perks
from agents.cli.reasons import reasons
from agents.cli.views_base import read
from agents.history import Rows, read_states
from agents.looks import dated, day_of, table_look
from agents.replay import few_collections
from agents.views.read import Views
from pipeline.play import play, replay
from pipeline.purchases import WINDOW_DAYS
from pipeline.reports import OVER_USERS, REGISTRY, Cells, Report, Span, Table, UserReport


@click.group(cls=Group)
def report() -> None:
    """Show a report.

    Amounts are in the reporting currency; with --json they are integers in its minor units, and `amounts` says so.
    """


def _day(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else day_of(value)
    except ValueError:
        msg = f"{value[:40]!r} is no day such as 2026-01-31" if value else ""
        raise click.BadParameter(msg) from None


def _over_sums(made: Report) -> click.Command:
    async def ask(views: Views) -> tuple[Cells, str]:
        return await views.sums(each.name for each in made.sums), await views.currency()

    @click.command(made.name, help=f"{_title(made.says)}.\n\nFrom the views, over a span of days.")
    @click.option("--since", metavar="DAY", callback=_day, help="First day, such as 2026-01-01.")
    @click.option("--until", metavar="DAY", callback=_day, help="Last day.")
    @as_json
    @click.pass_context
    def command(ctx: click.Context, *, since: int | None, until: int | None, as_json: bool) -> None:
        cells, currency = read(settings_of(ctx), ask)
        found = dated(made.make(cells, Span(since, until)))
        if made.tell is not None and not as_json:
            click.echo("\n".join(made.tell(found, currency)))
        else:
            _show(made.name, found, currency, "nothing in these days", as_json=as_json)

    return command


_OF_USERS = """

EVENTS are files as `rekindle replay` reads them (`-`: stdin), played through the core; without files the rows of the
running deployment are read.
"""


def _over_users(made: UserReport) -> click.Command:
    @click.command(made.name, help=_title(made.says) + "." + _OF_USERS)
    @events
    @policy_option
    @click.option("--days", type=click.IntRange(1, WINDOW_DAYS), help="Value of the last DAYS only; else of all time.")
    @as_json
    @click.pass_context
    def command(
        ctx: click.Context, *, files: tuple[str, ...], policy_file: Path | None, days: int | None, as_json: bool
    ) -> None:
        settings = settings_of(ctx)
        if not files:
            if policy_file is not None:
                msg = "--policy goes with EVENTS: the deployment's rows were made under the policy that it has adopted"
                raise click.UsageError(msg)
            rows = run(settings, read_states(settings))
        else:
            with few_collections(), progress(quiet=as_json) as bar:
                past = past_of(settings, files, policy_file, bar)
                task = bar.add_task("replaying", total=len(past.raws))
                partition = past.partition(settings.tenant)
                for _ in replay(play(past.raws, past.adopted), partition):
                    bar.update(task, completed=partition.position.counts.read)
            states = [state for _, state in partition.states()]
            rows = Rows(states, partition.position.horizon or 0, past.policy.currency.reporting)
        found = made.make(rows.states, rows.now, days)
        _show(made.name, found, rows.currency, "nobody has spent anything in that time", as_json=as_json)

    return command


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]


def _show(name: str, found: Table, currency: str, nothing: str, *, as_json: bool) -> None:
    if as_json:
        emit(table_look(name, found, currency))
    elif not found.rows:
        click.echo(nothing)
    else:
        report_table(found, currency)


for _sums in REGISTRY.values():
    report.add_command(_over_sums(_sums))
for _users in OVER_USERS.values():
    report.add_command(_over_users(_users))
report.add_command(perks)
report.add_command(reasons)
