"""`rekindle send`: events from a file to the user topic, each checked as the worker will check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from agents.admission import Admission, Checked, current_admission
from agents.cli.base import as_json, emit, progress, run, settings_of
from agents.delivery import deliver
from agents.exits import Exit
from agents.files import lines, readable, size
from pipeline.policy import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN: Final = 20  # refused lines on the terminal


@click.command()
@click.argument("file")
@click.option("--backfill", is_flag=True, help="Imported history: updates state, sends nothing, never moves the clock.")
@click.option("--dry-run", is_flag=True, help="Only check.")
@as_json
@click.pass_context
def send(ctx: click.Context, *, file: str, backfill: bool, dry_run: bool, as_json: bool) -> None:
    """Append the events in FILE (JSON lines, plain or gzip; `-` is stdin) to the user topic.

    Each line is checked first, as the worker will check it, by the published policy and the clocks of now (--dry-run
    knows neither); one that would become a dead letter is not sent but named, and the exit code is 2. Only the user's
    row can tell what is of before an erasure.
    """
    settings = settings_of(ctx)
    readable(file)
    admission = Admission(DEFAULT, backfill=backfill) if dry_run else None
    refused: list[Checked] = []
    read = sent = 0

    def accepted(admission: Admission) -> Iterator[Checked]:
        nonlocal read
        for number, text in lines(file):
            read += 1
            checked = admission.check(number, text)
            if checked.refusal is None:
                yield checked
            else:
                refused.append(checked)

    async def send_all() -> None:
        nonlocal sent
        with progress(quiet=as_json) as bar:
            known = not bar.disable and size([file]) is not None
            task = bar.add_task("sending", total=sum(1 for _ in lines(file)) if known else None)
            current = await current_admission(settings, backfill=backfill, clocks=True)
            async for count in deliver(settings, accepted(current)):
                sent += count
                bar.update(task, completed=read)

    if admission is not None:
        sent = sum(1 for _ in accepted(admission))
    else:
        run(settings, send_all())
    if as_json:
        named = [
            {"line": e.place, "reason": e.refusal.reason, "message": e.refusal.message} for e in refused if e.refusal
        ]
        emit({"read": read, "sent": 0 if dry_run else sent, "valid": sent, "refused": named})
    else:
        for event in refused[:_SHOWN]:
            if event.refusal is not None:
                click.echo(f"line {event.place}: {event.refusal.reason}: {event.refusal.message}", err=True)
        if len(refused) > _SHOWN:
            click.echo(f"... and {len(refused) - _SHOWN:,} more (--json names all)", err=True)
        click.echo(f"{read:,} read, {sent:,} {'valid' if dry_run else 'sent'}, {len(refused):,} refused")
    if refused:
        ctx.exit(Exit.USAGE)
