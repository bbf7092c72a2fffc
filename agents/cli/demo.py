"""`rekindle demo`: everything at once, on this machine."""

import os
from pathlib import Path

import click

from agents.cli.base import Overrides, settings_of
from agents.settings import Settings


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=35.0,
    show_default=True,
    help="How long the year and a half of history takes.",
)
@click.option("--exit", "leave", is_flag=True, help="End after the summary; exit code 0 only if everything adds up.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), hidden=True, help="Save a picture of the view.")
@click.pass_context
def demo(ctx: click.Context, *, seconds: float, leave: bool, svg: Path | None) -> None:
    """Play a real purchase history through a real Kafka and two workers, and show what comes out.

    Kafka is started here and ends with the demo, unless REKINDLE_BROKERS or --brokers names yours: the topics get a
    prefix of their own then, and are deleted afterwards. Everything that is kept lies in .rekindle (REKINDLE_HOME).
    """
    from agents.demo.run import Demo, Options  # noqa: PLC0415 half a second

    ctx.exit(Demo(Options(seconds, leave, _yours(ctx), svg)).run())


def _yours(ctx: click.Context) -> Settings | None:
    given = ctx.find_object(Overrides) or Overrides()
    named = given.brokers or os.environ.get("REKINDLE_BROKERS")
    settings = settings_of(ctx)  # in either case: what is wrong in the environment is said first
    return settings if named else None
