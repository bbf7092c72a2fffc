"""Each safety rule of the transport by one small thing done to a real Kafka. `tests/mutants` takes the rules away."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import confluent_kafka
import pytest
from aiokafka import AIOKafkaProducer

from agents.app import serve
from agents.exits import Exit, Refusal
from agents.failpoints import Failpoints
from agents.kafka.admin import admin_client, create_topics, plan
from agents.kafka.owner import Chunk, Owner, Phase, Terms
from agents.kafka.store import Registry, read_table, reader
from agents.kafka.transactions import Message, Transactions
from agents.local import LocalKafka
from agents.observe import ChunkFolded, Committed, Silent
from agents.settings import load_settings
from pipeline.records import LogRecord, MissingBody
from tests.integration.counting import CountingCore
from tests.waiting import PATIENCE


class Deployment:
    """Topics of one partition under a prefix, and owners of it without a consumer group."""

    def __init__(self, brokers: str, prefix: str) -> None:
        self.brokers, self.prefix = brokers, prefix
        self.options = {"bootstrap_servers": [brokers]}
        self.failures: list[BaseException] = []
        self.before_restore: Any = lambda: None
        create_topics(self.options, plan(prefix, 1))

    def owner(self) -> Owner:
        async def seek(*_: int) -> bool:
            return True

        async def announce_gap(*_: int) -> None:
            pass

        def core(number: int) -> CountingCore:
            self.before_restore()
            return CountingCore(number, 1, {})

        terms = Terms(
            options=self.options,
            app_id="app",
            topic=lambda name: self.prefix + name,
            commit_interval=0.02,
            transaction_timeout=5.0,
            accept_gap=False,
            registry=Registry(self.options, self.prefix + "registry"),
            make_core=core,
            missing_body=MissingBody,
            observer=Silent(),
            failpoint=Failpoints(),
            seek=seek,
            announce_gap=announce_gap,
            lost=lambda _: None,
            fail=self.failures.append,
        )
        return Owner(0, terms)

    @asynccontextmanager
    async def owned(self) -> AsyncIterator[Owner]:
        owner = self.owner()
        owner.start()
        await self.until(lambda: owner.phase is Phase.READY)
        yield owner
        await owner.drop("shutdown")

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                assert not self.failures, self.failures
                await asyncio.sleep(0.01)

    async def send(self, count: int) -> list[LogRecord]:
        producer = AIOKafkaProducer(bootstrap_servers=self.brokers)
        await producer.start()
        sent = [await producer.send_and_wait(self.prefix + "users", b"x", b"ann", partition=0) for _ in range(count)]
        await producer.stop()
        return [LogRecord(record.offset, record.timestamp, b"ann", b"x") for record in sent]

    async def table(self, topic: str) -> dict[bytes, bytes]:
        table: dict[bytes, bytes] = {}
        async with reader(self.options) as consumer:
            await read_table(consumer, self.prefix + topic, 0, table)
        return table

    def transactional(self, identity: str) -> confluent_kafka.Producer:
        """A producer of another make, which needs no event loop; initialised."""
        options = {"bootstrap.servers": self.brokers, "transactional.id": identity, "transaction.timeout.ms": 20_000}
        producer = confluent_kafka.Producer(options)
        producer.init_transactions(10)
        return producer


pytestmark = pytest.mark.no_oracle("the core counts, and `ShellLog.differences` is its oracle")


@pytest.fixture
def deployment(kafka: LocalKafka, prefix: str) -> Deployment:
    return Deployment(kafka.bootstrap, prefix)


async def test_once_the_state_is_being_read_the_former_owner_writes_no_more(deployment: Deployment) -> None:
    state = deployment.prefix + "state"
    former = await asyncio.to_thread(deployment.transactional, f"app-{deployment.prefix}users-0")
    former.begin_transaction()
    former.produce(state, b"\0" * 12, b"uann", 0)
    former.flush(10)
    ended: list[str] = []

    def commit() -> None:
        try:
            former.commit_transaction(10)
        except confluent_kafka.KafkaException:
            ended.append("fenced")
        else:
            ended.append("committed behind the reader's back")

    deployment.before_restore = commit
    async with deployment.owned():
        assert ended == ["fenced"]
    assert await deployment.table("state") == {}


async def test_a_commit_carries_rows_triggers_and_the_place_in_the_log(deployment: Deployment) -> None:
    records = await deployment.send(10)
    async with deployment.owned() as owner:
        owner.take(Chunk(0, owner.epoch, owner.position, 10, 10, records))
        await deployment.until(lambda: owner.committed == 10)
    state = await deployment.table("state")
    assert state.keys() == {b"uann", b"p"}
    assert await deployment.table("triggers") == {b"ann": b"ann/10"}
    async with deployment.owned() as owner:
        assert owner.core is not None
        assert (owner.core.offset, owner.position) == (10, 10)


async def test_a_batch_that_failed_fails_the_commit(deployment: Deployment) -> None:
    small, state = deployment.prefix + "small", deployment.prefix + "state"
    with admin_client(deployment.options) as admin:
        admin.create_topics({small: {"num_partitions": 1, "configs": {"max.message.bytes": "1000"}}})
        admin.wait_for_topics([small], timeout_ms=int(PATIENCE * 1000))
    transactions = Transactions(deployment.options, f"{deployment.prefix}x", timeout=5)
    await transactions.open()
    outputs: dict[str, list[Message]] = {small: [(b"k", os.urandom(5_000), [])]}
    with pytest.raises(Refusal) as refusal:
        await transactions.commit(0, (state, [(b"ua", b"1")]), outputs, lambda _: None)
    assert refusal.value.code is Exit.SEND
    await transactions.close()
    assert await deployment.table("state") == {}


async def test_the_loader_reads_to_the_end_and_only_what_was_committed(deployment: Deployment) -> None:
    state = deployment.prefix + "state"
    producer = await asyncio.to_thread(deployment.transactional, f"{deployment.prefix}y")
    for value in (b"aborted", b"committed"):
        producer.begin_transaction()
        producer.produce(state, value, b"u" + value, 0)
        producer.flush(10)
        if value == b"aborted":
            await asyncio.to_thread(producer.abort_transaction, PATIENCE)
    loading = asyncio.create_task(deployment.table("state"))
    await asyncio.sleep(1.0)
    assert not loading.done(), "an open transaction hides the end"
    await asyncio.to_thread(producer.commit_transaction, PATIENCE)
    assert await asyncio.wait_for(loading, PATIENCE) == {b"ucommitted": b"committed"}


class Noted(Silent):
    """Hears what was folded and committed."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.folded_to = self.committed_to = -1

    def assigned(self, partition: int, **_: Any) -> None:  # noqa: ARG002
        """See Observer."""
        self.ready.set()

    def folded(self, chunk: ChunkFolded) -> None:
        """See Observer."""
        self.folded_to = chunk.position

    def committed(self, commit: Committed) -> None:
        """See Observer."""
        self.committed_to = commit.offset


