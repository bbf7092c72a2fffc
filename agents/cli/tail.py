"""`rekindle tail`: the last records of an output topic, and those that come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import click
import msgspec

from agents.cli.base import as_json, emit, language, run, settings_of
from agents.cli.lines import describe, document
from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from agents.settings import Settings
from pipeline.wording import Language
from schemas.codec import DECODE_ERRORS
from schemas.topics import OUTPUTS

_PULSE: Final = 0.3  # s
_WHY_NONE: Final = {
    "triggers": "a live rule sends when a silence reaches its limit, and none for what lies before its policy was "
    "adopted; `rekindle tail decisions` has the no's, `rekindle doctor` what is missing",
    "decisions": "a rule decides when a silence reaches its limit, and passes over what lies before its policy was "
    "adopted; `rekindle doctor` says whether policy and workers are there, `rekindle user ID` when one is due",
    "outcomes": "one is written when a goal window ends, or its user comes back",
    "segments": "nobody has entered one, or the policy names none",
    "deadletters": "nothing was refused",
    "erasures": "nobody was erased",
}
"""Why a topic may be empty."""


@click.command()
@click.argument("topic", metavar="TOPIC", type=click.Choice([topic.name for topic in OUTPUTS]))
@click.option("-n", "last", type=click.IntRange(0), default=10, show_default=True, help="So many of the last records.")
@click.option("-f", "--follow", is_flag=True, help="Then go on with those that come, until Ctrl-C.")
@language
@as_json
@click.pass_context
def tail(ctx: click.Context, *, topic: str, last: int, follow: bool, lang: Language | None, as_json: bool) -> None:
    """Show committed records of TOPIC, one line each with its reason, in the order in which they were appended.

    TOPIC is triggers, decisions, outcomes, segments, deadletters or erasures.
    """
    settings = settings_of(ctx, lang=lang)

    async def show() -> None:
        shown = 0
        async for record in _records(settings, topic, last, follow=follow):
            shown += 1
            if as_json:
                emit(_document(topic, record))
            else:
                click.echo(_line(topic, record, settings.lang))
        if last and not shown:
            click.echo(f"no {topic} yet: {_WHY_NONE[topic]}", err=True)

    with suppress(KeyboardInterrupt):  # how following ends
        run(settings, show())


async def _records(settings: Settings, topic: str, last: int, *, follow: bool) -> AsyncIterator[Any]:
    name = settings.topic(topic)
    async with open_logs(client_options(settings)) as logs:
        ends, starts = await logs.ends(name), await logs.starts(name)
        found: list[Any] = []
        reach = last
        while last:  # markers take offsets, too: look further back until enough records are found
            begin = {n: max(starts[n], end - reach) for n, end in ends.items()}
            found = [record async for _, records in logs.read(name, begin, ends) for record in records]
            if begin == starts or (len(found) >= last and _enough(found, begin, starts, last)):
                break
            reach *= 8
        for record in sorted(found, key=lambda r: (r.timestamp, r.partition, r.offset))[-last:] if last else ():
            yield record
        while follow:
            await asyncio.sleep(_PULSE)
            begin, ends = ends, await logs.ends(name)
            async for _, records in logs.read(name, begin, ends):
                for record in records:
                    yield record


def _enough(found: list[Any], begin: dict[int, int], starts: dict[int, int], last: int) -> bool:
    """Whether no partition that was not read to its start may hold one of the last records."""
    oldest = sorted(record.timestamp for record in found)[-last]
    reached = dict.fromkeys(begin, False)
    for record in found:
        reached[record.partition] = reached[record.partition] or record.timestamp < oldest
    return all(reached[number] or begin[number] == starts[number] for number in begin)


def _line(topic: str, record: Any, language: Language) -> str:
    try:
        return describe(topic, record, language)
    except DECODE_ERRORS:
        return f"partition {record.partition}, offset {record.offset}: no {topic[:-1]} that this release can read"


def _document(topic: str, record: Any) -> Any:
    if topic == "deadletters":
        return document(record)
    return msgspec.Raw(record.value)
