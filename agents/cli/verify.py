"""`rekindle verify`: the oracle, for a deployment or a dump of it."""

from dataclasses import asdict
from pathlib import Path

import click

from agents.cli.base import as_json, emit, run, settings_of
from agents.dump import read_dump
from agents.erasure_key import erasure_key
from agents.exits import Exit
from agents.oracle import Findings, check
from agents.oracle import verify as verify_log
from pipeline.erasure import WrongKey
from pipeline.records import CoreError, MissingBody, UnknownVersion, UnreadableBody


@click.command()
@click.option(
    "--dump", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder of `rekindle dump`."
)
@click.option(
    "--wait", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds for workers to catch up."
)
@as_json
@click.pass_context
def verify(ctx: click.Context, *, dump: Path | None, wait: float, as_json: bool) -> None:
    """Replay the user topic through the core and compare: every row, sum, trigger, decision, outcome and dead letter.

    Nothing is changed. The exit code is 1 if anything differs. What the workers have not folded yet is not compared.
    """
    settings = settings_of(ctx)
    try:
        if dump is None:
            findings = run(settings, verify_log(settings, wait=wait))
        else:
            findings = check(read_dump(dump), tenant=settings.tenant, secret=erasure_key(settings))
    except (MissingBody, UnknownVersion, UnreadableBody, WrongKey, CoreError) as error:
        from agents.app import refusal_of  # noqa: PLC0415 faust takes half a second

        raise refusal_of(error) from error
    if as_json:
        emit(asdict(findings) | {"ok": findings.ok})
    else:
        _tell(findings)
    if not findings.ok:
        ctx.exit(Exit.BUG)


def _tell(findings: Findings) -> None:
    for line in findings.details:
        click.echo(line)
    click.echo(
        f"{findings.read:,} records replayed: {findings.lost} lost, {findings.wrong} wrong, "
        f"{findings.duplicate} duplicate, {findings.state_errors} errors of state"
    )
    if findings.behind:
        click.echo(f"{findings.behind:,} records are not folded yet and were not compared; are the workers running?")
    if findings.ok:
        click.echo("everything agrees")
