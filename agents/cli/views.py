"""`rekindle views`: the projector."""

import click

from agents.cli.base import settings_of


@click.command()
@click.pass_context
def views(ctx: click.Context) -> None:
    """Keep the views in Redis (REKINDLE_REDIS_URL) until SIGTERM or Ctrl-C: users, sums and the last decisions.

    One process is enough; a second one takes over from the first. Triggers need none of it.
    """
    from agents.views.process import run  # noqa: PLC0415 aiokafka takes a while

    ctx.exit(run(settings_of(ctx)))
