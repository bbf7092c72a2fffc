"""Faults of workers, time and the broker: each is done to two workers, and returns when the fault itself is over."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from time import time
from typing import Final

from agents.kafka.connection import client_options
from agents.kafka.publish import publish_control
from agents.kafka.read import open_logs
from pipeline.position import CORE_VERSION
from pipeline.units import DAY, HOUR
from schemas.control import Adopt
from tests.builders import tick
from tests.faults.feed import crowd
from tests.faults.harness import Cluster
from tests.faults.processes import NEXT_RELEASE, THIS_RELEASE, Process
from tests.waiting import PATIENCE, SESSION

NAMES: Final = ("one", "two")
CROWD: Final = 100_000
LIVE_CROWD: Final = 40_000

Fault = Callable[[Cluster], Awaitable[None]]


async def kill(cluster: Cluster) -> None:
    """SIGKILL at any time, now and then of both workers."""
    victims = NAMES if cluster.random.random() < 0.25 else (cluster.random.choice(NAMES),)
    for name in victims:
        cluster.workers[name].process.kill()


def at_failpoint(point: str) -> Fault:
    """The process kills itself at a named point of a commit."""

    async def fault(cluster: Cluster) -> None:
        spec = f"{point}:{cluster.random.randint(1, 6)}"
        await cluster.replaced(await _replace(cluster, cluster.random.choice(NAMES), spec))

    return fault


async def terminate(cluster: Cluster) -> None:
    """SIGTERM: the worker drains, commits and leaves within 10 s."""
    await _replace(cluster, cluster.random.choice(NAMES))


async def zombie(cluster: Cluster) -> None:
    """SIGSTOP for longer than the session, then SIGCONT: it wakes up as the owner that it is not any more."""
    process = cluster.workers[cluster.random.choice(NAMES)].process
    process.send_signal(signal.SIGSTOP)
    await cluster.pause(1.5 * SESSION, 3 * SESSION)
    process.send_signal(signal.SIGCONT)


async def join_and_leave(cluster: Cluster) -> None:
    """A third worker comes, and leaves after a while: in order or not."""
    worker = cluster.start("three")
    await cluster.pause(1.0, 4.0)
    worker.planned = True
    if cluster.random.random() < 0.5:
        await cluster.terminate(worker)
    else:
        worker.process.kill()
        await cluster.ended(worker, -signal.SIGKILL)


async def restart_broker(cluster: Cluster) -> None:
    """The broker stops in order, or is killed, and comes back on the same data."""
    down = cluster.kafka.stop if cluster.random.random() < 0.5 else cluster.kafka.kill
    await asyncio.to_thread(down)
    await cluster.pause(0.0, 3.0)
    await asyncio.to_thread(cluster.kafka.start)


async def sweep(cluster: Cluster) -> None:
    """100,000 users fall due on one tick, and both workers die in the middle of it. For a cluster that is not fed."""
    await cluster.send([(number, tick(cluster.feed.time)) for number in range(cluster.partitions)])
    await cluster.send(crowd(cluster.partitions, CROWD, cluster.feed.time, HOUR))
    settled = await cluster.check()
    assert settled.ok, settled.words
    workers = [await _replace(cluster, name, f"in_sweep:{cluster.random.randint(1, 4)}") for name in NAMES]
    await cluster.ready()
    cluster.feed.time += DAY + 4 * HOUR
    await cluster.send([(number, tick(cluster.feed.time)) for number in range(cluster.partitions)])
    for worker in workers:
        await cluster.replaced(worker)


async def live_sweep(cluster: Cluster) -> None:
    """In live time the workers' own ticks make a crowd due; they die on the way there, in it or behind it."""
    start = round(time() * 1000) - 27 * HOUR
    await cluster.send(crowd(cluster.partitions, LIVE_CROWD, start, HOUR))
    users = cluster.settings.topic("users")
    async with open_logs(client_options(cluster.settings)) as logs:
        fed = await logs.ends(users)
    for name in NAMES:
        cluster.start(name, f"in_sweep:{cluster.random.randint(1, 15)}")
    await cluster.ready()
    await cluster.pause(0.0, 6.0)
    await kill(cluster)
    async with open_logs(client_options(cluster.settings)) as logs, asyncio.timeout(PATIENCE):
        while any(end <= fed[number] for number, end in (await logs.ends(users)).items()):  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # until every partition was ticked


async def rolling_upgrade(cluster: Cluster) -> None:
    """The workers are replaced, one after the other, by those of a release that knows one core more, or back; then the
    log says which core it means: the one of both.
    """
    for name in NAMES:
        await cluster.terminate(cluster.workers[name])
        cluster.start(name, program=cluster.random.choice((NEXT_RELEASE, THIS_RELEASE)))
        await cluster.ready()
        await cluster.pause()
    await publish_control(cluster.settings, Adopt(core=CORE_VERSION))


async def _replace(cluster: Cluster, name: str, failpoint: str | None = None) -> Process:
    await cluster.terminate(cluster.workers[name])
    return cluster.start(name, failpoint)
