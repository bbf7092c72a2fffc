"""`rekindle api`: the HTTP API."""

import click

from agents.cli.base import settings_of


@click.command()
@click.pass_context
def api(ctx: click.Context) -> None:
    """Serve the views over HTTP on REKINDLE_API_BIND (127.0.0.1) and REKINDLE_API_PORT (8765) until SIGTERM or Ctrl-C.

    Another address than loopback needs a token in REKINDLE_API_TOKEN_FILE; with REKINDLE_API_ERASE=true whoever brings
    it may erase users. The description is at /openapi.json.
    """
    from agents.api.process import run  # noqa: PLC0415 FastAPI takes a while

    ctx.exit(run(settings_of(ctx)))
