"""`rekindle relay`: triggers to an HTTP address."""

from __future__ import annotations

from pathlib import Path

import click

from agents.cli.base import settings_of


@click.command()
@click.option("--to", "url", required=True, metavar="URL", help="Where each trigger is posted.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("webhook", "segment")),
    default="webhook",
    show_default=True,
    help="Signed by the Standard Webhooks specification, or a Segment track call.",
)
@click.option(
    "--secret-file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Holds the webhook's secret (whsec_..; a second one a line while it is being replaced) or the write key.",
)
@click.option("--group", help="Consumer group, which remembers how far it has come; else APP_ID-relay.")
@click.option(
    "--latest", is_flag=True, help="Where the group knows nothing yet, begin at the end instead of the start."
)
@click.option("--at-once", type=click.IntRange(1, 256), default=16, show_default=True, help="Most requests under way.")
@click.option("--first-retry", type=click.FloatRange(0.01, 3600), default=1.0, show_default=True, help="Seconds.")
@click.option("--longest-retry", type=click.FloatRange(0.01, 86_400), default=900.0, show_default=True, help="Seconds.")
@click.pass_context
def relay(  # noqa: PLR0917 click calls it by name
    ctx: click.Context,
    url: str,
    form: str,
    secret_file: Path,
    group: str | None,
    latest: bool,
    at_once: int,
    first_retry: float,
    longest_retry: float,
) -> None:
    """Post each trigger to URL until it is taken (2xx), and report `Message Sent` or `Message Failed` back.

    At least once, under one id (the trigger's): the receiver passes over an id that it knows. One user's triggers go in
    their order. What is refused (400, 413, 422) or not taken before it expires becomes a dead letter `undeliverable`.
    """
    settings = settings_of(ctx)
    from agents.relay.courier import Pace  # noqa: PLC0415 aiohttp and faust take half a second
    from agents.relay.serve import Orders, run  # noqa: PLC0415
    from agents.relay.target import make_target  # noqa: PLC0415

    orders = Orders(
        make_target(url, form, secret_file),
        group or f"{settings.app_id}-relay",
        Pace(first_retry, longest_retry),
        at_once,
        "latest" if latest else "earliest",
    )
    ctx.exit(run(settings, orders))
