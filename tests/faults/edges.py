"""Faults of what stands beside the workers: Redis, projector, API, ingest. Triggers must not feel them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

import httpx
from aiokafka import AIOKafkaProducer
from kafka.admin import KafkaAdminClient
from redis import Redis

from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from agents.local_redis import WITHOUT, LocalRedis, find_server
from agents.looks import user_look
from agents.settings import load_settings
from agents.sight import sight_from_kafka
from agents.views.agreement import agree
from tests.faults.faults import NAMES
from tests.faults.harness import Cluster
from tests.faults.processes import ROOT
from tests.waiting import PATIENCE, SESSION, SOON

_PLAIN: Final = ROOT / "deploy" / "mappings" / "plain.yaml"


def no_redis() -> str | None:
    """Why there is no Redis here."""
    return None if find_server() else WITHOUT


class Views:
    """A Redis and the projector that keeps the views of a cluster in it."""

    def __init__(self, cluster: Cluster, redis: LocalRedis) -> None:
        self._cluster = cluster
        self.redis = redis
        self.settings = load_settings(
            brokers=cluster.settings.brokers, topic_prefix=cluster.settings.topic_prefix, redis_url=redis.url
        )

    @property
    def rebuilds(self) -> int:
        """How often the views were made anew by the projector that runs."""
        return self._cluster.workers["views"].said.count("views_rebuilding")

    async def converge(self) -> None:
        """With all folded, the views show all of it, soon."""
        found = await agree(self.settings, SOON)
        assert not found, f"after {SOON:.0f} s: {'; '.join(found)}"


@asynccontextmanager
async def views_of(cluster: Cluster) -> AsyncIterator[Views]:
    """Views that are kept meanwhile."""
    with LocalRedis(cluster.folder / "redis") as redis:
        cluster.beside("views", sign="views_shown", REDIS_URL=redis.url)
        try:
            await cluster.ready()
            yield Views(cluster, redis)
            await cluster.terminate(cluster.workers["views"])
        finally:
            _end(cluster, "views")


async def redis_killed(cluster: Cluster) -> None:
    """Redis dies or stops, and returns with what it had saved; meanwhile everything is decided as ever."""
    async with views_of(cluster) as views:
        before = views.rebuilds
        if cluster.random.random() < 0.5:
            await asyncio.to_thread(Redis.from_url(views.redis.url).save)
            await cluster.pause()
            views.redis.kill()
        else:
            await asyncio.to_thread(views.redis.stop)
        await cluster.pause()
        await cluster.rest()
        await asyncio.to_thread(views.redis.start)
        await views.converge()
        assert views.rebuilds == before, "the views were made anew, although they were there"


async def redis_emptied(cluster: Cluster) -> None:
    """Somebody empties Redis, or it returns without its data; the views are made anew."""
    async with views_of(cluster) as views:
        before = views.rebuilds
        if cluster.random.random() < 0.5:
            await asyncio.to_thread(Redis.from_url(views.redis.url).flushall)
        else:
            views.redis.kill()
            (views.redis.data / "dump.rdb").unlink(missing_ok=True)
            await asyncio.to_thread(views.redis.start)
        await cluster.pause()
        await cluster.rest()
        await views.converge()
        assert views.rebuilds > before, "nobody noticed"


async def redis_slow(cluster: Cluster) -> None:
    """Redis answers late, then not at all for longer than a client waits; then it is as it was."""
    async with views_of(cluster) as views:
        client = Redis.from_url(views.redis.url)
        for _ in range(3):
            await asyncio.to_thread(client.execute_command, "CLIENT", "PAUSE", 700, "ALL")
            await asyncio.sleep(0.8)
        views.redis.freeze()
        await cluster.pause(5.0, 7.0)
        await cluster.rest()
        views.redis.thaw()
        await views.converge()


async def projector_killed(cluster: Cluster) -> None:
    """SIGKILL of the projector, twice: in a rebuild, between two writes or in one."""
    async with views_of(cluster) as views:
        if cluster.random.random() < 0.5:
            await asyncio.to_thread(Redis.from_url(views.redis.url).flushall)
        for _ in range(2):
            await cluster.pause(0.0, 2.0)
            projector = cluster.workers["views"]
            projector.process.kill()
            await cluster.replaced(projector)
        await cluster.ready()
        await cluster.rest()
        await views.converge()


async def api_under_load(cluster: Cluster) -> None:
    """Many ask the API while a worker dies and another takes over: no error, no wait; then it says what Kafka says."""
    async with views_of(cluster) as views:
        api = cluster.beside("api", sign="api_served", REDIS_URL=views.redis.url, API_PORT="0")
        try:
            await cluster.ready()
            (line,) = [json.loads(line) for line in api.said.splitlines() if '"api_served"' in line]
            async with httpx.AsyncClient(base_url=line["address"], timeout=SOON) as client:
                asking = [asyncio.create_task(_ask(client, number)) for number in range(8)]
                await cluster.pause(0.5, 1.5)
                victim = cluster.workers[cluster.random.choice(NAMES)]
                victim.process.kill()
                await cluster.replaced(victim)
                await cluster.pause(1.0, 3.0)
                for task in asking:
                    task.cancel()
                for outcome in await asyncio.gather(*asking, return_exceptions=True):
                    assert isinstance(outcome, asyncio.CancelledError), f"the API: {outcome!r}"
                await cluster.rest()
                await views.converge()
                for user in ("user-1", "user-17", "user-170", "visitor-3"):
                    await _same(client, cluster, user)
            await cluster.terminate(api)
        finally:
            _end(cluster, "api")


async def _ask(client: httpx.AsyncClient, number: int) -> None:
    """Ask for ever, a reader's mixture. Raises AssertionError."""
    while True:
        for path in (f"/users/user-{number * 7}", "/growth", f"/users/nobody-{number}", "/triggers", "/reports/recall"):
            began = monotonic()
            answer = await client.get(path)
            assert answer.status_code in {200, 404}, f"{path}: {answer.status_code} {answer.text[:200]}"
            assert monotonic() - began < SOON, f"{path} took {monotonic() - began:.1f} s"
            await asyncio.sleep(0.02)


