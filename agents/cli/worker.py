"""`rekindle worker`: the process that folds the user topic."""

import click

from agents.cli.base import settings_of


@click.command()
@click.option("--accept-gap", is_flag=True, help="Go on where retention deleted records before they were read.")
@click.pass_context
def worker(ctx: click.Context, *, accept_gap: bool) -> None:
    """Fold the user topic until SIGTERM or Ctrl-C: state, triggers, decisions, outcomes, segments, dead letters.

    Start as many as there are cores, on any number of machines; they share the partitions. A worker that can't go on
    says why in one line and ends with an exit code of its own; a supervisor restarts it on 1, 10, 17 and 18.
    """
    from agents.app import run  # noqa: PLC0415 faust takes half a second

    ctx.exit(run(settings_of(ctx, accept_gap=accept_gap or None)))
