"""Who was erased, as the certificates say: nothing of before is handed over any more, nor written about them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from time import time
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition

from agents.kafka.connection import client_options
from agents.kafka.store import reader
from agents.log import logger
from agents.settings import Settings
from pipeline.erasure import mark_name
from schemas.codec import DECODE_ERRORS
from schemas.erasure import Erasure
from schemas.topics import COMPLETE_WITHIN, ERASURES

log = logger(__name__)

_decode = msgspec.json.Decoder(Erasure).decode
_LOOK: Final = 1_000  # ms; what comes meanwhile is there at once


class Erasures:
    """The latest erasure of each mark, by the offset of the record that asked for it. `secret`: of `erasure_key`."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._offsets: dict[str, int] = {}

    def take(self, records: Iterable[Any]) -> None:
        """Certificates, as the topic `erasures` has them."""
        for record in records:
            try:
                data = _decode(record.value or b"").data
            except DECODE_ERRORS:  # whoever wrote it: nothing may stop for it
                log.warning("certificate_unreadable", partition=record.partition, offset=record.offset)
                continue
            self._offsets[data.mark] = max(data.offset, self._offsets.get(data.mark, -1))

    def mark_of(self, record: Any) -> str | None:
        """The mark of a trigger's user if they were erased after it; None: they were not.

        Both tell which record of the user's partition brought them about. A trigger that does not is before all.
        """
        if not self._offsets:
            return None
        mark = mark_name(record.key or b"", self._secret).hex()
        erased = self._offsets.get(mark)
        revealed = dict(record.headers).get("rekindle-offset", b"-1")
        return mark if erased is not None and int(revealed) < erased else None


@asynccontextmanager
async def following(
    settings: Settings, erasures: Erasures, count: int, fail: Callable[[BaseException], None]
) -> AsyncIterator[None]:
    """Follow all `count` partitions: there are few certificates, and a rebalance needs no waiting. What was committed
    before is known on entry; `fail` is called if it can't go on.

    Raises:
        Refusal: no broker.
    """
    async with reader(client_options(settings)) as consumer:
        await _catch_up(consumer, erasures, [TopicPartition(settings.topic(ERASURES.name), n) for n in range(count)])
        task = asyncio.create_task(_follow(consumer, erasures, fail))
        try:
            yield
        finally:
            task.cancel()


async def _catch_up(consumer: Any, erasures: Erasures, places: list[TopicPartition]) -> None:
    """As far back as any trigger is kept."""
    consumer.assign(places)
    ends = await consumer.end_offsets(places)
    first = await consumer.offsets_for_times(dict.fromkeys(places, round(time() * 1000) - COMPLETE_WITHIN))
    for place, found in first.items():
        consumer.seek(place, ends[place] if found is None else found.offset)
    for place, end in ends.items():
        while await consumer.position(place) < end:
            await _look(consumer, erasures)


async def _follow(consumer: Any, erasures: Erasures, fail: Callable[[BaseException], None]) -> None:
    try:
        while True:
            await _look(consumer, erasures)
    except Exception as error:  # noqa: BLE001 who does not know of erasures must not go on sending
        fail(error)


async def _look(consumer: Any, erasures: Erasures) -> None:
    for records in (await consumer.getmany(timeout_ms=_LOOK)).values():
        erasures.take(records)
