"""A deployment for a test: topics, a worker with the real core, a policy, users; and what the views have to show."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic, time
from typing import Any

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from agents.kafka.publish import publish_control, publish_policy
from agents.settings import Settings
from agents.views.agreement import agree
from agents.views.connection import redis_client
from agents.views.metrics import ViewMetrics
from agents.views.projector import Projector
from schemas.control import Domain, Tick
from tests.builders import POLICY, at, event, identify, order
from tests.integration.shell_log import ShellLog, until
from tests.waiting import PATIENCE, SOON


class Deployment(ShellLog):
    """Topics on a broker and views in a Redis."""

    def __init__(self, bootstrap: str, prefix: str, redis_url: str, partitions: int = 4) -> None:
        super().__init__(bootstrap, prefix, partitions)
        self.redis_url = redis_url

    def settings(self, **changes: Any) -> Settings:
        return super().settings(**{"redis_url": self.redis_url, **changes})

    @property
    def environment(self) -> dict[str, str]:
        """For a process of this deployment."""
        return {
            "REKINDLE_BROKERS": self.bootstrap,
            "REKINDLE_TOPIC_PREFIX": self.prefix,
            "REKINDLE_APP_ID": self.prefix.rstrip("."),
            "REKINDLE_REDIS_URL": self.redis_url,
            "REKINDLE_METRICS_PORT": "0",
        }

    async def begin(self, policy: str = POLICY) -> None:
        """Played time, and a policy."""
        await publish_control(self.settings(), Domain("played"))
        await publish_policy(self.settings(), policy.encode())

    async def tick(self, day: float) -> None:
        await publish_control(self.settings(), Tick(at(day)))

    async def history(self, users: int, seed: int, day: float = 0) -> None:
        """Random events of `users` within the hour after `day`, some of whom are erased, in order of time."""
        await self.tick(day)
        chance = random.Random(seed)
        entries = []
        for number in range(users * 3):
            user = f"user-{chance.randrange(users)}"
            moment = at(day, minutes=58 * number / (users * 3))
            entry = chance.choices(
                (
                    event(moment, user, id=f"{seed}/{number}", source=chance.choice(("google", "newsletter", None))),
                    order(moment, user, chance.randrange(100), id=f"{seed}/{number}"),
                    identify(moment, user, consent={"email": chance.random() < 0.8}),
                    event(moment, user, id=f"{seed}/{number}", kind="delete"),
                    event(moment, None, anonymous=f"visitor-{number % 50}", id=f"{seed}/{number}"),
                ),
                (10, 4, 2, 1, 2),
            )[0]
            entries.append((entry.key or b"", entry.value or b""))
        await self.send(entries)

    async def folded(self) -> None:
        """Wait until the worker has committed everything."""
        from agents.evidence import gather, unfolded

        deadline = monotonic() + PATIENCE
        while True:
            evidence = await gather(self.settings(), wait=PATIENCE)
            if not sum(map(unfolded, evidence.inputs.values(), evidence.state.values())):
                return
            assert monotonic() < deadline

    @asynccontextmanager
    async def views(self, *, now: Any = time, **changes: Any) -> AsyncIterator["Kept"]:
        """A projector on this loop."""
        settings, stop = self.settings(**changes), asyncio.Event()
        registry = CollectorRegistry()
        redis = redis_client(settings)
        task = asyncio.create_task(Projector(settings, redis, ViewMetrics(registry), now=now).run(stop))
        try:
            yield Kept(task, registry)
        finally:
            ended = task.done()  # then the test has looked why
            stop.set()
            try:
                if not ended:
                    await asyncio.wait_for(asyncio.shield(task), PATIENCE)
            finally:
                task.cancel()
                await redis.aclose()

    async def agrees(self) -> None:
        """Wait until the views show everything."""
        found = await agree(self.settings(), SOON)
        assert not found, f"the views differ after {SOON:.0f} s: {found}"

    async def residue(self, word: bytes) -> list[bytes]:
        """Keys in Redis in which a text occurs."""
        redis: Any = Redis.from_url(self.redis_url)
        found = []
        try:
            async for key in redis.scan_iter(match=f"{self.prefix}*"):
                kind = await redis.type(key)
                held = {
                    b"hash": redis.hgetall,
                    b"zset": lambda k: redis.zrange(k, 0, -1),
                    b"set": redis.smembers,
                    b"string": redis.get,
                }[kind]
                if word in repr(await held(key)).encode():
                    found.append(key)
            return found
        finally:
            await redis.aclose()


class Kept:
    """A running projector."""

    def __init__(self, task: asyncio.Task[None], registry: CollectorRegistry) -> None:
        self.task = task
        self.registry = registry

    def metric(self, name: str) -> float:
        value = self.registry.get_sample_value(f"rekindle_views_{name}")
        assert value is not None, name
        return value

    async def current(self) -> None:
        await until(lambda: self.task.done() or self.metric("current") == 1, "the views are current")
        with suppress(asyncio.InvalidStateError):
            self.task.result()
