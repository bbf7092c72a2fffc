"""Chunks, transactions, positions: the shell on a real Kafka, with a core that counts."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from itertools import pairwise, takewhile
from time import monotonic

import pytest
from aiokafka.errors import ProducerFenced
from kafka import TopicPartition

from agents.exits import Exit, Refusal
from agents.failpoints import POINTS
from agents.kafka.admin import admin_client, create_topics, plan
from agents.kafka.connection import client_options
from agents.kafka.transactions import Fenced, Transactions
from agents.local import LocalKafka
from agents.process import free_port
from tests.integration.counting import NEEDS, SWEEP
from tests.integration.shell_log import Differences, Notes, ShellLog, events, said, until
from tests.waiting import BROKER_SETTINGS, SESSION, SOON

EXACTLY_ONCE = Differences()

pytestmark = pytest.mark.no_oracle("the core counts, and `ShellLog.differences` is its oracle")


@pytest.fixture
def log(kafka: LocalKafka, prefix: str) -> ShellLog:
    return ShellLog(kafka.bootstrap, prefix)


async def test_events_become_triggers_and_a_restart_changes_nothing(log: ShellLog) -> None:
    await log.send(events(3_000, tag="a"))
    async with log.worker() as notes:
        await log.send(events(1_000, tag="b"))
        assert await log.settled() == EXACTLY_ONCE
        commits = len(notes.commits)
    async with log.worker() as notes:
        await asyncio.sleep(0.5)
        assert not notes.commits, "nothing is written when nothing happens"
        await log.send(events(500, tag="c"))
        assert await log.settled() == EXACTLY_ONCE
    assert notes.left == [(n, "shutdown") for n in range(4)]
    assert commits >= 4
    assert not notes.rereads


async def test_one_event_is_visible_soon(log: ShellLog) -> None:
    async with log.worker() as notes:
        for _ in range(12):
            await log.send(events(1))
            await asyncio.sleep(0.3)
        await until(lambda: len(notes.commits) >= 12, "all are committed")
    delays = sorted(commit.visible_ms or 0.0 for commit in notes.commits)
    assert delays[len(delays) // 2] < 900, delays


async def test_a_worker_joins_and_leaves(log: ShellLog) -> None:
    sending = asyncio.create_task(log.send(events(8_000, 500), rate=1_000))
    async with log.worker() as first:
        await asyncio.sleep(1)
        async with log.worker(ready=2) as second:
            await until(lambda: len(first.ready) == 2, "both have half")
            await asyncio.sleep(1.5)
        await until(lambda: len(first.ready) == 4, "the first has all again")
        await sending
        assert await log.settled() == EXACTLY_ONCE
    assert second.commits
    kept = {n for n, _ in first.left[:2]}
    assert len(kept) == 2, "only what moved was dropped; the rest kept its state"


@pytest.mark.faults
async def test_kill_9_at_every_failpoint_and_at_random(log: ShellLog) -> None:
    over = asyncio.Event()
    sending = asyncio.create_task(log.send(takewhile(lambda _: not over.is_set(), events(10**6, 500)), rate=700))
    steady = log.process()
    for round_, point in enumerate([*[p for p in POINTS if p != "in_sweep"], None]):
        victim = log.process(**({"failpoint": f"{point}:{4 + round_}"} if point else {}))
        await asyncio.sleep(4.0 if point is None else 0)
        if point is None:
            victim.signal(signal.SIGKILL)
        code, stderr = await victim.end()
        assert code == -signal.SIGKILL, (point, stderr)
    over.set()
    await sending
    assert await log.settled() == EXACTLY_ONCE
    steady.signal(signal.SIGTERM)
    assert (await steady.end(SOON))[0] == 0


@pytest.mark.faults
async def test_kill_9_inside_a_sweep_of_100_000(log: ShellLog) -> None:
    await log.send((b"user-%d" % n, b"once") for n in range(100_000))
    async with log.worker():
        assert await log.settled() == EXACTLY_ONCE
    victim = log.process(failpoint="in_sweep:9")
    async with log.producer() as producer:
        for partition in range(4):
            await producer.send_and_wait(log.prefix + "users", b"now", SWEEP, partition=partition)
    await log.send(events(2_000, 100_000))
    assert (await victim.end())[0] == -signal.SIGKILL
    async with log.worker():
        assert await log.settled() == EXACTLY_ONCE


@pytest.mark.faults
async def test_a_zombie_is_fenced_and_comes_back(log: ShellLog) -> None:
    sending = asyncio.create_task(log.send(events(6_000, 500), rate=600))
    zombie, steady = log.process(), log.process()
    await asyncio.sleep(4)
    zombie.signal(signal.SIGSTOP)
    await asyncio.sleep(2 * SESSION)
    zombie.signal(signal.SIGCONT)
    await sending
    assert await log.settled() == EXACTLY_ONCE
    for worker in (zombie, steady):
        worker.signal(signal.SIGTERM)
        assert (await worker.end(SOON))[0] in (Exit.OK, Exit.FENCED)


@pytest.mark.faults
async def test_fenced_by_a_stranger_it_ends_for_its_supervisor(log: ShellLog) -> None:
    worker = log.process()
    await worker.ready(4)
    stranger = Transactions(client_options(log.settings()), f"{log.settings().app_id}-{log.prefix}users-2", timeout=10)
    await stranger.open()
    await log.send(events(1_000))
    code, stderr = await worker.end()
    said(code, stderr, Exit.FENCED, "partition 2 was fenced", "app_id")
    await stranger.close()
    async with log.worker():
        assert await log.settled() == EXACTLY_ONCE


async def test_sigterm_drains_and_ends_with_0(log: ShellLog) -> None:
    worker = log.process()
    sending = asyncio.create_task(log.send(events(6_000), rate=2_000))
    await asyncio.sleep(3.5)
    began = monotonic()
    worker.signal(signal.SIGTERM)
    code, stderr = await worker.end()
    assert code == 0, stderr
    assert monotonic() - began < SOON
    await sending
    async with log.worker():
        assert await log.settled() == EXACTLY_ONCE


async def test_a_publisher_that_dies_in_its_transaction_stalls_nothing_for_long(log: ShellLog) -> None:
    publisher = f"""
