"""Publishing what changes the meaning of the log: policies, and control messages to every partition, all or nothing."""

import asyncio
import getpass
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from time import time
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidTxnState,
    KafkaConnectionError,
    KafkaError,
    ProducerFenced,
)

from agents.exits import Exit, Refusal, no_broker
from agents.kafka.commands import publisher_id
from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from agents.settings import Settings
from pipeline.policy import PolicyError, parse
from pipeline.position import decode_position
from schemas.codec import encode_json, rfc3339
from schemas.control import CONTROL_KEY, Adopt, AnyControl, Skip, control_headers
from schemas.topics import REGISTRY, STATE, USERS

HISTORY: Final = "history/"
_PATIENCE: Final = 30.0  # s for the whole transaction


class Draft(NamedTuple):
    """What is to be published: bodies for the registry by their keys, and messages for the partitions."""

    bodies: Mapping[str, bytes]
    messages: Sequence[AnyControl]


class Publication(msgspec.Struct):
    """Body of a registry entry `history/...`: which policy, when (RFC 3339), by whom, and the mode of each rule."""

    policy: str
    at: str
    by: str
    rules: dict[str, str]
    key: str = ""


async def publish_policy(settings: Settings, body: bytes) -> Publication:
    """Publish a policy: its body, a history entry, and an adopt message to every partition, in one transaction.

    Raises:
        Refusal: the policy can't be read; no broker or topic; another publisher came in between. Nothing is visible
            then.
    """
    try:
        policy = parse(body)
    except PolicyError as error:
        raise Refusal(Exit.POLICY, f"the policy can't be used:\n{error}") from error
    now = round(time() * 1000)
    entry = Publication(policy.hash, rfc3339(now), whoami(), {rule.id: rule.mode for rule in policy.rules})
    key = f"{HISTORY}{now:013d}-{policy.hash[:12]}"
    bodies = {f"policy/{policy.hash}": body, key: encode_json(entry)}
    await publish(settings, Draft(bodies, [Adopt(policy=policy.hash)]))
    entry.key = key
    return entry


async def publish_control(
    settings: Settings, message: AnyControl, partitions: Collection[int] | None = None
) -> list[int]:
    """Append a control message to the given partitions of the user topic (None: to every one), in one transaction.

    Returns:
        The partitions.

    Raises:
        Refusal: as `publish_policy`.
    """
    return await publish(settings, Draft({}, [message]), partitions)


async def publish_skip(settings: Settings, skip: Skip) -> None:
    """Enter into the registry that a record is to be passed over; a worker that starts from now on knows it.

    Raises:
        Refusal: there is no such record, or it is folded already: a replay would pass over what the workers did not. Or
            as `publish_policy`.
    """

    async def draft() -> Draft:
        """How far the workers are is read last of all."""
        place, users = f"{skip.partition}:{skip.offset}", settings.topic(USERS.name)
        async with open_logs(client_options(settings)) as logs:
            ends = await logs.ends(users)
            if skip.partition not in ends:
                raise Refusal(Exit.USAGE, f"{users} has the partitions 0 to {len(ends) - 1}")
            if skip.offset >= ends[skip.partition]:
                raise Refusal(Exit.USAGE, f"{users} partition {skip.partition} ends before {ends[skip.partition]}")
            rows = await logs.latest(settings.topic(STATE.name), [b"p"], [skip.partition])
        folded = decode_position(rows[skip.partition][b"p"]).offset if rows else -1
        if skip.offset < folded:
            line = f"record {place} is folded already, as is everything before {skip.partition}:{folded}: a worker"
            raise Refusal(Exit.USAGE, f"{line} that stops on a record names it in its last line")
        return Draft({f"skip/{skip.partition}/{skip.offset}": encode_json(skip)}, [])

    await publish(settings, draft)


