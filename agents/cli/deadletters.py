"""`rekindle deadletters`: what was refused, and sending it again once its cause is gone."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click

from agents.admission import Checked, current_admission
from agents.cli.base import Group, as_json, emit, run, settings_of, table
from agents.cli.ingest import read_mapping
from agents.cli.lines import document, moment
from agents.deadletters import headers_of, mark, place_of, read_letters
from agents.delivery import deliver
from agents.exits import Exit
from agents.kafka.append import batch_producer
from agents.kafka.connection import client_options
from agents.settings import Settings
from pipeline.admission import Rejection
from pipeline.mapping import Mapping, Origin
from schemas.codec import encode_json
from schemas.deadletter import DeadLetterReason
from schemas.topics import USERS

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
    """Show what was refused, when, where it lies and why; and when it was sent again by `replay`."""
    settings = settings_of(ctx)
    found, again = run(settings, read_letters(settings, reason))
    counts = Counter(headers_of(record)["reason"] for record in found)
    replayed = sum(place_of(headers_of(record)) in again for record in found)
    if as_json:
        letters = [document(r) | {"replayed": again.get(place_of(headers_of(r)))} for r in found[-last:]]
        emit({"total": len(found), "replayed": replayed, "reasons": counts, "deadletters": letters})
        return
    if not found:
        click.echo("no dead letters" + (f" of the reason {reason}" if reason else ""))
        return
    rows = []
    for record in found[-last:]:
        told = headers_of(record)
        sent = again.get(place_of(told))
        since = "" if sent is None else moment(sent)
        rows.append((moment(record.timestamp), told["reason"], _place(settings, told), since, told["message"]))
    table(("refused (UTC)", "reason", "partition:offset", "sent again", "why"), rows)
    kinds = ", ".join(f"{n:,} {name}" for name, n in counts.most_common())
    click.echo(f"{len(found):,} in all: {kinds}; {replayed:,} of them sent again")


@deadletters.command()
@_reason
@click.option("--backfill", is_flag=True, help="Mark them as imported history, so that none is too late.")
@click.option(
    "--mapping",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send what `rekindle ingest` refused instead, by this (mended) mapping.",
)
@click.option("--again", is_flag=True, help="Also what was sent again before: an order may count twice.")
@as_json
@click.pass_context
def replay(
    ctx: click.Context, *, reason: str | None, backfill: bool, file: Path | None, again: bool, as_json: bool
) -> None:
    """Append the bytes of dead letters to the user topic again, with the key that their body asks for.

    What would be refused again is not sent but named; the exit code then is 2. Each is sent again once: what was, is
    marked in their topic, and passed over the next time. Only if this command is cut off before it could mark what it
    sent may that be sent twice; within 48 hours it counts once then, since its messageId is still known.
    """
    settings = settings_of(ctx)
    refused: list[tuple[dict[str, str], str]] = []
    mapping = None if file is None else read_mapping(file)
    passed = 0

    async def resend() -> int:
        admission = await current_admission(settings, backfill=backfill, clocks=True)
        found, before = await read_letters(settings, reason)
        done: list[Any] = []

        def accepted() -> Iterator[Checked]:
            nonlocal passed
            for place, record in enumerate(found):
                told = headers_of(record)
                if told["stage"] == "relay":
                    continue  # a trigger, and it has expired
                if (told["stage"] == "ingest") != (mapping is not None):
                    continue
                if not record.value and told["reason"] != "tombstone":
                    continue  # of somebody who was erased: nothing of it was kept
                if not again and place_of(told) in before:
                    passed += 1
                    continue
                if "sha256" in told:
                    refused.append((told, "only the beginning of it was kept"))
                    continue
                if told["reason"] == "too_late" and not backfill:
                    refused.append((told, "too_late: it stays too late unless it is sent with --backfill"))
                    continue
                known = len(refused)
                for body in _bodies(mapping, record, told):
                    checked = (
                        Checked(place, b"", b"", body) if isinstance(body, Rejection) else admission.check(place, body)
                    )
                    if checked.refusal is None:
                        yield checked
                    else:
                        refused.append((told, f"{checked.refusal.reason}: {checked.refusal.message}"))
                if len(refused) == known:
                    done.append(record)  # asked for the next: the ones before will be acknowledged with it

        sent = 0
        async with batch_producer(client_options(settings), "rekindle-deadletters") as producer:
            async for count in deliver(settings, accepted()):
                await mark(settings, producer, done)
                done.clear()
                sent += count
        return sent

    sent = run(settings, resend())
    if as_json:
        named = [{"partition": int(t["partition"]), "offset": int(t["offset"]), "why": why} for t, why in refused]
        emit({"sent": sent, "passed": passed, "refused": named})
    else:
        for told, why in refused:
            click.echo(f"{told['partition']}:{told['offset']} does not pass: {why}", err=True)
        before = f"; {passed:,} were before (--again sends them once more)" if passed else ""
        click.echo(f"{sent:,} sent again, {len(refused):,} not{before}")
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