@asynccontextmanager
async def working(deployment: Deployment, **settings: Any) -> AsyncIterator[Noted]:
    """A whole worker on this loop."""
    noted, stop = Noted(), asyncio.Event()
    names = {"brokers": deployment.brokers, "topic_prefix": deployment.prefix, "app_id": "app"}
    worker = asyncio.create_task(
        serve(load_settings(**names, **settings), stop, observer=noted, make_core=CountingCore)
    )
    await asyncio.wait_for(noted.ready.wait(), PATIENCE)
    yield noted
    stop.set()
    await asyncio.wait_for(worker, PATIENCE)


async def test_an_aborted_record_is_not_folded(deployment: Deployment) -> None:
    users = deployment.prefix + "users"
    producer = await asyncio.to_thread(deployment.transactional, f"{deployment.prefix}z")
    for value, end in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(users, value, value, 0)
        producer.flush(10)
        await asyncio.to_thread(end, PATIENCE)
    await deployment.send(1)
    async with working(deployment) as noted:
        await deployment.until(lambda: noted.committed_to >= 5)
    assert (await deployment.table("state")).keys() == {b"ucommitted", b"uann", b"p"}


async def test_what_was_folded_is_committed_at_the_end(deployment: Deployment) -> None:
    async with working(deployment, commit_interval=5.0) as noted:
        await deployment.send(1)
        await deployment.until(lambda: noted.committed_to == 1)
        await deployment.send(1)
        await deployment.until(lambda: noted.folded_to == 2)
    assert noted.committed_to == 2
