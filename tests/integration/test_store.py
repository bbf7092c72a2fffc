"""The projector's transactions on a real Redis, one rule at a time."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from agents.local_redis import LocalRedis
from agents.views.batch import Batch, Offsets
from agents.views.keys import root_of
from agents.views.recent import Entry, Place
from agents.views.store import Lineage, Lost, Opened, Store, Superseded, Write
from pipeline.activity import Activity
from pipeline.state import UserState, encode_row
from schemas.codec import rfc3339

ROOT = root_of("s.")
LINEAGE = Lineage("cluster", {"state": "a"}, 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRedis]:
    with LocalRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def redis(server: LocalRedis) -> AsyncIterator[Any]:
    client: Any = Redis.from_url(server.url)
    await client.flushall()
    yield client
    await client.aclose()


async def opened(store: Store, *, oldest: int = 0, usable: bool = True, lineage: Lineage = LINEAGE) -> Opened:
    return await store.open(lineage, oldest=oldest, now=1_000, usable=lambda _: usable)


def write(*decisions: Entry, offsets: Offsets | None = None, swap: bool = False, **rows: int | None) -> Write:
    """Rows by user: the first activity (ms), None: gone."""
    batch = Batch()
    for user, first in rows.items():
        row = None if first is None else encode_row(UserState(activity=Activity(first=first, last=first, days=1)))
        batch.rows[0][user.encode()] = row
    return Write(batch, list(decisions), offsets or {("state", 0): 1}, 1_000, swap)


def decision(number: int, user: str, started: int) -> Entry:
    return Entry(Place(number, 0, number), user.encode(), f"t{number}", True, rfc3339(started), number, b"{}")


async def test_a_decision_is_kept_only_of_who_is_there_and_was_then(redis: Any) -> None:
    store = Store(redis, ROOT, "1", 10)
    views = await opened(store)
    await store.write(views, write(ann=5_000, bob=5_000, zoe=None))
    found = [decision(1, "ann", 5_000), decision(2, "bob", 4_000), decision(3, "zoe", 5_000), decision(4, "new", 7_000)]
    await store.write(views, write(*found, new=7_000))
    assert set(await redis.hvals(views.names("places"))) == {found[0].place.encode(), found[3].place.encode()}
    await store.write(views, write(ann=6_000))  # erased and back within one batch
    assert await redis.hkeys(views.names("triggers")) == [b"t4"]
    assert await redis.zcard(views.names("sent")) == 1
    await store.write(views, write(new=None))
    for key in ("triggers", "places", "documents", "kept", "decisions", "sent"):
        assert not await redis.exists(views.names(key)), key
    assert set(await redis.hkeys(views.names("users", 0))) == {b"bob", b"ann"}


async def test_what_somebody_else_has_touched_is_not_written_on(redis: Any) -> None:
    store = Store(redis, ROOT, "1", 10)
    views = await opened(store)
    await store.write(views, write(swap=True, ann=1))
    await redis.hset(views.names("at"), "serial", 0)  # a Redis that came back with older data
    with pytest.raises(Lost):
        await store.write(views, write(bob=1))
    assert await redis.hkeys(views.names("users", 0)) == [b"ann"]
    again = await opened(store)
    assert again.resumed
    later = Store(redis, ROOT, "2", 10)
    assert (await opened(later)).resumed
    with pytest.raises(Lost):
        await store.write(again, write(bob=1))
    with pytest.raises(Superseded):
        await opened(store)
    await redis.flushall()
    with pytest.raises(Lost):
        await later.write(again, write(bob=1))
    assert not (await opened(later)).resumed


async def test_only_what_can_be_trusted_is_gone_on_with(redis: Any) -> None:
    store = Store(redis, ROOT, "1", 10)
    first = await opened(store)
    assert (first.resumed, first.why) == (False, "there are none")
    await store.write(first, write(decision(1, "ann", 5), offsets={("state", 0): 7, ("state", 1): 9}, swap=True, ann=5))
    resumed = await opened(store, oldest=1_000)
    assert (resumed.resumed, resumed.offsets) == (True, {("state", 0): 7, ("state", 1): 9})
    assert len(resumed.recent) == 1
    assert "older than" in (await opened(store, oldest=1_001)).why
    assert "do not reach back" in (await opened(store, usable=False)).why
    assert await redis.get(ROOT.current) == first.names.generation.encode(), "readers go on with the old ones"
    other = await opened(store, lineage=Lineage("other", {"state": "a"}, 2))
    assert other.why == "they are of other topics"
    assert await redis.get(ROOT.current) is None, "of another log nobody reads"
    await store.write(other, write(swap=True, bob=1))
    assert await store.sweep(other.names) == 3
    kept = await redis.keys("s.*")
    assert all(key.decode().startswith(other.names("")) or key.decode() in ROOT_KEYS for key in kept), kept


ROOT_KEYS = {ROOT.current, ROOT.generations}
