"""Reading whole logs: committed records only, all partitions of a topic at once, surely to the end."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, UnknownTopicOrPartitionError, for_code

from agents.exits import Exit, Refusal
from agents.kafka.store import reader

_PATIENCE = 60.0  # s without any progress: a dead producer's transaction is aborted long before


class Logs:
    """Reads topics by their full names; made by `open_logs`."""

    def __init__(self, committed: AIOKafkaConsumer, bounds: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        self._committed = committed
        self._bounds = (
            bounds  # reads nothing; a committed reader's idea of the end hides what lies behind a transaction
        )
        self._admin = admin
        self._counts: dict[str, int] = {}

    async def exists(self, topic: str) -> bool:
        """Whether there is such a topic that may be described."""
        (found,) = await self._admin.describe_topics([topic])
        return not found["error_code"]

    async def count(self, topic: str) -> int:
        """Number of partitions.

        Raises:
            Refusal: there is no such topic.
        """
        if topic not in self._counts:
            (found,) = await self._admin.describe_topics([topic])
            error = for_code(found["error_code"])
            if error is UnknownTopicOrPartitionError:
                line = (
                    f"topic {topic} does not exist; check --prefix, or run, with the same one: rekindle topics create"
                )
                raise Refusal(Exit.TOPICS, line)
            if found["error_code"]:
                line = (
                    f"topic {topic} can't be described: {error.__name__}; `rekindle topics create --dry-run` lists ACLs"
                )
                raise Refusal(Exit.TOPICS, line)
            self._counts[topic] = len(found["partitions"])
        return self._counts[topic]

    async def starts(self, topic: str) -> dict[int, int]:
        """The earliest offset of each partition."""
        return _by_number(await self._bounds.beginning_offsets(await self._all(topic)))

    async def ends(self, topic: str) -> dict[int, int]:
        """The offset behind everything that has been written to each partition, open transactions included."""
        return _by_number(await self._bounds.end_offsets(await self._all(topic)))

    async def stable_ends(self, topic: str) -> dict[int, int]:
        """The offset up to which no transaction is open: where whole transactions end, if there is one producer."""
        return _by_number(await self._committed.end_offsets(await self._all(topic)))

    async def reach_back(self, topic: str, moment: int) -> int:
        """How many partitions still hold a record that was appended until `moment` (ms)."""
        places = await self._all(topic)
        starts = await self._bounds.beginning_offsets(places)
        ends = await self._bounds.end_offsets(places)
        later = await self._bounds.offsets_for_times(dict.fromkeys(places, moment + 1))
        found = 0
        for tp in places:
            first = later[tp]
            found += starts[tp] < (ends[tp] if first is None else first.offset)
        return found

    async def cluster(self) -> str:
        """The cluster's id."""
        return str((await self._admin.describe_cluster())["cluster_id"])

    async def members(self, group: str) -> int:
        """How many consumers a group has; one that was killed counts until its session has ended.

        Raises:
            KafkaError: it may not be described.
        """
        coordinator = await self._coordinator(group)
        (answer,) = await self._admin.describe_consumer_groups([group], group_coordinator_id=coordinator)
        code, _group, _state, _kind, _protocol, members = answer.groups[0][:6]
        if code:
            raise for_code(code)(f"group {group}")
        return len(members)

    async def group_offsets(self, group: str, topic: str) -> dict[int, int]:
        """The offset that a group has committed in each partition; those without one are left out."""
        coordinator, places = await self._coordinator(group), await self._all(topic)
        found = await self._admin.list_consumer_group_offsets(group, coordinator, places)
        return {tp.partition: place.offset for tp, place in found.items() if place.offset >= 0}

    async def _coordinator(self, group: str) -> int:
        """Node id; on a new cluster the topic of the groups is made by the first question for it."""
        deadline = monotonic() + _PATIENCE
        while True:
            try:
                return int(await self._admin.find_coordinator(group))
            except GroupCoordinatorNotAvailableError:
                if monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def _all(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(await self.count(topic))]

    async def read(
        self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> AsyncIterator[tuple[int, list[Any]]]:
        """Committed records as (partition, aiokafka's records), in order within a partition.

        Args:
            topic: full name.
            starts: where to begin in each partition.
            ends: where to stop, from `ends`; partitions that are not in it are left out.

        Raises:
            Refusal: an end can't be reached, as behind a transaction that hangs.
        """
        left = {TopicPartition(topic, n): end for n, end in ends.items() if starts.get(n, 0) < end}
        reader = self._committed
        reader.assign(list(left))
        for tp in left:
            reader.seek(tp, starts.get(tp.partition, 0))
        positions, progressed = dict.fromkeys(left, -1), monotonic()
        while left:
            for tp, records in (await reader.getmany(timeout_ms=200)).items():
                if tp in left and (wanted := [record for record in records if record.offset < left[tp]]):
                    yield tp.partition, wanted
            for tp in list(left):
                position = await reader.position(tp)  # not the last record: markers and gaps follow it
                if position > positions[tp]:
                    positions[tp], progressed = position, monotonic()
                if position >= left[tp]:
                    del left[tp]
                    reader.pause(tp)
            if monotonic() - progressed > _PATIENCE:
                stuck = ", ".join(f"{tp.partition} (at {positions[tp]} of {end})" for tp, end in left.items())
                line = f"{topic}: an open transaction hides the end of partition {stuck}; see kafka-transactions.sh"
                raise Refusal(Exit.FENCED, f"{line} find-hanging")

    async def read_table(self, topic: str, table: dict[bytes, bytes], numbers: Mapping[int, int] | None = None) -> None:
        """Fold partitions of a compacted topic (None: all) into `table`, as `fold_table` does.

        Args:
            topic: full name.
            table: changed in place.
            numbers: partition -> offset to begin at.
        """
        starts = await self.starts(topic) if numbers is None else numbers
        ends = await self.ends(topic)
        async for _, records in self.read(topic, starts, {n: ends[n] for n in starts}):
            fold_table(table, records)

    async def latest(
        self, topic: str, keys: Collection[bytes], numbers: Collection[int] | None = None
    ) -> dict[int, dict[bytes, bytes]]:
        """The latest value of some keys, in partitions (None: all) of a compacted topic; those without any are left
        out.
        """
        starts, ends = await self.starts(topic), await self.ends(topic)
        found: dict[int, dict[bytes, bytes]] = {}
        async for number, records in self.read(topic, starts, {n: ends[n] for n in numbers or ends}):
            if wanted := [record for record in records if record.key in keys]:
                fold_table(found.setdefault(number, {}), wanted)
        return found

    async def registry(self, topic: str) -> dict[str, bytes]:
        """Entries of the registry topic, in the order in which they were written."""
        table: dict[bytes, bytes] = {}
        await self.read_table(topic, table)
        return {key.decode("utf-8", "replace"): body for key, body in table.items()}


def fold_table(table: dict[bytes, bytes], records: list[Any]) -> None:
    """The latest value of each key wins and goes to the end of `table`; a tombstone removes the key."""
    for record in records:
        table.pop(record.key, None)
        if record.value is not None:
            table[record.key] = record.value


@asynccontextmanager
async def open_logs(options: Mapping[str, Any]) -> AsyncIterator[Logs]:
    """Connect; `options` of `client_options`.

    Raises:
        Refusal: no broker.
    """
    async with AsyncExitStack() as stack:
        committed = await stack.enter_async_context(reader(options))
        bounds = AIOKafkaConsumer(**options, group_id=None, enable_auto_commit=False)
        stack.push_async_callback(bounds.stop)
        await bounds.start()
        admin = AIOKafkaAdminClient(**options)
        stack.push_async_callback(admin.close)
        await admin.start()
        yield Logs(committed, bounds, admin)


def _by_number(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {tp.partition: offset for tp, offset in offsets.items()}
