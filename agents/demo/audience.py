"""Who watches: follows the state and the triggers in Kafka, as any subscriber could, and keeps what the view shows."""

import asyncio
from collections import Counter, deque
from time import monotonic
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.kafka.connection import client_options
from agents.settings import Settings
from pipeline.position import Counts, Position, decode_position
from pipeline.sums import STAGE, Cells, merge
from pipeline.sums.base import Dims
from schemas.topics import STATE, TRIGGERS
from schemas.trigger import Trigger

_RECENT: Final = 12
_WINDOW: Final = 3.0  # s over which a rate is measured

_STAGE_CELL: Final = b"s" + STAGE.name.encode() + b"\x1f"

_trigger = msgspec.json.Decoder(Trigger).decode


class Audience:
    """What has become visible so far: the sums, the positions, the latest triggers. `run` follows until cancelled."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._state, self._triggers = settings.topic(STATE.name), settings.topic(TRIGGERS.name)
        self._count = count
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        self._cells = [Cells() for _ in range(count)]
        self._stages = [Cells() for _ in range(count)]  # those of them that are looked at all the time
        self.positions: dict[int, Position] = {}
        """The partition rows."""
        self.recent: deque[Trigger] = deque(maxlen=_RECENT)
        """The last triggers, in the order in which they became visible."""
        self.sent = 0
        """Triggers so far."""
        self._seen: deque[tuple[float, int]] = deque()

    async def run(self) -> None:
        """Follow. Raises aiokafka's KafkaError."""
        await self._consumer.start()
        try:
            topics, numbers = (self._state, self._triggers), range(self._count)
            self._consumer.assign([TopicPartition(topic, number) for topic in topics for number in numbers])
            while True:
                for tp, records in (await self._consumer.getmany(timeout_ms=200)).items():
                    if tp.topic == self._state:
                        for record in records:
                            self._take(tp.partition, record.key, record.value)
                    else:
                        self.sent += len(records)
                        self.recent.extend(_trigger(record.value) for record in records[-_RECENT:])
                self._seen.append((monotonic(), self.counts.read))
                while self._seen[0][0] < monotonic() - _WINDOW and len(self._seen) > 2:
                    self._seen.popleft()
                await asyncio.sleep(0.05)
        finally:
            await self._consumer.stop()

    def _take(self, partition: int, key: bytes, value: bytes | None) -> None:
        if value is None:
            return
        if key[:1] == b"s":
            self._cells[partition].restore(key[1:], value)
            if key.startswith(_STAGE_CELL):
                self._stages[partition].restore(key[1:], value)
        elif key == b"p":
            self.positions[partition] = decode_position(value)

    @property
    def counts(self) -> Counts:
        """What became of the events, over all partitions."""
        whole: Counter[str] = Counter()
        for position in self.positions.values():
            whole.update(msgspec.structs.asdict(position.counts))
        return Counts(**whole)

    @property
    def rate(self) -> float:
        """Events per second of wall clock, lately."""
        if len(self._seen) < 2:
            return 0.0
        (then, before), (now, read) = self._seen[0], self._seen[-1]
        return (read - before) / max(now - then, 0.001)

    @property
    def stages(self) -> Counter[str]:
        """Users by stage of their lifecycle."""
        found: Counter[str] = Counter()
        for cells in self._stages:
            for (_, (kind, stage)), (users,) in cells.values.items():
                found[str(stage)] += users if kind == "user" else 0
        return found

    @property
    def sums(self) -> dict[tuple[str, Dims], list[int]]:
        """Every cell, over all partitions."""
        return merge(cells.values for cells in self._cells)

    def folded(self, ends: dict[int, int]) -> bool:
        """Whether everything before these offsets has become visible."""
        return all(n in self.positions and self.positions[n].offset >= end for n, end in ends.items())
