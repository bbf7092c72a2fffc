"""The worker as it runs in production: on a log to its end, and from its changelog after a restart."""

import asyncio
import signal
from time import monotonic
from typing import Any

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from agents.app import run
from agents.kafka.connection import client_options
from agents.kafka.store import read_table, reader
from agents.metrics import Metrics
from agents.observe import Committed
from agents.settings import Settings, load_settings
from benchmarks.measure import Figures, Job, cpu, rss
from benchmarks.workload import PARTITIONS
from pipeline.position import Position, decode_position


def settings_of(job: Job, *, tick_after: float = 3600.0) -> Settings:
    """A worker's settings; ticks of its own would only come after the log's end."""
    return load_settings(
        brokers=job.brokers, topic_prefix=job.prefix, tick_after=tick_after, log_level="error", metrics_port=0
    )


class _UntilCommitted(Metrics):
    """The worker's metrics, and its end: when every partition is committed up to where it ended at the start."""

    def __init__(self, ends: dict[int, int]) -> None:
        super().__init__(CollectorRegistry())
        self._awaited = ends
        self.cpu = 0.0

    def committed(self, commit: Committed) -> None:
        super().committed(commit)
        if commit.offset >= self._awaited.get(commit.partition, commit.offset + 1):
            del self._awaited[commit.partition]
            if not self._awaited:
                self.cpu = cpu()
                signal.raise_signal(signal.SIGTERM)


async def _ends(settings: Settings) -> dict[int, int]:
    async with reader(client_options(settings)) as consumer:
        ends = {}
        topic = settings.topic("users")
        for tp, end in (await consumer.end_offsets([TopicPartition(topic, p) for p in range(PARTITIONS)])).items():
            ends[tp.partition] = end
        return ends


async def _check(settings: Settings, ends: dict[int, int], events: int) -> None:
    """Everything was folded: by the positions in the state topic, every event was read once and applied."""
    read = applied = 0
    async with reader(client_options(settings)) as consumer:
        for partition, end in ends.items():
            rows: dict[bytes, bytes] = {}
            position = Position()
            # A broker answers a commit before it has written the markers that make it visible.
            deadline = monotonic() + 10
            while position.offset < end and monotonic() < deadline:
                await read_table(consumer, settings.topic("state"), partition, rows)
                position = decode_position(rows[b"p"]) if b"p" in rows else position
            assert position.offset == end, f"partition {partition} was folded to {position.offset} of {end}"
            read += position.counts.read
            applied += position.counts.applied
    assert read == applied == events, f"{events} events, {read} read, {applied} applied"


def worker(job: Job) -> Figures:
    """CPU per event from an empty state until all is committed, joining the group included."""
    settings = settings_of(job)
    ends = asyncio.run(_ends(settings))
    observer = _UntilCommitted(dict(ends))
    began = cpu()
    code = run(settings, observer=observer)
    assert code == 0, f"the worker ended with code {code}"
    asyncio.run(_check(settings, ends, job.events))
    return {"us": (observer.cpu - began) / job.events * 1e6}


class _UntilLoaded(Metrics):
    """The worker's metrics, and its end: a second after every partition has loaded its state."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        self._loaded = 0
        self.cpu = 0.0
        self.rss = 0

    def assigned(self, partition: int, *, seconds: float, rows: int, lag: int, core: Any) -> None:
        super().assigned(partition, seconds=seconds, rows=rows, lag=lag, core=core)
        self._loaded += 1
        if self._loaded == PARTITIONS:
            self.cpu = cpu()
            asyncio.get_running_loop().call_later(1.0, self._settled)

    def _settled(self) -> None:
        self.rss = rss()
        signal.raise_signal(signal.SIGTERM)


def recover(job: Job) -> Figures:
    """Users per second of CPU from the start of a worker until every partition has loaded its changelog, and the
    process memory that each user takes then. `size` is the number of users.
    """
    settings = settings_of(job)
    observer = _UntilLoaded()
    before, began = rss(), cpu()
    code = run(settings, observer=observer)
    assert code == 0, f"the worker ended with code {code}"
    return {"users_s": job.size / (observer.cpu - began), "bytes": (observer.rss - before) / job.size}


def forever(job: Job) -> Figures:
    """A worker until SIGTERM, for others to measure."""
    raise SystemExit(run(settings_of(job)))
