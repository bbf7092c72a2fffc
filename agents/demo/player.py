"""Plays a history into the user topic: its events to the partitions of their keys, its ticks to every one, so many
virtual days a second.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, Self

from aiokafka import AIOKafkaProducer

from agents.kafka.batches import batches
from agents.kafka.connection import client_options
from agents.settings import Settings
from pipeline.play import Raw, Step, control_record, history_span, play
from schemas.control import CONTROL_KEY, Domain, Tick
from schemas.partitioner import partition_of
from schemas.topics import USERS

_SLICE: Final = 0.05  # s of wall clock that travel together

Message = tuple[bytes, bytes | None, list[tuple[str, bytes]]]


class Player:
    """Appends a history. An async context manager; `count` is the number of partitions of the user topic."""

    def __init__(self, settings: Settings, count: int, raws: Sequence[Raw]) -> None:
        self._topic = settings.topic(USERS.name)
        self._count = count
        self._raws = raws
        # idempotent: a batch that is sent again after a lost answer is appended once
        self._producer = AIOKafkaProducer(**client_options(settings), acks="all", enable_idempotence=True)
        self.start, self.end = history_span(raws) or (0, 0)
        """First and last time of an event, ms."""
        self.now = self.start
        """How far the history has been played, ms."""

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave."""
        await self._producer.stop()

    async def declare(self) -> None:
        """Say in every partition that time is the player's: the first record, before any policy is adopted."""
        logs: list[list[Message]] = [[] for _ in range(self._count)]
        self._add(Domain("played"), logs)
        await self._append(logs)

    async def perform(self, seconds: float, played: Callable[[], None] = lambda: None) -> None:
        """Append everything, evenly in virtual time over `seconds`; `played` is called after each slice.

        Raises:
            KafkaError: the brokers do not take it.
        """
        speed = (self.end - self.start) / seconds
        began = monotonic()
        logs: list[list[Message]] = [[] for _ in range(self._count)]
        for step in play(self._raws, None):
            if isinstance(step, Domain):
                continue
            time = step.time if isinstance(step, (Raw, Tick)) else None
            ahead = (time or self.now) - self.start - (monotonic() - began) * speed
            if ahead > 0 and any(logs):
                await self._append(logs)
                logs = [[] for _ in range(self._count)]
                played()
                await asyncio.sleep(_SLICE)
            self._add(step, logs)
            self.now = max(self.now, time or 0)
        await self._append(logs)
        played()

    def _add(self, step: Step, logs: list[list[Message]]) -> None:
        if isinstance(step, Raw):
            key = step.key or b""
            logs[partition_of(key, self._count)].append((key, step.value, []))
            return
        record = control_record(step)
        for log in logs:
            log.append((CONTROL_KEY, record.value, list(record.headers)))

    async def _append(self, logs: Sequence[Sequence[Message]]) -> None:
        """Append each partition's messages in their order, and wait until they are there."""
        sent = [
            await self._producer.send_batch(batch, self._topic, partition=number)
            for number, log in enumerate(logs)
            for batch in batches(log, transactional=False)
        ]
        await asyncio.gather(*sent)
