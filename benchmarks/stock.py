"""A compacted changelog of many users: what a worker finds after a restart."""

import time
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from agents.erasure_key import erasure_key
from agents.settings import load_settings
from benchmarks.workload import EVENTS_PER_USER, PARTITIONS, Publisher, events, make_topics, policy_of, users
from pipeline.partition import Partition
from pipeline.play import control_record
from pipeline.records import LogRecord
from schemas.control import Adopt, Tick

_SAMPLE = 10_000  # users whose rows are folded; all others get copies of theirs


def sample_rows(end: int) -> list[bytes]:
    """Rows of users with ten events each in the two days before `end` (ms), as the core writes them."""
    digest, body = policy_of()
    partition = Partition(0, 1, {f"policy/{digest}": body})
    records = [
        LogRecord(offset, end, event.user.key, event.value)
        for offset, event in enumerate(events(_SAMPLE * EVENTS_PER_USER, end), start=1)
    ]
    for _ in partition.fold([control_record(Adopt(policy=digest), 0, end), *records]):
        partition.commit()
    partition.commit()
    return list(partition.rows.values())


def copies(rows: list[bytes], count: int) -> list[tuple[int, bytes, bytes]]:
    """Partition, key and row of `count` users with uuid ids; the rows take turns, each in memory of its own."""
    return [
        (user.partition, user.key, bytes(bytearray(rows[index % len(rows)])))
        for index, user in enumerate(users(count, seed=2))
    ]


def stock(brokers: str, prefix: str, count: int) -> None:
    """Topics in which a worker has folded an adoption and a tick, and has `count` users: one record each."""
    make_topics(brokers, prefix)
    publisher = Publisher(brokers, prefix, compression="zstd")
    digest, body = policy_of()
    secret = erasure_key(load_settings())  # the worker that finds the state has it
    publisher.adopt(digest, body)
    publisher.control(Tick())
    publisher.flush()
    for partition, key, row in copies(sample_rows(int(time.time() * 1000)), count):
        publisher.send("state", partition, b"u" + key, row)
    for partition, records in _log(brokers, prefix).items():
        core = Partition(partition, PARTITIONS, {f"policy/{digest}": body}, secret=secret)
        for _ in core.fold(records):
            pass
        for key, value in core.commit().changelog:
            assert value is not None
            publisher.send("state", partition, key, value)
    publisher.flush()


def _log(brokers: str, prefix: str) -> dict[int, list[LogRecord]]:
    """The two records of each partition of the user topic."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "stock", "enable.auto.commit": False})
    consumer.assign([TopicPartition(prefix + "users", partition, 0) for partition in range(PARTITIONS)])
    log: dict[int, list[LogRecord]] = {partition: [] for partition in range(PARTITIONS)}
    while any(len(records) < 2 for records in log.values()):
        message: Any
        for message in consumer.consume(100, timeout=1.0):
            log[message.partition()].append(
                LogRecord(
                    message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers() or []
                )
            )
    consumer.close()
    return log
