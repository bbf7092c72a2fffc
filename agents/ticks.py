"""Live ticks: when no event moves a partition's clock, a record without a time lets the broker's append time do it."""

import asyncio
from collections.abc import Callable
from time import time
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from agents.kafka.owner import Owner
from agents.kafka.shell import Shell
from agents.kafka.transport import Progress
from agents.log import logger
from agents.observe import Observer
from pipeline.partition import Partition
from schemas.codec import encode_json
from schemas.control import CONTROL_KEY, AnyControl, Tick, control_headers

log = logger(__name__)

_PULSE = 1.0  # s between two looks
_FRESH = 5.0  # s for which a highwater is taken for the end of the partition


class Controls:
    """Appends control messages to the user topic, plain: outside of any transaction, in no order with one.

    Args:
        producer: started.
        topic: full name of the user topic.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def append(self, partition: int, message: AnyControl) -> int:
        """Append and wait; returns the record's offset. Raises aiokafka's KafkaError."""
        kind = str(type(message).__struct_config__.tag)
        sent = await self._producer.send_and_wait(
            self._topic, encode_json(message), CONTROL_KEY, partition=partition, headers=control_headers(kind)
        )
        return int(sent.offset)


class Ticks:
    """Watches the owned partitions, and ticks those that have been read to their end and whose clock falls behind.

    Args:
        shell: whose owners are watched.
        progress: where the consumer stands in a partition.
        controls: appends.
        after: lag of the clock beyond its lateness, s.
        observer: hears of every tick, and of every partition's progress.
        now: the wall clock, s.
    """

    def __init__(
        self,
        shell: Shell,
        progress: Callable[[int], Progress | None],
        controls: Controls,
        *,
        after: float,
        observer: Observer,
        now: Callable[[], float] = time,
    ) -> None:
        self._shell = shell
        self._progress = progress
        self._controls = controls
        self._after_ms = after * 1000
        self._observer = observer
        self._now = now
        self._awaited: dict[int, tuple[Owner, int]] = {}

    async def run(self) -> None:
        """Look once a second, for ever."""
        while True:
            await asyncio.sleep(_PULSE)
            for owner in list(self._shell.owners.values()):
                progress = self._progress(owner.number)
                if progress is not None and owner.core is not None:
                    self._observer.progress(owner.number, position=owner.position, highwater=progress.highwater)
                    if self._due(owner, progress):
                        await self._tick(owner)

    def _due(self, owner: Owner, progress: Progress) -> bool:
        core: Any = owner.core
        if not isinstance(core, Partition) or core.position.domain != "live":
            return False
        if core.clock is None and not core.rows:  # nobody to wake; and a player may yet declare another time domain
            return False
        watched, offset = self._awaited.get(owner.number, (owner, -1))
        read_back = watched is not owner or core.offset > offset
        # Not by the last record (markers follow it), and not by the last stable offset (records may hide behind it).
        caught_up = (
            owner.idle
            and owner.position == progress.delivered
            and progress.position == progress.highwater
            and progress.age < _FRESH
        )
        # Imported history alone starts no clock: then it lags since for ever.
        lag = self._now() * 1000 - (core.clock or 0) - core.policy.lateness
        return read_back and caught_up and lag > self._after_ms

    async def _tick(self, owner: Owner) -> None:
        try:
            offset = await asyncio.wait_for(self._controls.append(owner.number, Tick()), 10.0)
        except TopicAuthorizationFailedError:  # nobody would fall due without traffic: better to stop than to seem well
            raise
        except (KafkaError, TimeoutError) as error:  # if it was written after all, it only says what time it is
            log.warning("tick_failed", partition=owner.number, error=repr(error))
            return
        self._awaited[owner.number] = (owner, offset)
        self._observer.ticked(owner.number)
