"""A set of topics for one test of the shell: what goes in, what came out, and whether that is what had to come out."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.app import MakeCore, serve
from agents.exits import Exit
from agents.kafka.admin import create_topics, plan
from agents.observe import ChunkFolded, Committed, Silent
from agents.process import spawn_bound
from agents.settings import Settings
from tests.integration.counting import CountingCore, expected
from tests.waiting import PATIENCE, SESSION

ROOT = Path(__file__).resolve().parents[2]


class Notes(Silent):
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.ready: set[int] = set()
        self.left: list[tuple[int, str]] = []
        self.chunks: list[ChunkFolded] = []
        self.commits: list[Committed] = []
        self.ticks: list[int] = []
        self.rereads: list[int] = []
        self.seen: dict[int, tuple[int, int]] = {}

    def assigned(self, partition: int, **_: Any) -> None:
        self.ready.add(partition)

    def revoked(self, partition: int, *, reason: str) -> None:
        self.ready.discard(partition)
        self.left.append((partition, reason))

    def folded(self, chunk: ChunkFolded) -> None:
        self.chunks.append(chunk)

    def progress(self, partition: int, *, position: int, highwater: int) -> None:
        self.seen[partition] = (position, highwater)

    def committed(self, commit: Committed) -> None:
        self.commits.append(commit)

    def ticked(self, partition: int) -> None:
        self.ticks.append(partition)

    def reread(self, partition: int) -> None:
        self.rereads.append(partition)


@dataclass
class Differences:
    """All zero: exactly once."""

    behind: int = 0
    state_errors: int = 0
    lost: int = 0
    wrong: int = 0
    duplicate: int = 0


class ShellLog:
    """Topics under a prefix of their own, on a running broker."""

    def __init__(self, bootstrap: str, prefix: str, partitions: int = 4) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.partitions = partitions
        create_topics({"bootstrap_servers": bootstrap}, plan(prefix, partitions))

    def settings(self, **changes: Any) -> Settings:
        own = {"brokers": self.bootstrap, "topic_prefix": self.prefix, "app_id": self.prefix.rstrip(".")}
        return Settings(**{**own, "session_timeout": SESSION, **changes})

    @asynccontextmanager
    async def worker(
        self,
        notes: Notes | None = None,
        *,
        make_core: MakeCore | None = CountingCore,
        ready: int | None = None,
        **changes: Any,
    ) -> AsyncIterator[Notes]:
        """A worker on this loop, with `ready` partitions (all of them) loaded; stopped in order at the end."""
        notes, stop = notes or Notes(), asyncio.Event()
        task = asyncio.create_task(serve(self.settings(**changes), stop, observer=notes, make_core=make_core))
        try:
            wanted = self.partitions if ready is None else ready
            await until(lambda: task.done() or len(notes.ready) >= wanted, "the worker has its partitions")
            if task.done():
                task.result()
            yield notes
        finally:
            stop.set()
            await asyncio.wait_for(task, PATIENCE)

    def process(self, **variables: str) -> "Process":
        """A worker with the counting core as a process of its own, which ends with this one."""
        environment = {
            "PATH": os.environ["PATH"],
            "REKINDLE_BROKERS": self.bootstrap,
            "REKINDLE_TOPIC_PREFIX": self.prefix,
            "REKINDLE_APP_ID": self.prefix.rstrip("."),
            "REKINDLE_SESSION_TIMEOUT": str(SESSION),
            **{f"REKINDLE_{name.upper()}": value for name, value in variables.items()},
        }
        said = tempfile.TemporaryFile()  # noqa: SIM115 closed with the process
        command = [sys.executable, "-m", "tests.integration.counting"]
        return Process(spawn_bound(command, cwd=ROOT, env=environment, stderr=said), said)

    @asynccontextmanager
    async def producer(self, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=5, **options)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def send(self, events: Iterable[tuple[bytes, bytes]], *, rate: float | None = None) -> None:
        """Keys and values to the user topic, at `rate` per second."""
        async with self.producer() as producer:
            began = monotonic()
            for index, (key, value) in enumerate(events):
                await producer.send(self.prefix + "users", value, key)
                if rate and index % 20 == 0:
                    await asyncio.sleep(max(0.0, began + index / rate - monotonic()))
            await producer.flush()

    async def read(self, topic: str, partition: int) -> list[Any]:
        """All committed records of a partition, up to its end."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed",
            enable_auto_commit=False, fetch_max_wait_ms=50,
        )  # fmt: skip
        await consumer.start()
        try:
            tp = TopicPartition(self.prefix + topic, partition)
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            records: list[Any] = []
            while await consumer.position(tp) < end:
                records += (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
            return records
        finally:
            await consumer.stop()

    async def differences(self) -> Differences:
        """What the topics hold, against one fold of the whole source."""
        found = Differences()
        for partition in range(self.partitions):
            source = await self.read("users", partition)
            table = {record.key: record.value for record in await self.read("state", partition)}
            position = json.loads(table.pop(b"p", b'{"offset": 0}'))
            rows = {key[1:]: row for key, row in table.items()}
            right_rows, right = expected(source)
            sent = [record.value for record in await self.read("triggers", partition)]
            found.behind += (source[-1].offset + 1 if source else 0) - position["offset"]
            found.state_errors += sum(rows.get(key) != right_rows.get(key) for key in rows.keys() | right_rows.keys())
            found.lost += len(set(right) - set(sent))
            found.wrong += len(set(sent) - set(right))
            found.duplicate += len(sent) - len(set(sent))
        return found

    async def settled(self, patience: float = PATIENCE) -> Differences:
        """The differences when every worker has caught up, or after `patience` seconds."""
        deadline = monotonic() + patience
        while True:
            found = await self.differences()
            if not found.behind or monotonic() > deadline:
                return found
            await asyncio.sleep(0.3)


async def until(true: Any, what: str, patience: float = PATIENCE) -> None:
    """Wait for a condition."""
    deadline = monotonic() + patience
    while not true():
        assert monotonic() < deadline, f"not within {patience} s: {what}"
        await asyncio.sleep(0.02)


@dataclass
class Process:
    """A worker process and what it writes to stderr."""

    popen: subprocess.Popen[Any]
    stderr: IO[bytes]

    @property
    def said(self) -> str:
        self.stderr.seek(0)
        return self.stderr.read().decode()

    async def ready(self, partitions: int = 1) -> None:
        """Wait until so many partitions have been loaded."""
        await until(lambda: self.said.count("partition_ready") >= partitions, "the process has its partitions")

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    async def end(self, patience: float = PATIENCE) -> tuple[int, str]:
        """Exit code and stderr, of a process that ends by itself or was told to."""
        await until(lambda: self.popen.poll() is not None, "the process ends", patience)
        return self.popen.returncode, self.said


def said(code: int, stderr: str, exit_code: Exit, *words: str) -> None:
    """Assert a refusal: its code, and one readable line with these words among what was logged."""
    assert code == exit_code, stderr
    [line] = [line for line in stderr.splitlines() if line.startswith("rekindle: ")]
    for word in words:
        assert word in line


def events(count: int, users: int = 200, *, tag: str = "") -> Iterable[tuple[bytes, bytes]]:
    """Keys and values, spread over users in no obvious order, each value once."""
    for index in range(count):
        yield b"user-%d" % (index * 7919 % users), f"{tag}{index}".encode()
