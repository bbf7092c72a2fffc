"""The views on a real Kafka and a real Redis: whatever happens to either, they show what the state topic holds."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest
from redis import Redis

from agents.exits import Exit, Refusal
from agents.kafka.admin import create_topics, delete_topics, plan
from agents.local import LocalKafka
from agents.local_redis import LocalRedis
from agents.process import spawn_bound
from agents.views.keys import root_of
from pipeline.activity import Activity
from pipeline.position import Position, encode_position
from pipeline.state import UserState, encode_row
from schemas.codec import rfc3339
from schemas.partitioner import partition_of
from tests.builders import at, event
from tests.integration.deployment import Deployment
from tests.integration.shell_log import ROOT, until

pytestmark = pytest.mark.faults


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[LocalRedis]:
    with LocalRedis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def deployment(kafka: LocalKafka, redis: LocalRedis, prefix: str) -> Deployment:
    return Deployment(kafka.bootstrap, prefix, redis.url)


async def test_the_views_are_the_state_and_a_restart_goes_on_from_its_position(deployment: Deployment) -> None:
    await deployment.begin()
    async with deployment.worker(make_core=None):
        async with deployment.views() as kept:
            await deployment.history(300, seed=1)
            await deployment.tick(31)
            await deployment.folded()
            await deployment.agrees()
            assert kept.metric("rebuilds_total") == 1
            await until(lambda: kept.metric("lag_records") == 0, "no lag")
        await deployment.history(300, seed=2, day=32)
        await deployment.tick(70)
        await deployment.folded()
        async with deployment.views() as kept:
            await deployment.agrees()
            assert kept.metric("rebuilds_total") == 0
            assert kept.metric("decisions_total") > 0


async def test_the_projector_is_killed_at_any_time(deployment: Deployment) -> None:
    await deployment.begin()
    command = [sys.executable, "-m", "agents.cli", "views"]
    environment = os.environ | deployment.environment
    async with deployment.worker(make_core=None):
        for round_ in range(4):
            process = spawn_bound(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
            await deployment.history(400, seed=round_, day=round_ * 35)
            await asyncio.sleep(1.5 + 0.4 * round_)  # in the first rebuild, between writes, or idle
            await deployment.tick(round_ * 35 + 34)
            process.kill()
            process.wait()
        await deployment.folded()
        async with deployment.views():
            await deployment.agrees()


async def test_redis_is_killed_emptied_and_frozen(deployment: Deployment, redis: LocalRedis) -> None:
    await deployment.begin()
    async with deployment.worker(make_core=None) as notes, deployment.views() as kept:
        await deployment.history(200, seed=1)
        await deployment.folded()
        await deployment.agrees()

        Redis.from_url(redis.url).save()  # it comes back with its data of now
        await deployment.history(200, seed=2, day=1)
        await deployment.folded()
        await deployment.agrees()
        redis.kill()
        commits = len(notes.commits)
        await deployment.history(200, seed=3, day=2)
        await deployment.tick(33)
        await deployment.folded()  # the worker does not care
        assert len(notes.commits) > commits
        assert await deployment.read("triggers", 0) + await deployment.read("triggers", 1)
        await until(lambda: kept.metric("redis_up") == 0, "it is noticed")
        redis.start()
        await deployment.agrees()
        assert kept.metric("rebuilds_total") == 1, "with its data it goes on from its position"

        Redis.from_url(redis.url).flushall()
        await deployment.agrees()
        assert kept.metric("rebuilds_total") == 2

        redis.freeze()
        await deployment.history(200, seed=4, day=40)
        await deployment.tick(72)
        await deployment.folded()
        await until(lambda: kept.metric("redis_up") == 0, "it is noticed")
        redis.thaw()
        await deployment.agrees()
        assert kept.metric("rebuilds_total") == 2
        assert kept.metric("redis_up") == 1


async def test_the_broker_is_killed_and_the_views_go_on(deployment: Deployment, kafka: LocalKafka) -> None:
    await deployment.begin()
    async with deployment.views() as kept:
        async with deployment.worker(make_core=None):
            await deployment.history(200, seed=1)
            await deployment.folded()
            await deployment.agrees()
        await asyncio.to_thread(kafka.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(kafka.start)
        async with deployment.worker(make_core=None):
            await deployment.history(200, seed=2, day=1)
            await deployment.tick(33)
            await deployment.folded()
            await deployment.agrees()
        assert kept.metric("rebuilds_total") == 1


async def test_a_frozen_projector_that_wakes_up_late_changes_nothing(deployment: Deployment) -> None:
    await deployment.begin()
    environment = os.environ | deployment.environment
    async with deployment.worker(make_core=None):
        zombie = spawn_bound(
            [sys.executable, "-m", "agents.cli", "views"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        await deployment.history(200, seed=1)
        await deployment.folded()
        await deployment.agrees()
        zombie.send_signal(signal.SIGSTOP)
        async with deployment.views() as kept:
            await kept.current()
            await deployment.history(200, seed=2, day=1)
            await deployment.tick(33)
            await deployment.folded()
            zombie.send_signal(signal.SIGCONT)
            await until(lambda: zombie.poll() is not None, "the zombie ends")
            assert zombie.returncode == Exit.FENCED
            await deployment.agrees()
            assert kept.metric("rebuilds_total") == 0


async def test_a_slow_redis_delays_nothing_but_the_views(deployment: Deployment, redis: LocalRedis) -> None:
    await deployment.begin()
    async with deployment.worker(make_core=None), deployment.views():
        stop = asyncio.Event()

        async def slow() -> None:
            client = Redis.from_url(redis.url)
            while not stop.is_set():
                await asyncio.to_thread(client.execute_command, "CLIENT", "PAUSE", 700, "ALL")
                await asyncio.sleep(0.8)

        task = asyncio.create_task(slow())
        await deployment.history(400, seed=1)
        await deployment.tick(31)
        await deployment.folded()
        stop.set()
        await task
        await deployment.agrees()


async def test_views_that_can_not_be_trusted_are_made_anew(deployment: Deployment) -> None:
    await deployment.begin()
    async with deployment.worker(make_core=None):
        await deployment.history(100, seed=1)
        await deployment.folded()
        async with deployment.views():
            await deployment.agrees()
        half_a_day = 12 * 3600
        async with deployment.views(now=lambda: time() + half_a_day - 600) as kept:
            await kept.current()
            assert kept.metric("rebuilds_total") == 0
        async with deployment.views(now=lambda: time() + 2 * half_a_day) as kept:
            await kept.current()
            assert kept.metric("rebuilds_total") == 1
            await deployment.agrees()
    options = {"bootstrap_servers": deployment.bootstrap}
    delete_topics(options, deployment.prefix)
    create_topics(options, plan(deployment.prefix, deployment.partitions))
    async with deployment.views(now=lambda: time() + 2 * half_a_day + 60) as kept:
        await kept.current()
        assert kept.metric("rebuilds_total") == 1
        assert await deployment.residue(b"user-") == []


@pytest.mark.no_oracle("it writes what a worker would, and leaves a transaction open")
async def test_a_decision_that_is_ahead_of_its_user_waits_for_the_row_also_over_a_restart(
    deployment: Deployment,
) -> None:
    number, start = partition_of(b"ann", deployment.partitions), at(0)
    data = {"trigger_id": "t", "decision": "send", "episode": {"start": rfc3339(start)}}
    row = encode_row(UserState(activity=Activity(first=start, last=start, days=1)))
    async with deployment.producer() as producer, deployment.views() as kept:
        await kept.current()
        headers = [("rekindle-offset", b"5")]
        value = json.dumps({"data": data}).encode()
        await producer.send_and_wait(deployment.prefix + "decisions", value, b"ann", partition=number, headers=headers)
        await until(lambda: kept.metric("decisions_total") == 1, "it is read")
        await asyncio.sleep(0.5)
        assert await deployment.residue(b"trigger_id") == []
    async with deployment.producer() as producer, deployment.views():
        await asyncio.sleep(1)
        state = deployment.prefix + "state"
        await producer.send_and_wait(state, row, b"uann", partition=number)
        await producer.send_and_wait(state, encode_position(Position(offset=6)), b"p", partition=number)
        await deployment.agrees()
        assert await deployment.residue(b"trigger_id") != []


async def test_of_two_projectors_the_later_one_stays(deployment: Deployment, redis: LocalRedis) -> None:
    await deployment.begin()
    async with deployment.worker(make_core=None), deployment.views() as first:
        await first.current()
        async with deployment.views() as second:
            await until(first.task.done, "the first has ended")
            with pytest.raises(Refusal) as ended:
                first.task.result()
            assert ended.value.code == Exit.FENCED
            await deployment.history(100, seed=1)
            await deployment.folded()
            await deployment.agrees()
            assert second.metric("rebuilds_total") == 0
            generations: Any = Redis.from_url(redis.url).smembers(root_of(deployment.prefix).generations)
            assert len(generations) == 1


async def test_of_who_is_erased_nothing_is_left(deployment: Deployment, redis: LocalRedis) -> None:
    await deployment.begin()
    async with deployment.worker(make_core=None), deployment.views():
        await deployment.tick(0)
        born = event(at(0), "canary-9")
        await deployment.send([(born.key or b"", born.value or b"")])
        await deployment.tick(32)
        await deployment.folded()
        await deployment.agrees()
        assert await deployment.residue(b"canary-9") != []
        erased = event(at(32), "canary-9", kind="delete", id="erase")
        await deployment.send([(erased.key or b"", erased.value or b"")])
        await deployment.tick(33)
        again = event(at(0), "canary-9", id="imported", backfill=True)
        late = event(at(31), "canary-9", id="late")
        await deployment.send([(entry.key or b"", entry.value or b"") for entry in (again, late)])
        await deployment.folded()
        await deployment.agrees()
        assert await deployment.residue(b"canary-9") == []
        Redis.from_url(redis.url).flushall()  # the rebuild reads the old decisions once more
        await deployment.agrees()
        assert await deployment.residue(b"canary-9") == []
        anew = event(at(33), "canary-9")
        await deployment.send([(anew.key or b"", anew.value or b"")])
        await deployment.folded()
        await deployment.agrees()
        Redis.from_url(redis.url).flushall()
        await deployment.agrees()  # their row is there, and no decision of before
        assert all(b":users:" in place for place in await deployment.residue(b"canary-9"))
