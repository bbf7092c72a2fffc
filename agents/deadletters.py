"""Dead letters in their topic, and the marks of those that were sent again.

A mark is a record of that topic, too: of the stage `replay`, with its dead letter's headers, without key and value.
So it is kept as long as what it is about, is found by whoever reads dead letters, and names nobody.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from agents.kafka.append import append
from agents.kafka.connection import client_options
from agents.kafka.publish import whoami
from agents.kafka.read import open_logs
from agents.kafka.transactions import Message
from agents.settings import Settings
from schemas.topics import DEADLETTERS

Place = tuple[str, str, str]
"""Topic, partition and offset of what was refused."""


class Letters(NamedTuple):
    """Dead letters (aiokafka's records) by the time at which they were refused, and when (ms) which were sent again."""

    letters: list[Any]
    again: dict[Place, int]


def headers_of(record: Any) -> dict[str, str]:
    """Headers as text."""
    return {name: value.decode("utf-8", "replace") for name, value in record.headers}


def place_of(told: dict[str, str]) -> Place:
    """Where what was refused lies, by the headers of its dead letter."""
    return told["topic"], told["partition"], told["offset"]


async def read_letters(settings: Settings, reason: str | None) -> Letters:
    """All that are kept, or those of a reason. Raises Refusal."""
    name = settings.topic(DEADLETTERS.name)
    found = Letters([], {})
    async with open_logs(client_options(settings)) as logs:
        async for _, records in logs.read(name, await logs.starts(name), await logs.ends(name)):
            for record in records:
                told = headers_of(record)
                if told["stage"] == "replay":
                    found.again[place_of(told)] = record.timestamp
                elif reason is None or told["reason"] == reason:
                    found.letters.append(record)
    found.letters.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    return found


async def mark(settings: Settings, producer: Any, letters: Sequence[Any]) -> None:
    """Remember of dead letters that they were sent again. `producer`: of `batch_producer`. Raises Refusal."""
    marks: dict[int, list[Message]] = {}
    said = {"stage": b"replay", "message": f"sent again by {whoami()}".encode()}
    for letter in letters:
        headers = [(name, said.get(name, value)) for name, value in letter.headers]
        marks.setdefault(letter.partition, []).append((b"", b"", headers))
    await append(producer, settings.topic(DEADLETTERS.name), marks)
