"""`rekindle deadletters`: what was refused, and sending it again once its cause is gone."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click

from agents.admission import Checked, current_admission
from agents.cli.base import Group, as_json, emit, run, settings_of, table
from agents.cli.ingest import read_mapping
from agents.cli.lines import document, headers_of, moment
from agents.delivery import deliver
from agents.exits import Exit
from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from agents.settings import Settings
from pipeline.admission import Rejection
from pipeline.mapping import Mapping, Origin
from schemas.codec import encode_json
from schemas.deadletter import DeadLetterReason
from schemas.topics import DEADLETTERS, USERS

_reason = click.option("--reason", type=click.Choice(get_args(DeadLetterReason)), help="Only those of this reason.")


@click.group(cls=Group)
def deadletters() -> None:
    """List what was refused, or send it again."""


@deadletters.command("list")
@_reason
@click.option("-n", "last", type=click.IntRange(1), default=50, show_default=True, help="At most so many, the latest.")
@as_json
@click.pass_context
def show(ctx: click.Context, *, reason: str | None, last: int, as_json: bool) -> None:
    """Show what was refused, when, where it lies and why."""
    settings = settings_of(ctx)
    found = run(settings, _read(settings, reason))
    counts = Counter(headers_of(record)["reason"] for record in found)
    if as_json:
        emit({"total": len(found), "reasons": counts, "deadletters": [document(record) for record in found[-last:]]})
        return
    if not found:
        click.echo("no dead letters" + (f" of the reason {reason}" if reason else ""))
        return
    rows = []
    for record in found[-last:]:
        told = headers_of(record)
        rows.append((moment(record.timestamp), told["reason"], _place(settings, told), told["message"]))
    table(("refused (UTC)", "reason", "partition:offset", "why"), rows)
    click.echo(f"{len(found):,} in all: " + ", ".join(f"{n:,} {name}" for name, n in counts.most_common()))


@deadletters.command()
@_reason
@click.option("--backfill", is_flag=True, help="Mark them as imported history, so that none is too late.")
@click.option(
    "--mapping",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send what `rekindle ingest` refused instead, by this (mended) mapping.",
)
@as_json
@click.pass_context
def replay(ctx: click.Context, *, reason: str | None, backfill: bool, file: Path | None, as_json: bool) -> None:
    """Append the bytes of dead letters to the user topic again, with the key that their body asks for.

    What would be refused again is not sent but named; the exit code then is 2. What is sent twice within 48 hours
    counts once: its messageId is still known.
    """
    settings = settings_of(ctx)
    refused: list[tuple[dict[str, str], str]] = []
    mapping = None if file is None else read_mapping(file)

    async def again() -> int:
        admission = await current_admission(settings, backfill=backfill)
        found = await _read(settings, reason)

        def accepted() -> Iterator[Checked]:
            for place, record in enumerate(found):
                told = headers_of(record)
                if told["stage"] == "relay":
                    continue  # a trigger, and it has expired
                if (told["stage"] == "ingest") != (mapping is not None):
                    continue
                if not record.value and told["reason"] != "tombstone":
                    continue  # of somebody who was erased: nothing of it was kept
                if "sha256" in told:
                    refused.append((told, "only the beginning of it was kept"))
                    continue
                if told["reason"] == "too_late" and not backfill:
                    refused.append((told, "too_late: it stays too late unless it is sent with --backfill"))
                    continue
                for body in _bodies(mapping, record, told):
                    checked = (
                        Checked(place, b"", b"", body) if isinstance(body, Rejection) else admission.check(place, body)
                    )
                    if checked.refusal is None:
                        yield checked
                    else:
                        refused.append((told, f"{checked.refusal.reason}: {checked.refusal.message}"))

        return sum([count async for count in deliver(settings, accepted())])

    sent = run(settings, again())
    if as_json:
        named = [{"partition": t["partition"], "offset": t["offset"], "why": why} for t, why in refused]
        emit({"sent": sent, "refused": named})
    else:
        for told, why in refused:
            click.echo(f"{told['partition']}:{told['offset']} does not pass: {why}", err=True)
        click.echo(f"{sent:,} sent again, {len(refused):,} not")
    if refused:
        ctx.exit(Exit.USAGE)


def _bodies(mapping: Mapping | None, record: Any, told: dict[str, str]) -> list[bytes | Rejection]:
    """What a dead letter's bytes say: themselves, or by a mapping, under the ids that they had from it before."""
    if mapping is None:
        return [record.value or b""]
    time = int(told["time"])
    origin = Origin(
        told["topic"], int(told["partition"]), int(told["offset"]), record.key or None, time if time > 0 else None
    )
    found = mapping.map(record.value, origin)
    if isinstance(found, Rejection):
        return [found]
    return [event if isinstance(event, Rejection) else encode_json(event) for event in found]


def _place(settings: Settings, told: dict[str, str]) -> str:
    place = f"{told['partition']}:{told['offset']}"
    return place if told["topic"] == settings.topic(USERS.name) else f"{told['topic']} {place}"


async def _read(settings: Settings, reason: str | None) -> list[Any]:
    """Dead letters by the time at which they were refused."""
    name = settings.topic(DEADLETTERS.name)
    async with open_logs(client_options(settings)) as logs:
        starts, ends = await logs.starts(name), await logs.ends(name)
        found = [
            record
            async for _, records in logs.read(name, starts, ends)
            for record in records
            if reason is None or headers_of(record)["reason"] == reason
        ]
    return sorted(found, key=lambda record: (record.timestamp, record.partition, record.offset))
