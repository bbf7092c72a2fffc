"""The private names of faust 0.15.3 and aiokafka 0.14 that the transport relies on: an upgrade fails here first."""

import asyncio
import inspect
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import aiokafka
import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment, SubscriptionState, TopicPartitionState
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.app.base import App, BootStrategy
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver

from agents.kafka.batches import BATCH_BYTES, batches
from agents.kafka.records import unpack
from agents.kafka.transport import Consumer, ConsumerThread, RebalanceListener


def test_versions_are_the_ones_that_were_read() -> None:
    assert version("faust-streaming") == "0.15.3"
    assert version("aiokafka") == "0.14.0"


@pytest.mark.parametrize(
    ("overridden", "where"),
    [
        ("_create_worker_consumer", driver.AIOKafkaConsumerThread),
        ("_fetch_records", driver.AIOKafkaConsumerThread),
        ("_commit", driver.AIOKafkaConsumerThread),
        ("_new_consumer_thread", driver.Consumer),
        ("_to_message", driver.Consumer),
        ("perform_seek", base.Consumer),
        ("getmany", base.Consumer),
        ("commit", base.Consumer),
        ("verify_all_partitions_active", base.Consumer),
        ("on_partitions_revoked", base.Consumer),
        ("on_partitions_assigned", base.Consumer),
        ("on_first_start", App),
    ],
)
def test_what_is_overridden_is_what_faust_calls(overridden: str, where: type) -> None:
    ours = ConsumerThread if issubclass(ConsumerThread, where) else Consumer if issubclass(Consumer, where) else None
    assert callable(getattr(where, overridden))
    if ours is not None:
        assert getattr(ours, overridden) is not getattr(where, overridden)


def test_faust_makes_our_listener_and_thread() -> None:
    assert "consumer.RebalanceListener(self)" in inspect.getsource(driver.AIOKafkaConsumerThread.__post_init__)
    assert Consumer.RebalanceListener is RebalanceListener
    assert "_new_consumer_thread()" in inspect.getsource(base.ThreadDelegateConsumer.__init__)
    assert "thread.app.on_rebalance_start()" in inspect.getsource(
        driver.ConsumerRebalanceListener.on_partitions_revoked
    )


def test_faust_drains_by_getmany_and_its_guard_can_be_disarmed() -> None:
    drain = inspect.getsource(base.Consumer._drain_messages)
    assert "getmany = self.getmany" in drain
    assert "r_offset is None or offset >= r_offset" in drain, "getmany sets _read_offset to None before each chunk"
    assert "gap > 1 and r_offset" in drain
    assert "_wait_next_records" in inspect.getsource(base.Consumer.getmany)
    assert "call_thread" in inspect.getsource(driver.AIOKafkaConsumerThread.getmany)


def test_no_service_that_would_write_is_started() -> None:
    assert BootStrategy.enable_kafka_producer is None
    assert "enable_kafka_producer" in inspect.getsource(BootStrategy._should_enable_kafka_producer)
    assert isinstance(App.transport, property)
    assert App.transport.fset is not None


async def test_aiokafka_consumer_has_what_the_fetch_reads() -> None:
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1", group_id=None)
    assert consumer._closed is False
    assert isinstance(consumer._subscription, SubscriptionState)
    assert consumer._subscription.subscription is None
    consumer._closed = True  # never started: nothing to stop
    source = inspect.getsource(fetcher.Fetcher)
    for name in ("_records", "_closed", "_subscriptions", "_wait_consume_future"):
        assert f"self.{name}" in source
    for method in ("_notify", "_create_fetch_waiter"):
        assert callable(getattr(fetcher.Fetcher, method))
    assert callable(SubscriptionState.fetch_context)
    assert callable(GroupCoordinator.check_errors)
    assert "self._coordinator.check_errors()" in inspect.getsource(aiokafka.AIOKafkaConsumer.getmany)
    assert isinstance(SubscriptionState.reassignment_in_progress, property)
    assignment = Assignment([aiokafka.TopicPartition("t", 0)])
    state = assignment.state_value(aiokafka.TopicPartition("t", 0))
    assert isinstance(state, TopicPartitionState)
    assert (state.highwater, state.timestamp, state.has_valid_position) == (None, None, False)
    state.seek(5)
    state.consumed_to(7)
    assert state.position == 7
    result = fetcher.FetchResult(
        aiokafka.TopicPartition("t", 0), assignment=assignment, partition_records=_fetched([], 7), backoff=0.1
    )
    assert result.check_assignment(aiokafka.TopicPartition("t", 0))
    assert result.has_more()
    assert result._assignment is assignment
    assert fetcher.FetchError(error=ValueError(), backoff=0)._error is not None
    assert asyncio.iscoroutinefunction(fetcher.Fetcher.fetched_records)


