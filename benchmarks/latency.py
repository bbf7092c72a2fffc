"""From the append of the record that reveals a deadline to the trigger in the hands of a read_committed consumer.

A worker runs in a process of its own. History is played through Kafka, an event-time hour each half second: every hour
some users are due, revealed by the hour's tick or an event, while others bring the rate of events.
"""

import random
import threading
import time
from itertools import count
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benchmarks.measure import Figures, Job, start
from benchmarks.workload import PARTITIONS, Publisher, event_of, make_topics, policy_of, users
from pipeline.units import DAY, HOUR
from schemas.control import Domain, Tick

RATE = 5_000  # events/s
_START = 20_000 * DAY
_HOUR = 0.5  # s of real time
_DUE = 16  # users an event-time hour
_WARM = 10  # hours that are not counted


def latency(job: Job) -> Figures:
    """p50 and p99 in ms, over `size` seconds."""
    hours = int(job.size / _HOUR)
    make_topics(job.brokers, job.prefix)
    rng = random.Random(1)
    publisher = Publisher(job.brokers, job.prefix, linger_ms=5)
    publisher.control(Domain("played"))
    digest, body = policy_of(live=True)
    publisher.adopt(digest, body)
    silent = iter(users(_DUE * hours, seed=3))
    for hour in range(hours):
        publisher.control(Tick(_START + hour * HOUR))
        for _ in range(_DUE):
            user = next(silent)
            publisher.send(
                "users", user.partition, user.key, event_of(user.name, _START + hour * HOUR + rng.randrange(HOUR), rng)
            )
    publisher.control(Tick(_START + 30 * DAY))
    publisher.flush()

    worker = start("worker:forever", job)
    seen: list[tuple[int, int, float]] = []
    stop = threading.Event()
    listener = threading.Thread(target=_listen, args=(job, seen, stop))
    listener.start()
    try:
        _await_worker(job)
        _play(publisher, hours, rng)
        time.sleep(3)
    finally:
        stop.set()
        listener.join()
        worker.terminate()
        worker.communicate(timeout=30)
    assert worker.returncode == 0
    return _percentiles(job, seen)


def _play(publisher: Publisher, hours: int, rng: random.Random) -> None:
    others = users(100_000, seed=4)
    began = time.monotonic()
    per_slice, slices = 50, int(RATE * _HOUR) // 50
    for hour in range(hours):
        at = _START + 30 * DAY + hour * HOUR
        publisher.control(Tick(at))
        for part in range(slices):
            for _ in range(per_slice):
                user = others[int(rng.random() * len(others))]
                publisher.send("users", user.partition, user.key, event_of(user.name, at + HOUR * part // slices, rng))
            publisher.poll()
            ahead = began + (hour + (part + 1) / slices) * _HOUR - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
    publisher.flush()


def _listen(job: Job, seen: list[tuple[int, int, float]], stop: threading.Event) -> None:
    """Partition, offset of the revealing record and time of arrival (ms) of every trigger."""
    consumer = _consumer(job)
    consumer.assign([TopicPartition(job.prefix + "triggers", partition, 0) for partition in range(PARTITIONS)])
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            seen.append((message.partition() or 0, _revealing(message.headers()), time.time() * 1000))
    consumer.close()


def _revealing(headers: Any) -> int:
    return int(dict(headers)["rekindle-offset"])


def _consumer(job: Job) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": job.brokers,
            "group.id": f"{job.prefix}listener",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )


def _await_worker(job: Job) -> None:
    """Until the state topic says that every partition has been folded."""
    consumer = _consumer(job)
    state = [TopicPartition(job.prefix + "state", partition, 0) for partition in range(PARTITIONS)]
    for tries in count():
        ends = [consumer.get_watermark_offsets(tp, timeout=5)[1] for tp in state]
        if all(ends):
            break
        assert tries < 300, "the worker has not begun within 60 s"
        time.sleep(0.2)
    time.sleep(3)
    consumer.close()


def _percentiles(job: Job, seen: list[tuple[int, int, float]]) -> Figures:
    """Look up when each revealing record was appended."""
    first = min(offset for _, offset, _ in seen)
    appended: dict[tuple[int, int], int] = {}
    wanted = {(partition, offset) for partition, offset, _ in seen}
    consumer = _consumer(job)
    ends = {}
    for partition in range(PARTITIONS):
        ends[partition] = consumer.get_watermark_offsets(TopicPartition(job.prefix + "users", partition), timeout=5)[1]
    consumer.assign([TopicPartition(job.prefix + "users", partition, first) for partition in range(PARTITIONS)])
    while len(appended) < len(wanted):
        for message in consumer.consume(10_000, timeout=1.0):
            where = message.partition(), message.offset()
            if where in wanted:
                appended[where] = message.timestamp()[1]
    consumer.close()
    begin = min(appended.values()) + int(_WARM * _HOUR * 1000)
    delays = sorted(
        at - appended[partition, offset] for partition, offset, at in seen if appended[partition, offset] >= begin
    )
    assert len(delays) > 100, f"only {len(delays)} triggers"
    return {"p50": delays[len(delays) // 2], "p99": delays[int(len(delays) * 0.99)], "triggers": len(delays)}
