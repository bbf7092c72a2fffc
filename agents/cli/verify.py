"""`rekindle verify`: the oracle, for a deployment or a dump of it."""

from dataclasses import asdict
from pathlib import Path

import click

from agents.cli.base import as_json, emit, run, settings_of
from agents.dump import read_dump
from agents.erasure_key import erasure_key
from agents.exits import Exit
from agents.oracle import Findings, Gone, check
from agents.oracle import verify as verify_log
from agents.snapshot import load
from pipeline.erasure import WrongKey
from pipeline.records import CoreError, MissingBody, UnknownVersion, UnreadableBody

_NAMED = 3  # partitions in a line


@click.command()
@click.option(
    "--dump", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder of `rekindle dump`."
)
@click.option(
    "--from",
    "snapshot",
    type=click.Path(file_okay=False, path_type=Path),
    help="Snapshot to begin with, where retention has cut the log; else the beginning of the log.",
)
@click.option(
    "--wait", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds for workers to catch up."
)
@as_json
@click.pass_context
def verify(ctx: click.Context, *, dump: Path | None, snapshot: Path | None, wait: float, as_json: bool) -> None:
    """Replay the user topic through the core and compare: every row, sum, trigger, decision, outcome and dead letter.

    Nothing is changed. The exit code is 1 if anything differs, 16 if retention has deleted what the replay begins with.
    What the workers have not folded yet is not compared.
    """
    settings = settings_of(ctx)
    try:
        if dump is None:
            findings = run(settings, verify_log(settings, wait=wait, snapshot=snapshot))
        else:
            begin = load(snapshot) if snapshot is not None else None
            findings = check(read_dump(dump), tenant=settings.tenant, secret=erasure_key(settings), begin=begin)
    except (MissingBody, UnknownVersion, UnreadableBody, WrongKey, CoreError) as error:
        from agents.app import refusal_of  # noqa: PLC0415 faust takes half a second

        raise refusal_of(error) from error
    if as_json:
        emit(asdict(findings) | {"ok": findings.ok})
    else:
        _tell(findings, snapshot)
    if not findings.ok:
        ctx.exit(Exit.BUG if findings.differs or findings.unsettled else Exit.GAP)


def _tell(findings: Findings, snapshot: Path | None) -> None:
    for line in findings.details:
        click.echo(line)
    since = f" behind the snapshot {snapshot}" if snapshot else ""
    if findings.read or findings.differs:
        click.echo(
            f"{findings.read:,} records{since} replayed: {findings.lost} lost, {findings.wrong} wrong, "
            f"{findings.duplicate} duplicate, {findings.state_errors} errors of state"
        )
    if findings.behind:
        click.echo(f"{findings.behind:,} records are not folded yet and were not compared; are the workers running?")
    if findings.older:
        click.echo(f"{findings.older:,} outputs are older than what their topics keep and were not compared")
    if findings.gone:
        click.echo(_gone(findings.gone, snapshot))
    if findings.ok:
        click.echo("everything agrees" if findings.read else "nothing was compared: no worker has folded a record yet")


def _gone(gone: list[Gone], snapshot: Path | None) -> str:
    named = [f"{part.first}-{part.last} of partition {part.partition}" for part in gone[:_NAMED]]
    more = f" and of {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
    line = f"records {', '.join(named)}{more} are gone, so the state can't be replayed from"
    if snapshot is None:
        return f"{line} the log alone: rekindle verify --from SNAPSHOT begins with a snapshot"
    return f"{line} this snapshot: it needs a newer one"