import asyncio, os
from aiokafka import AIOKafkaProducer
async def main():
    options = dict(transactional_id={log.prefix!r}, transaction_timeout_ms=3000)
    producer = AIOKafkaProducer(bootstrap_servers={log.bootstrap!r}, **options)
    await producer.start()
    for round_ in range(6):
        await producer.begin_transaction()
        for partition in range(4):
            await producer.send_and_wait({log.prefix + "users"!r}, b"%d" % round_, b"txn", partition=partition)
        if round_ == 5:
            os._exit(9)
        await (producer.abort_transaction() if round_ % 2 else producer.commit_transaction())
asyncio.run(main())
"""
    async with log.worker() as notes:
        process = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", publisher], check=False)
        assert process.returncode == 9
        await until(lambda: len(notes.seen) == 4, "positions are known")
        await asyncio.sleep(1.2)
        assert all(position < highwater for position, highwater in notes.seen.values()), "records hide behind it"
        await log.send(events(1_000))
        assert await log.settled() == EXACTLY_ONCE
        await until(lambda: all(p == h for p, h in notes.seen.values()), "caught up beyond the last marker")
    assert not notes.rereads, "a marker is no gap"


async def test_a_missing_body_is_waited_for(log: ShellLog) -> None:
    async with log.worker(), log.producer() as producer:
        await producer.send_and_wait(log.prefix + "users", b"policy/x", NEEDS, partition=1)
        await producer.send_and_wait(log.prefix + "users", b"after", b"user-1", partition=1)
        await asyncio.sleep(1.5)
        assert (await log.differences()).behind == 2, "nothing behind it is folded"
        await producer.send_and_wait(log.prefix + "registry", b"body", b"policy/x")
        assert await log.settled() == EXACTLY_ONCE


@pytest.mark.faults
async def test_a_broker_restart_loses_nothing(broker_folder, prefix: str) -> None:  # noqa: ANN001
    with LocalKafka(broker_folder / "restarted", settings=BROKER_SETTINGS) as broker:
        log = ShellLog(broker.bootstrap, prefix)
        sending = asyncio.create_task(log.send(events(6_000, 500), rate=600))
        workers = [log.process(), log.process()]
        for worker in workers:
            await worker.ready()
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(2)
        await asyncio.to_thread(broker.start)
        codes = []
        for _ in range(8):  # a supervisor
            await asyncio.sleep(1)
            for index, worker in enumerate(workers):
                if worker.popen.poll() is not None:
                    codes.append((await worker.end())[0])
                    workers[index] = log.process()
        await sending
        assert await log.settled() == EXACTLY_ONCE
        assert set(codes) <= {Exit.NO_BROKER, Exit.FENCED, Exit.SEND}
        for worker in workers:
            worker.signal(signal.SIGTERM)
            await worker.end()


# ---- refusals


async def test_refuses_without_broker_or_topics(kafka: LocalKafka, log: ShellLog, prefix: str) -> None:
    nobody = log.process(brokers=f"127.0.0.1:{free_port()}")
    said(*await nobody.end(), Exit.NO_BROKER, "REKINDLE_BROKERS")
    nothing = log.process(topic_prefix="none" + prefix)
    said(*await nothing.end(), Exit.TOPICS, f"none of the topics under 'none{prefix}' exist: rekindle --brokers ")


async def test_refuses_a_topic_that_was_recreated(kafka: LocalKafka, log: ShellLog, prefix: str) -> None:
    await log.send(events(400))
    async with log.worker():
        assert await log.settled() == EXACTLY_ONCE
    await _recreate(log, "users")
    said(*await log.process().end(), Exit.RECREATED, "users", "it ends at 0")
    await log.send(events(4_000))  # grown past the old position
    said(*await log.process().end(), Exit.RECREATED, "users", "is not the one that was folded")


async def test_refuses_a_gap_until_it_is_accepted(kafka: LocalKafka, log: ShellLog) -> None:
    await log.send(events(400))
    async with log.worker():
        assert await log.settled() == EXACTLY_ONCE
    await log.send(events(400))
    users = log.prefix + "users"
    with admin_client({"bootstrap_servers": log.bootstrap}) as admin:
        admin.delete_records({TopicPartition(users, n): -1 for n in range(4)})
    said(*await log.process().end(), Exit.GAP, users, "--accept-gap")
    async with log.worker(accept_gap=True) as notes:
        await log.send(events(100))
        await until(lambda: sum(chunk.records for chunk in notes.chunks) >= 104, "the rest and four gap records")
    gaps = [record for n in range(4) for record in await log.read("users", n) if record.key == b"rekindle.control"]
    assert len(gaps) == 4
    assert sum(json.loads(gap.value)["end"] - json.loads(gap.value)["start"] for gap in gaps) == 400


# ---- transactions


async def test_the_younger_producer_fences_the_older(log: ShellLog) -> None:
    options = client_options(log.settings())
    older, younger = (Transactions(options, f"{log.prefix}x", timeout=10) for _ in range(2))
    await older.open()
    rows = [(b"ua", b"1"), (b"ub", None)]
    await older.commit(0, (log.prefix + "state", rows), {}, lambda _: None)
    await younger.open()
    with pytest.raises(Fenced) as fenced:
        await older.commit(0, (log.prefix + "state", [(b"ua", b"2")]), {}, lambda _: None)
    assert isinstance(fenced.value.__cause__, ProducerFenced)
    await younger.close()
    assert [(record.key, record.value) for record in await log.read("state", 0)] == rows


async def test_a_commit_larger_than_a_batch_and_a_record_larger_than_the_topic_allows(log: ShellLog) -> None:
    transactions = Transactions(client_options(log.settings()), f"{log.prefix}x", timeout=10)
    await transactions.open()
    rows = [(b"u%d" % n, os.urandom(10_000)) for n in range(400)] + [(b"ularge", os.urandom(1_500_000))]
    sent = [(b"k", os.urandom(2_000), [("h", b"v")]) for _ in range(1_500)]
    await transactions.commit(0, (log.prefix + "state", rows), {log.prefix + "triggers": sent}, lambda _: None)
    assert [(record.key, record.value) for record in await log.read("state", 0)] == rows
    triggers = await log.read("triggers", 0)
    assert [(record.value, record.headers) for record in triggers] == [(value, (("h", b"v"),)) for _, value, _ in sent]
    with pytest.raises(Refusal) as refusal:
        await transactions.commit(0, (log.prefix + "state", [(b"u", os.urandom(2_500_000))]), {}, lambda _: None)
    assert refusal.value.code is Exit.SEND
    await transactions.close()
    assert len(await log.read("state", 0)) == len(rows), "nothing of a failed commit is visible"


# ---- the real core


async def test_ticks_follow_the_last_event_and_are_read_back(log: ShellLog) -> None:
    event = (
        b'{"messageId":"m-%d","type":"track","event":"Product Viewed","userId":"%s","timestamp":"2020-01-01T00:00:00Z"}'
    )
    notes = Notes()
    async with log.worker(notes, make_core=None, tick_after=1.0):
        await log.send((b"user-%d" % n, event % (n, b"user-%d" % n)) for n in range(40))
        await until(lambda: len(notes.ticks) >= 8, "each partition ticks again")
    for partition in range(4):
        records = await log.read("users", partition)
        ticks = [record for record in records if record.key == b"rekindle.control"]
        assert len(ticks) >= 1
        assert all(json.loads(tick.value) == {"type": "tick"} for tick in ticks), "a live tick carries no time"
        gaps = [b.timestamp - a.timestamp for a, b in pairwise(ticks)]
        assert all(gap >= 900 for gap in gaps), gaps


async def _recreate(log: ShellLog, topic: str) -> None:
    with admin_client({"bootstrap_servers": log.bootstrap}) as admin:
        admin.delete_topics([log.prefix + topic])
    await asyncio.sleep(1)
    create_topics({"bootstrap_servers": log.bootstrap}, plan(log.prefix, log.partitions))