async def read_registry(settings: Settings) -> dict[str, bytes]:
    """Key -> body of the registry topic, in the order in which they were written. Raises Refusal."""
    async with open_logs(client_options(settings)) as logs:
        return await logs.registry(settings.topic(REGISTRY.name))


def history(registry: Mapping[str, bytes]) -> list[Publication]:
    """What was published, in this order; the last one is what the partitions adopt."""
    decode = msgspec.json.Decoder(Publication).decode
    found = []
    for key, body in registry.items():
        if key.startswith(HISTORY):
            entry = decode(body)
            entry.key = key
            found.append(entry)
    return found


async def publish(
    settings: Settings,
    draft: Draft | Callable[[], Awaitable[Draft]],
    partitions: Collection[int] | None = None,
) -> list[int]:
    """Publish a draft in one transaction: its messages go to the given partitions of the user topic (None: to all).

    A draft that is made from what was published before is given as a function. It is called once every earlier
    publisher is shut out: what it reads, and nothing that comes in between, is what the draft follows.

    Returns:
        The partitions.

    Raises:
        Refusal: no broker or topic; another publisher came in between. Nothing is visible then.
    """
    users, registry = settings.topic(USERS.name), settings.topic(REGISTRY.name)
    identity = publisher_id(settings.app_id, settings.topic_prefix)
    options = client_options(settings)
    async with open_logs(options) as logs:
        count = await logs.count(users)
        await logs.count(registry)
    producer = AIOKafkaProducer(
        **options,
        transactional_id=identity,
        transaction_timeout_ms=int(settings.transaction_timeout * 1000),  # short: readers wait behind an open one
        acks="all",
        retry_backoff_ms=20,
    )
    targets = sorted(range(count) if partitions is None else partitions)
    sent: list[asyncio.Future[Any]] = []
    try:
        async with asyncio.timeout(_PATIENCE):
            await producer.start()
            made = draft if isinstance(draft, Draft) else await draft()
            async with producer.transaction():
                try:
                    for key, body in made.bodies.items():
                        sent.append(await producer.send(registry, body, key.encode(), partition=0))
                    for message in made.messages:
                        headers = control_headers(str(type(message).__struct_config__.tag))
                        value = encode_json(message)
                        for number in targets:
                            batch = await producer.send(users, value, CONTROL_KEY, partition=number, headers=headers)
                            sent.append(batch)
                except IllegalOperation:  # the transaction has ended under it; what was sent before says why
                    await _written(sent)
                    raise
                await _written(sent)
    except (ProducerFenced, InvalidProducerEpoch, IllegalOperation) as error:
        line = "another publisher came in between, and nothing of this was published; look at `rekindle policy history`"
        raise Refusal(Exit.FENCED, f"{line}, then try again") from error
    except TimeoutError as error:
        raise Refusal(Exit.SEND, f"publishing was not done within {_PATIENCE:.0f} s; are all brokers up?") from error
    except KafkaConnectionError as error:
        raise no_broker(settings.brokers, error) from error
    except KafkaError as error:
        raise Refusal(Exit.SEND, f"publishing failed, nothing of it is visible: {_reason(error, sent)!r}") from error
    finally:
        with suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(producer.stop(), 5.0)
    return targets


async def _written(sent: Sequence[asyncio.Future[Any]]) -> None:
    """Raises what became of the first batch that failed: aiokafka commits over it."""
    await asyncio.gather(*sent, return_exceptions=True)
    for batch in sent:
        batch.result()


def _reason(error: KafkaError, sent: Sequence[asyncio.Future[Any]]) -> BaseException:
    """What explains a failure: a batch that was refused, rather than the state in which that left the transaction."""
    failed = [batch.exception() for batch in sent if batch.done() and not batch.cancelled()]
    return next((found for found in failed if found is not None and not isinstance(found, InvalidTxnState)), error)


def whoami() -> str:
    """Who publishes, for the history."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container may have a user id without a name
        return socket.gethostname()
