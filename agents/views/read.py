"""Redis as readers see it: users, sums and decisions of one generation. The API and the command line ask here."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from redis.asyncio import Redis

from agents.views.keys import Names, Root
from pipeline.context import Context
from pipeline.explain import context_of
from pipeline.guard import Guard
from pipeline.policy import DEFAULT, Policy, PolicyError, parse
from pipeline.position import Position, decode_position
from pipeline.risk import ChurnModel, from_json
from pipeline.state import UserState, decode_row
from pipeline.sums.base import Dims, decode_key
from schemas.codec import decode_quantiles
from schemas.partitioner import partition_of

T = TypeVar("T")

_TRIES: Final = 3  # a rebuild may swap the generation while it is read
_decode_guard = msgspec.msgpack.Decoder(Guard).decode
_decode_cell = msgspec.msgpack.Decoder(list[int]).decode


class NoViews(Exception):
    """There are no views, or they are being built for the first time."""


class Sight(NamedTuple):
    """A user, and what their partition knew then. `documents`: their last decisions as JSON, newest first."""

    user: str
    state: UserState
    context: Context
    position: Position
    held: bool
    documents: list[bytes]


class Status(NamedTuple):
    """`fresh`: when the views last showed all there was, ms; `generation` names them."""

    generation: str
    fresh: int
    partitions: int


class Page(NamedTuple):
    """Documents, newest first, and where the next page begins; None: there is none."""

    documents: list[bytes]
    cursor: str | None


@lru_cache(maxsize=16)
def compiled(digest: str, body: bytes | None) -> Policy:
    """A policy by its hash and text; the built-in one if there is none, or a newer release wrote it."""
    try:
        return DEFAULT if body is None else parse(body, name=f"policy/{digest[:12]}")
    except PolicyError:
        return DEFAULT


@lru_cache(maxsize=16)
def modelled(digest: str, body: bytes | None) -> ChurnModel | None:
    """A churn model by its hash and text; None if there is none, or a newer release wrote it."""
    try:
        return None if not digest or body is None else from_json(body)
    except ValueError:
        return None


def latest(positions: Iterable[Position]) -> Position:
    """Of all partitions the one that adopted its policy last: amounts are in the reporting currency of that policy."""
    return max(positions, key=lambda position: position.adopted, default=Position())


def adopted_by(position: Position) -> list[str]:
    """Keys of the registry of what a partition has adopted: policy, model, quantiles."""
    return [f"policy/{position.policy}", f"model/{position.model}", f"quantiles/{position.quantiles}"]


def context_and_hold(
    position: Position, guard: bytes | None, bodies: Sequence[bytes | None], tenant: str
) -> tuple[Context, bool]:
    """What a partition knows, and whether its source is held. `guard`: the row of the source guard, if there is one;
    `bodies`: of `adopted_by`, as far as the registry holds them.
    """
    policy, model, quantiles = bodies
    guarding = _decode_guard(guard) if guard else Guard()
    adopted, risk = compiled(position.policy, policy), modelled(position.model, model)
    top = decode_quantiles(quantiles).features if quantiles else {}
    return context_of(position, guarding, adopted, tenant, risk, quantiles=top), guarding.held


class Views:
    """Reads the views of one deployment. Every method raises NoViews, RedisError or OSError."""

    def __init__(self, redis: Redis, root: Root, tenant: str) -> None:
        self._redis: Any = redis
        self._root = root
        self._tenant = tenant

    async def _whole(self, read: Callable[[Names], Awaitable[T]]) -> T:
        """What `read` finds, all of it in one generation."""
        for _ in range(_TRIES):
            current = await self._redis.get(self._root.current)
            if current is None:
                break
            found = await read(Names(self._root, current.decode()))
            if await self._redis.get(self._root.current) == current:
                return found
        raise NoViews

    async def status(self) -> Status:
        """How fresh they are."""

        async def read(names: Names) -> Status:
            fresh = await self._redis.hget(names("at"), "fresh")
            return Status(names.generation, int(fresh or 0), names.partitions)

        return await self._whole(read)

    async def user(self, user: str) -> Sight | None:
        """A user; None if there is no row."""

        async def read(names: Names) -> Sight | None:
            key = user.encode()
            number = partition_of(key, names.partitions)
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hget(names("users", number), key)
                pipe.hget(names("positions"), number)
                pipe.hget(names("guards"), number)
                pipe.hget(names("places"), key)
                row, at, guarded, places = await pipe.execute()
            if row is None:
                return None
            position = decode_position(at) if at else Position()
            documents = await self._documents(names, (places or b"").split())
            bodies = await self._redis.hmget(names("registry"), adopted_by(position))
            context, held = context_and_hold(position, guarded, bodies, self._tenant)
            return Sight(user, decode_row(row), context, position, held, documents)

        return await self._whole(read)

    async def sums(self, wanted: Iterable[str]) -> dict[tuple[str, Dims], list[int]]:
        """The cells of these sums, over all partitions."""
        sums = list(wanted)

        async def read(names: Names) -> dict[tuple[str, Dims], list[int]]:
            async with self._redis.pipeline(transaction=True) as pipe:
                for name in sums:
                    pipe.hgetall(names("sum", name))
                found = await pipe.execute()
            return {decode_key(key): _decode_cell(value) for cells in found for key, value in cells.items()}

        return await self._whole(read)

    async def currency(self) -> str:
        """The reporting currency, of the policy that was adopted last."""

        async def read(names: Names) -> str:
            rows = await self._redis.hgetall(names("positions"))
            digest = latest(map(decode_position, rows.values())).policy
            body = await self._redis.hget(names("registry"), f"policy/{digest}")
            return compiled(digest, body).currency.reporting

        return await self._whole(read)

    async def decisions(self, limit: int, cursor: str | None = None, *, sent: bool = False) -> Page:
        """The last decisions (`sent`: triggers), from the cursor of an earlier page on."""

        async def read(names: Names) -> Page:
            top = "+" if cursor is None else f"({cursor}"
            key = names("sent" if sent else "decisions")
            places = await self._redis.zrevrangebylex(key, top, "-", start=0, num=limit + 1)
            documents = await self._documents(names, places[:limit])
            return Page(documents, places[limit - 1].decode() if len(places) > limit else None)

        return await self._whole(read)

    async def trigger(self, identity: str) -> bytes | None:
        """The decision that made the trigger of this id, or would have; None: it is not among the last ones."""

        async def read(names: Names) -> bytes | None:
            place = await self._redis.hget(names("triggers"), identity)
            found = await self._documents(names, [] if place is None else [place])
            return found[0] if found else None

        return await self._whole(read)

    async def _documents(self, names: Names, places: list[bytes]) -> list[bytes]:
        if not places:
            return []
        found = await self._redis.hmget(names("documents"), places)
        return [document for document in found if document is not None]