async def _same(client: httpx.AsyncClient, cluster: Cluster, user: str) -> None:
    answer, sight = await client.get(f"/users/{quote(user)}"), await sight_from_kafka(cluster.settings, user)
    if sight is None:
        assert answer.status_code == 404, user
        return
    told, wanted = answer.json(), json.loads(json.dumps(user_look(sight, None)))
    wrong = [name for name in wanted if name != "decisions" and told[name] != wanted[name]]  # those are in views only
    assert not wrong, f"{user}: {', '.join(wrong)} of the API are not what Kafka holds"


async def ingest_killed(cluster: Cluster) -> None:
    """SIGKILL of ingest, twice, while a topic of somebody else fills up. Nothing of it is lost; what is sent again has
    the same messageId, so that the worker counts it once.
    """
    topic = f"{cluster.settings.topic_prefix}shop-{cluster.random.randrange(1 << 32):08x}"
    admin = KafkaAdminClient(bootstrap_servers=cluster.kafka.bootstrap)
    await asyncio.to_thread(admin.create_topics, {topic: {"num_partitions": 3, "replication_factor": 1}})
    await asyncio.to_thread(admin.wait_for_topics, [topic], timeout_ms=int(PATIENCE * 1000))
    words, enough = ("ingest", "--mapping", str(_PLAIN), "--topic", topic), asyncio.Event()
    filling = asyncio.create_task(_fill(cluster, topic, enough))
    try:
        for _ in range(2):
            ingest = cluster.beside(*words, sign="intake_ready", SESSION_TIMEOUT=str(SESSION))
            await cluster.ready()
            await cluster.pause(0.2, 1.5)
            _end(cluster, "ingest")
        enough.set()
        rows = await filling
        ingest = cluster.beside(*words, "--until-end", sign="intake_ready", SESSION_TIMEOUT=str(SESSION))
        ingest.planned = True
        await cluster.ended(ingest, 0)
        await _all_there(cluster, topic, rows)
    finally:
        filling.cancel()
        _end(cluster, "ingest")
        await asyncio.to_thread(admin.delete_topics, [topic])
        admin.close()


async def _fill(cluster: Cluster, topic: str, enough: asyncio.Event) -> int:
    """Visits, every other one without an id of its own; one row in 50 is none. Returns how many rows."""
    rows = 0
    async with AIOKafkaProducer(bootstrap_servers=cluster.kafka.bootstrap, linger_ms=5) as producer:
        while not enough.is_set():
            for number in range(rows, rows + 50):
                row: dict[str, Any] = {
                    "user": f"user-{number % 500}",
                    "event": "visit",
                    "ts": cluster.feed.time // 1000,
                }
                row |= {"order_id": f"{topic}:{number}"} | ({"id": f"{topic}/{number}"} if number % 2 else {})
                await producer.send(topic, json.dumps(row).encode() if number % 50 else b"{")
            rows += 50
            await asyncio.sleep(0.05)
    return rows


async def _all_there(cluster: Cluster, topic: str, rows: int) -> None:
    ids: dict[str, set[str]] = {}
    refused = set()
    async with open_logs(client_options(cluster.settings)) as logs:
        users, letters = cluster.settings.topic("users"), cluster.settings.topic("deadletters")
        async for _, records in logs.read(users, await logs.starts(users), await logs.ends(users)):
            for record in records:
                if f'"{topic}:'.encode() in (record.value or b""):
                    event = json.loads(record.value)
                    ids.setdefault(event["properties"]["order_id"], set()).add(event["messageId"])
        async for _, records in logs.read(letters, await logs.starts(letters), await logs.ends(letters)):
            headers = [dict(record.headers) for record in records]
            refused |= {(h["partition"], h["offset"]) for h in headers if h.get("topic") == topic.encode()}
    bad = rows // 50
    assert len(ids) == rows - bad, f"{rows - bad - len(ids)} events were lost"
    assert all(len(each) == 1 for each in ids.values()), "an event was sent again under another messageId"
    assert len(refused) == bad, f"{len(refused)} of {bad} bad rows became dead letters"


def _end(cluster: Cluster, name: str) -> None:
    """Nobody starts it anew."""
    process = cluster.workers[name]
    process.planned = True
    process.process.kill()
    process.process.wait()
