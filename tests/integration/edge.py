"""What the tests of ingest, relay and the example consumer share: the command line as processes, and whole topics."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from click.testing import CliRunner, Result
from kafka.admin import KafkaAdminClient

from agents.cli import main
from agents.evidence import gather, position_of
from agents.kafka.publish import publish_control
from agents.process import spawn_bound
from agents.settings import load_settings
from schemas.control import AnyControl
from schemas.partitioner import partition_of
from tests.builders import at, event, fold, history, tick
from tests.waiting import PATIENCE, SESSION

ROOT = Path(__file__).resolve().parents[2]

TEMPLATE = fold(history(event(at(0), "ann"), tick(at(31)))).triggers[0]
"""A real trigger of the core."""

Record = tuple[bytes | None, bytes | None]


class Deployment:
    """The command line of one deployment, in this process and as processes of its own."""

    def __init__(self, brokers: str, prefix: str, folder: Path) -> None:
        self.brokers = brokers
        self.prefix = prefix
        self.folder = folder
        self.options = ["--brokers", brokers, "--prefix", prefix]
        self.settings = load_settings(brokers=brokers, topic_prefix=prefix)
        self.environment = os.environ | {
            "REKINDLE_METRICS_PORT": "0",
            "REKINDLE_SESSION_TIMEOUT": str(SESSION),
            "PYTHONPATH": str(ROOT),
        }

    def __call__(self, *words: str | Path, code: int = 0, text: str | None = None) -> Result:
        """Run a command in this process and check its exit code."""
        result = CliRunner().invoke(main, [*self.options, *map(str, words)], input=text)
        assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result

    def json(self, *words: str | Path, code: int = 0) -> Any:
        """A command's JSON document."""
        return json.loads(self(*words, "--json", code=code).stdout)

    def start(self, *words: str | Path) -> "subprocess.Popen[bytes]":
        """A command as a process, which ends with this one; what it says is in `said`."""
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            return spawn_bound(
                [sys.executable, "-m", "agents.cli", *self.options, *words],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def run(self, *words: str | Path, timeout: float = PATIENCE) -> int:
        """A command as a process, to its end."""
        return self.start(*words).wait(timeout)

    def said(self, command: str) -> str:
        """Everything that processes of this command wrote."""
        return (self.folder / f"{command}.log").read_text(errors="replace")

    def make_topic(self, name: str, partitions: int, **settings: str) -> None:
        """A topic of somebody else."""
        admin = KafkaAdminClient(bootstrap_servers=self.brokers)
        wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": settings}
        admin.create_topics({name: wanted})
        admin.wait_for_topics([name], timeout_ms=int(PATIENCE * 1000))
        admin.close()

    def write(
        self, topic: str, records: Iterable[Record], *, partition: int | None = None, transaction: str | None = None
    ) -> None:
        """Append records."""

        async def send() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.brokers, linger_ms=5, transactional_id=transaction)
            await producer.start()
            if transaction:
                await producer.begin_transaction()
            sent = [await producer.send(topic, value, key, partition=partition) for key, value in records]
            await asyncio.gather(*sent)
            if transaction:
                await producer.commit_transaction()
            await producer.stop()

        asyncio.run(send())

    def read(self, topic: str) -> list[Any]:
        """All committed records of a topic, by partition."""

        async def fetch() -> list[Any]:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.brokers,
                group_id=None,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
            )
            await consumer.start()
            found = []
            for number in await _partitions(consumer, topic):
                tp = TopicPartition(topic, number)
                consumer.assign([tp])
                end = (await consumer.end_offsets([tp]))[tp]
                await consumer.seek_to_beginning(tp)
                while await consumer.position(tp) < end:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        found += records
            await consumer.stop()
            return found

        return asyncio.run(fetch())

    def say(self, *messages: AnyControl) -> None:
        """Control messages to every partition."""
        for message in messages:
            asyncio.run(publish_control(self.settings, message))

    def counts(self) -> dict[str, int]:
        """What the workers have counted: applied, duplicate, rejected .., over all partitions."""
        evidence = asyncio.run(gather(self.settings))
        found = [msgspec.to_builtins(position_of(rows).counts) for rows in evidence.state.values()]
        return {name: sum(counts[name] for counts in found) for name in found[0]}

    def events(self) -> list[dict[str, Any]]:
        """Bodies of the user topic, without control messages."""
        records = self.read(self.settings.topic("users"))
        return [json.loads(record.value) for record in records if record.key != b"rekindle.control"]

    def publish(self, count: int, *, users: int = 50, start: int = 0, seconds: float = 3600) -> list[str]:
        """Triggers as the worker writes them, in a transaction for each partition; their ids."""
        expires = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        by_partition: dict[int, list[tuple[bytes, bytes]]] = {}
        ids = []
        for n in range(start, start + count):
            user = f"user-{n % users}"
            body = TEMPLATE | {"id": f"t{n}", "subject": user, "data": TEMPLATE["data"] | {"expires_at": expires}}
            key = user.encode()
            by_partition.setdefault(partition_of(key, 4), []).append((key, json.dumps(body).encode()))
            ids.append(f"t{n}")
        for partition, records in by_partition.items():
            self.write(self.settings.topic("triggers"), records, partition=partition, transaction=f"w{partition}")
        return ids

    def told(self) -> Counter[tuple[str, str]]:
        """Feedback in the user topic: (trigger, event) -> how often."""
        found = [e for e in self.events() if "trigger_id" in e.get("properties", {})]
        return Counter((e["properties"]["trigger_id"], e["event"]) for e in found)


async def _partitions(consumer: Any, topic: str) -> Sequence[int]:
    await consumer._client.force_metadata_update()
    consumer.subscribe([topic])
    for _ in range(50):
        if found := consumer.partitions_for_topic(topic):
            consumer.unsubscribe()
            return sorted(found)
        await consumer.topics()
        await asyncio.sleep(0.1)
    raise AssertionError(topic)
