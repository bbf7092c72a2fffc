"""`rekindle up`: the whole stack on this machine."""

import os
from pathlib import Path

import click

from agents.cli.base import Failure, Overrides, settings_of
from agents.exits import Exit, Refusal
from pipeline.policy import PolicyError, parse


@click.command()
@click.option(
    "--policy",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="To decide by; else what was published last, else the default one, in shadow.",
)
@click.option("--live", is_flag=True, help="Confirm that rules of `mode: live` in the policy are to send.")
@click.option("--workers", type=click.IntRange(1, 8), default=1, show_default=True, help="Worker processes.")
@click.pass_context
def up(ctx: click.Context, *, file: Path | None, live: bool, workers: int) -> None:
    """Run Kafka, workers, Redis, views and the API on this machine until Ctrl-C, and print where they are.

    Time is live: a tick is now. What is kept lies in .rekindle/up (REKINDLE_HOME) and is there again the next time.
    """
    from agents.stack import Options, Stack  # noqa: PLC0415 a while

    given = ctx.find_object(Overrides) or Overrides()
    if given.brokers or os.environ.get("REKINDLE_BROKERS"):
        line = "`up` starts a Kafka of its own: unset REKINDLE_BROKERS; for yours there are worker, views and api"
        raise Refusal(Exit.USAGE, line)
    settings = settings_of(ctx)  # what is wrong in the environment is said first
    body = None if file is None else file.read_bytes()
    if body is not None:
        _check(body, str(file), live=live)
    click.echo("Rekindle, on this machine")
    prefix = settings.topic_prefix
    ctx.exit(Stack(Options(workers, body, prefix), click.echo).run())


def _check(body: bytes, name: str, *, live: bool) -> None:
    try:
        compiled = parse(body, name=name)
    except PolicyError as error:
        raise Failure(Exit.POLICY, "nothing was started:\n" + "\n".join(error.problems)) from error
    sending = [rule.id for rule in compiled.rules if rule.mode == "live"]
    if sending and not live:
        line = f"{', '.join(sending)} would send; add --live if that is meant, else set `mode: shadow` in {name}"
        raise Refusal(Exit.USAGE, line)
