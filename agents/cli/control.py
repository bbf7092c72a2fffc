"""`rekindle pause|resume|hold|release|skip|adopt-core`: what an operator says to all partitions at once."""

from difflib import get_close_matches

import click

from agents.cli.base import run, settings_of
from agents.exits import Exit, Refusal
from agents.kafka.publish import history, publish_control, publish_skip, read_registry
from agents.settings import Settings
from pipeline.position import CORE_VERSION
from schemas.control import Adopt, AnyControl, Hold, Pause, Release, Resume, Skip

_rule = click.option("--rule", metavar="ID", help="Only this rule; else all.")


@click.command()
@_rule
@click.pass_context
def pause(ctx: click.Context, *, rule: str | None) -> None:
    """Send nothing from now on: deadlines are still decided, as `suppressed` with the reason `paused`."""
    _say(ctx, Pause(rule), rule, f"paused: {f'rule {rule} sends' if rule else 'all rules send'} nothing until `resume`")


@click.command()
@_rule
@click.pass_context
def resume(ctx: click.Context, *, rule: str | None) -> None:
    """End a pause. What was suppressed meanwhile stays so: each silence is decided once."""
    _say(ctx, Resume(rule), rule, f"resumed: {f'rule {rule}' if rule else 'every rule'}")


@click.command()
@click.pass_context
def hold(ctx: click.Context) -> None:
    """The source of events is down: from now on silence does not count, and no deadline is decided."""
    _say(ctx, Hold(), None, "held: silence does not count until `release`")


@click.command()
@click.pass_context
def release(ctx: click.Context) -> None:
    """The source speaks again: silence counts, and its hourly rates are learned afresh."""
    _say(ctx, Release(), None, "released: silence counts again")


@click.command()
@click.argument("partition", type=click.IntRange(0))
@click.argument("offset", type=click.IntRange(0))
@click.option("--reason", required=True, help="Why; it becomes the dead letter's message.")
@click.pass_context
def skip(ctx: click.Context, *, partition: int, offset: int, reason: str) -> None:
    """Make the record at PARTITION OFFSET a dead letter: a worker stopped on it (exit code 1, its line names both).

    Start the workers again afterwards. A replay of the log passes over the record, too; so one that is folded already
    is refused. It helps where a record itself is at fault, not where whoever is due at it is.
    """
    settings = settings_of(ctx)
    run(settings, publish_skip(settings, Skip(partition, offset, reason)))
    click.echo(f"partition {partition}, offset {offset} will be a dead letter; start the workers again")


@click.command("adopt-core")
@click.argument("version", type=click.IntRange(1))
@click.pass_context
def adopt_core(ctx: click.Context, *, version: int) -> None:
    """End a rolling upgrade: from here on the log means what core VERSION means, and older releases refuse it.

    When every worker is of the newer release; until then there is a way back, and afterwards none.
    """
    if version > CORE_VERSION:
        line = f"core version {version} is unknown to this release, which knows up to {CORE_VERSION}; upgrade it first"
        raise Refusal(Exit.CORE_VERSION, line)
    _say(ctx, Adopt(core=version), None, f"core version {version} is adopted; workers of older releases stop with 15")


def _say(ctx: click.Context, message: AnyControl, rule: str | None, done: str) -> None:
    settings = settings_of(ctx)
    partitions = run(settings, _checked(settings, message, rule))
    click.echo(f"{done} ({len(partitions)} partitions)")


async def _checked(settings: Settings, message: AnyControl, rule: str | None) -> list[int]:
    """Publish, unless it names a rule that no policy ever had: a typing error would pause nothing."""
    if rule is not None:
        known = {name for entry in history(await read_registry(settings)) for name in entry.rules}
        if rule not in known:
            near = get_close_matches(rule, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
            raise Refusal(Exit.USAGE, f"no published policy has a rule '{rule}'; {hint}")
    return await publish_control(settings, message)