def test_sticky_assignor_keeps_state_in_its_class() -> None:
    mine = type("Sticky", (StickyPartitionAssignor,), {})
    assert mine.name == StickyPartitionAssignor.name


def test_unpack_skips_control_and_aborted_batches_and_starts_inside_a_batch() -> None:
    plain = _batch(10, [b"a", b"b", b"c"])
    aborted = _batch(13, [b"x"], producer=7, transactional=True)
    marker = _batch(14, [b""], producer=7, transactional=True, control=True)
    tail = _batch(15, [b"d"], producer=8, transactional=True)
    records, position = unpack(_fetched([plain, aborted, marker, tail], 11, aborted=[(7, 13)]))
    assert [(record.offset, record.value) for record in records] == [(11, b"b"), (12, b"c"), (15, b"d")]
    assert position == 16
    assert records[0].key == b"k"
    assert list(records[0].headers) == [("h", b"v")]


def test_unpack_agrees_with_aiokafka_and_takes_the_append_time() -> None:
    batch = _batch(3, [b"a", b"b"], append_time=1_234_567)
    ours, position = unpack(_fetched([batch], 3))
    theirs = list(_fetched([batch], 3))
    fields = ("offset", "timestamp", "key", "value")
    assert [[getattr(r, f) for f in fields] for r in ours] == [[getattr(r, f) for f in fields] for r in theirs]
    assert {record.timestamp for record in ours} == {1_234_567}
    assert position == 5


def test_a_batch_takes_one_record_that_is_larger_than_itself() -> None:
    builder = BatchBuilder(1_000, 0, is_transactional=True)
    assert builder.append(timestamp=None, key=b"k", value=bytes(5_000), headers=[]) is not None
    assert builder.append(timestamp=None, key=b"k", value=b"", headers=[]) is None


@pytest.mark.parametrize("transactional", [True, False])
def test_our_batches_are_read_as_any_other(transactional: bool) -> None:
    messages = [(b"k%d" % n, None if n % 7 == 0 else bytes(n), [("h", b"v")] if n % 3 else []) for n in range(2_000)]
    messages[5] = (b"large", b"x" * 1_500_000, [])
    sizes, found = [], []
    for batch in batches(iter(messages), transactional=transactional):
        batch._set_producer_state(7, 1, len(found))  # as the sender does
        sizes.append(batch.size())
        (read,) = _whole(bytes(batch._build()))
        records = list(read)
        assert len(records) == batch.record_count()
        assert (read.compression_type, read.is_transactional) == (read.CODEC_ZSTD, transactional)
        assert (read.producer_id, read.producer_epoch, read.base_sequence) == (7, 1, len(found))
        assert read.last_offset_delta == len(records) - 1
        assert batch._build() is batch._build(), "a retry sends the same bytes"
        found += [(record.key, record.value, list(record.headers)) for record in records]
    assert found == messages
    assert [size > BATCH_BYTES for size in sizes] == [False, True, False, False]


def _whole(buffer: bytes) -> Iterator[Any]:
    records = MemoryRecords(buffer)
    while records.has_next():
        batch = records.next_batch()
        assert batch.validate_crc()
        yield batch


def _batch(
    base: int,
    values: list[bytes],
    *,
    producer: int = -1,
    transactional: bool = False,
    control: bool = False,
    append_time: int | None = None,
) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=transactional, producer_id=producer, producer_epoch=0,
        base_sequence=0, batch_size=1 << 20,
    )  # fmt: skip
    for index, value in enumerate(values):
        # an abort marker is a control record with key (version 0, type 0)
        builder.append(index, 1_000, b"\0\0\0\0" if control else b"k", value, [("h", b"v")])
    raw = bytearray(builder.build())
    raw[0:8] = base.to_bytes(8, "big")
    attributes = int.from_bytes(raw[21:23], "big") | (0x20 if control else 0) | (0x08 if append_time else 0)
    raw[21:23] = attributes.to_bytes(2, "big")
    if append_time:
        raw[35:43] = append_time.to_bytes(8, "big")
    assert DefaultRecordBatch(bytes(raw)).base_offset == base
    return bytes(raw)


def _fetched(
    batches: list[bytes], position: int, aborted: list[tuple[int, int]] | None = None
) -> fetcher.PartitionRecords:
    records = MemoryRecords(b"".join(batches))
    tp = aiokafka.TopicPartition("t", 0)
    return fetcher.PartitionRecords(tp, records, aborted, position, None, None, False, fetcher.READ_COMMITTED)
