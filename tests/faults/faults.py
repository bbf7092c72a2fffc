"""The faults, by name: each is done to a cluster of two workers, and returns when the fault itself is over."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from time import time
from typing import Final

from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from pipeline.units import DAY, HOUR
from tests.builders import tick
from tests.faults.feed import crowd
from tests.faults.harness import SESSION, Cluster, Worker, kill_publisher
from tests.faults.loss import lose_state

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
        await _died(cluster, await _replace(cluster, cluster.random.choice(NAMES), spec))

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
        await cluster.ended(worker, -signal.SIGKILL, 5)


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
        await _died(cluster, worker)


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
    async with open_logs(client_options(cluster.settings)) as logs, asyncio.timeout(60):
        while any(end <= fed[number] for number, end in (await logs.ends(users)).items()):  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # until every partition was ticked


async def _replace(cluster: Cluster, name: str, failpoint: str | None = None) -> Worker:
    await cluster.terminate(cluster.workers[name])
    return cluster.start(name, failpoint)


async def _died(cluster: Cluster, worker: Worker) -> None:
    """Until the worker has killed itself at its failpoint and the supervisor has started it anew."""
    async with asyncio.timeout(60):
        while cluster.workers[worker.name] is worker:  # noqa: ASYNC110 a process tells nobody
            await asyncio.sleep(0.05)


UNDER_LOAD: Final[dict[str, Fault]] = {
    "kill": kill,
    "kill after_changelog": at_failpoint("after_changelog"),
    "kill after_triggers": at_failpoint("after_triggers"),
    "kill before_commit": at_failpoint("before_commit"),
    "kill after_commit": at_failpoint("after_commit"),
    "sigterm": terminate,
    "zombie": zombie,
    "join and leave": join_and_leave,
    "publisher killed": kill_publisher,
    "broker restart": restart_broker,
    "state lost": lose_state,
}
SWEEP: Final = "kill in_sweep"
LIVE_SWEEP: Final = "kill in_live_sweep"
ALONE: Final = ("broker restart", SWEEP)
"""What other clusters on the same broker or machine would feel."""
