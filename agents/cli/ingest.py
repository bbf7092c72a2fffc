"""`rekindle ingest`: events in from a topic that others own."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import Any

import click

from agents.admission import Admission
from agents.cli.base import settings_of
from agents.exits import Exit, Refusal
from agents.files import lines
from pipeline.admission import Rejection
from pipeline.mapping import Mapping, MappingError, Origin, parse_mapping
from pipeline.policy import DEFAULT
from schemas.codec import encode_json


@click.command()
@click.option(
    "--mapping",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="How its messages become events; ready ones lie in deploy/mappings/.",
)
@click.option("--topic", help="The topic, by its full name; else the mapping names it.")
@click.option("--group", help="Consumer group, which remembers how far it has come; else APP_ID-ingest-TOPIC.")
@click.option("--backfill", is_flag=True, help="Imported history: updates state, sends nothing, never moves the clock.")
@click.option("--until-end", is_flag=True, help="Stop where the topic ends now.")
@click.option(
    "--latest", is_flag=True, help="Where the group knows nothing yet, begin at the end instead of the start."
)
@click.option("--accept-gap", is_flag=True, help="Go on where retention deleted records before they were read.")
@click.option("--try", "sample", metavar="FILE", help="Only map the lines of FILE (`-`: stdin) and print the events.")
@click.pass_context
def ingest(  # noqa: PLR0917 click calls it by name
    ctx: click.Context,
    file: Path,
    topic: str | None,
    group: str | None,
    backfill: bool,
    until_end: bool,
    latest: bool,
    accept_gap: bool,
    sample: str | None,
) -> None:
    """Read a topic, map each record, check it as the worker will, and append it to the user topic, keyed by its user.

    It goes on where it stopped. After a kill some records are sent again, with the same messageId, so that the worker
    counts them once. What can't be mapped becomes a dead letter that names its topic, partition and offset. Ticks,
    control messages and erasures from outside are refused. Start as many as the topic has partitions.
    """
    mapping = read_mapping(file)
    if sample is not None:
        ctx.exit(_try(mapping, sample))
    name = topic or mapping.topic
    if name is None:
        raise Refusal(Exit.USAGE, f"which topic? give --topic, or write `topic:` into {file}")
    settings = settings_of(ctx, accept_gap=accept_gap or None)
    from agents.ingest import Orders, default_group, run  # noqa: PLC0415 faust takes half a second

    orders = Orders(
        name,
        mapping,
        group or default_group(settings, name),
        backfill=backfill,
        start="latest" if latest else "earliest",
        until_end=until_end,
    )
    ctx.exit(run(settings, orders))


def read_mapping(file: Path) -> Mapping:
    """The mapping in a file. Raises Refusal with all its problems."""
    try:
        return parse_mapping(file.read_bytes(), str(file))
    except MappingError as error:
        raise Refusal(Exit.USAGE, "the mapping can't be used:\n" + "\n".join(error.problems)) from error


def _try(mapping: Mapping, sample: str) -> int:
    admission, now = Admission(DEFAULT), round(time() * 1000)
    refused = 0
    for number, text in lines(sample, b"\r\n"):
        found = mapping.map(text, Origin(sample, 0, number, None, now))
        for event in [found] if isinstance(found, Rejection) else found:
            refusal = event if isinstance(event, Rejection) else _refusal(admission, event, now)
            if refusal is None:
                click.echo(encode_json(event))
            else:
                refused += 1
                click.echo(f"line {number}: {refusal.reason}: {refusal.message}", err=True)
    return Exit.USAGE if refused else Exit.OK


def _refusal(admission: Admission, event: dict[str, Any], now: int) -> Rejection | None:
    key = str(event.get("userId") or event.get("anonymousId") or "").encode()
    return admission.refusal(key, encode_json(event), now)
