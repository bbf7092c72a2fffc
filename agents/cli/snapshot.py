"""`rekindle snapshot`, `restore` and `rebuild`: the state as files, back into Kafka, and anew from the log."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from agents.cli.base import as_json, emit, run, settings_of
from agents.exits import Exit, Refusal
from pipeline.erasure import WrongKey
from pipeline.records import CoreError, MissingBody, UnknownVersion, UnreadableBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents.snapshot import Manifest

_REPLAY_ERRORS = (MissingBody, UnknownVersion, UnreadableBody, WrongKey, CoreError)
_Folder = click.Path(file_okay=False, path_type=Path)
_accept_gap = click.option("--accept-gap", is_flag=True, help="Go on where records behind the snapshot are gone.")


def _readable(work: "Callable[[], Any]") -> Any:
    """Run, with the core's errors as refusals."""
    try:
        return work()
    except _REPLAY_ERRORS as error:
        from agents.app import refusal_of  # noqa: PLC0415 faust takes half a second

        raise refusal_of(error) from error


def _tell(manifest: "Manifest") -> str:
    users = sum(part.users for part in manifest.parts)
    size = sum(part.file.bytes for part in manifest.parts) / (1 << 20)
    return f"{users:,} users in {manifest.partitions} partitions ({size:,.1f} MiB), taken {manifest.origin.at}"


@click.command()
@click.option("--out", type=_Folder, help="New folder for the snapshot.")
@click.option("--check", "checked", type=_Folder, help="Only verify the snapshot in this folder.")
@as_json
@click.pass_context
def snapshot(ctx: click.Context, *, out: Path | None, checked: Path | None, as_json: bool) -> None:
    """Write the state and the registry into the new folder OUT; workers may go on meanwhile.

    Each partition as of one committed position, in a file of its own, with checksums in manifest.json. A snapshot that
    was not finished never lies under its name.
    """
    from agents.snapshot import check, take  # noqa: PLC0415

    if out is not None and checked is None:
        settings = settings_of(ctx)
        manifest = _readable(lambda: run(settings, take(settings, out)))
        done = f"written to {out}; back with: rekindle restore {out}"
    elif checked is not None and out is None:
        manifest = _readable(lambda: check(checked))
        done = f"{checked} is whole and adds up"
    else:
        raise Refusal(Exit.USAGE, "snapshot: either --out, to write one, or --check, to verify one")
    if as_json:
        emit(msgspec.to_builtins(manifest))
    else:
        click.echo(f"{_tell(manifest)}\n{done}")


@click.command()
@click.argument("folder", type=_Folder)
@_accept_gap
@as_json
@click.pass_context
def restore(ctx: click.Context, *, folder: Path, accept_gap: bool, as_json: bool) -> None:
    """Write the snapshot in FOLDER into an empty state topic, and into the registry what it lacks.

    No worker may run, the user topic has to be the one that was folded, and nothing may have been sent since the
    snapshot (else: rekindle rebuild). Everything becomes visible at once, or nothing; if it is
    interrupted, run it again.
    """
    from agents.restore import restore as write  # noqa: PLC0415

    settings = settings_of(ctx, accept_gap=accept_gap or None)
    done = _readable(lambda: run(settings, write(settings, folder)))
    if as_json:
        emit({"snapshot": msgspec.to_builtins(done.manifest), "registry": done.entries})
    else:
        click.echo(f"restored: {_tell(done.manifest)}; {done.entries} entries of the registry\nstart the workers")


@click.command()
@click.option("--from", "folder", type=_Folder, help="Snapshot to begin with; else the beginning of the log.")
@click.option(
    "--missing",
    type=click.Choice(["leave", "send"]),
    help="If outputs differ from what the log leads to: leave it so, or send what is missing and has not expired. "
    "Without this nothing is written then.",
)
@_accept_gap
@as_json
@click.pass_context
def rebuild(ctx: click.Context, *, folder: Path | None, missing: str | None, accept_gap: bool, as_json: bool) -> None:
    """Write the state anew into an empty state topic, from a snapshot and the log; nothing is sent twice.

    For a state topic that was lost or damaged: stop the workers, delete it, `rekindle topics create`, then this. The
    log is folded as far as its outputs show that workers had; from there on they go on by themselves.
    """
    from agents.rebuild import rebuild as write  # noqa: PLC0415

    settings = settings_of(ctx, accept_gap=accept_gap or None)
    how: Any = missing or "refuse"
    done = _readable(lambda: run(settings, write(settings, folder, missing=how)))
    folded = sum(done.end[number] - begin for number, begin in done.start.items())
    if as_json:
        emit(
            {"folded": folded, "users": done.users, "sent": done.sent, "missing": done.missing, "surplus": done.surplus}
        )
        return
    for line in (*(f"missing: {line}" for line in done.missing), *(f"too many: {line}" for line in done.surplus)):
        click.echo(line)
    click.echo(f"rebuilt: {done.users:,} users, from {folded:,} records of the log; {done.sent} outputs sent")
    click.echo("start the workers")
