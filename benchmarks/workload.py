"""The events that are measured, and how they get into Kafka.

A product's backlog of two days: page views and product views, some with a campaign, one order in twenty; 130-200 bytes
each, users drawn evenly (the hardest case for a row per user), ids that are uuids.
"""

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from confluent_kafka import Producer

from agents.kafka.admin import create_topics, plan
from pipeline.policy import parse
from pipeline.units import DAY
from schemas.codec import encode_json, rfc3339
from schemas.control import CONTROL_KEY, Adopt, AnyControl, control_headers
from schemas.partitioner import partition_of

PARTITIONS: Final = 8
EVENTS_PER_USER: Final = 10
SPAN: Final = 2 * DAY
_POLICY: Final = Path(__file__).parent.parent / "deploy" / "policy.yaml"
_SOURCES: Final = ("google", "newsletter", "facebook", "bing", "partner")
_MEDIA: Final = ("cpc", "email", "social", "organic")


class User(NamedTuple):
    """An id, the same as bytes, and the partition it belongs to."""

    name: str
    key: bytes
    partition: int


class Event(NamedTuple):
    """An event on its way to the user topic."""

    user: User
    value: bytes


def policy_of(*, live: bool = False, note: bytes = b"") -> tuple[str, bytes]:
    """Hash and text of the default policy; a `note` makes it another one of the same meaning. `live` sends, and has no
    source guard: to it, users who are all made in one hour would look like a source that went dark.
    """
    body = _POLICY.read_bytes() + note
    if live:
        body = body.replace(b"mode: shadow", b"mode: live").replace(b"dark_below: 0.3", b"dark_below: 0")
    return parse(body, name=_POLICY.name).hash, body


def users(count: int, seed: int = 1) -> list[User]:
    """Users with uuid ids."""
    rng = random.Random(seed)
    names = [str(UUID(int=rng.getrandbits(128), version=4)) for _ in range(count)]
    return [User(name, name.encode(), partition_of(name.encode(), PARTITIONS)) for name in names]


def event_of(user: str, time_ms: int, rng: random.Random) -> bytes:
    """One event of `user`."""
    head = f'{{"messageId":"{rng.getrandbits(64):016x}","userId":"{user}","timestamp":"{rfc3339(time_ms)}"'
    what = rng.random()
    if what < 0.05:
        cents = rng.randrange(500, 20_000)
        tail = f'"type":"track","event":"Order Completed","properties":{{"revenue":{cents / 100}}}'
    elif what < 0.15:
        source, medium = rng.choice(_SOURCES), rng.choice(_MEDIA)
        tail = f'"type":"page","context":{{"campaign":{{"source":"{source}","medium":"{medium}"}}}}'
    elif what < 0.6:
        tail = f'"type":"track","event":"Product Viewed","properties":{{"sku":"{rng.randrange(10_000):05d}"}}'
    else:
        tail = f'"type":"page","name":"Home","properties":{{"path":"/p/{rng.randrange(10_000):05d}"}}'
    return f"{head},{tail}}}".encode()


def events(count: int, end: int, *, seed: int = 1) -> Iterator[Event]:
    """`count` events in order of time, the last at `end` (ms), of a tenth as many users."""
    rng = random.Random(seed)
    known = users(max(1, count // EVENTS_PER_USER), seed)
    for index in range(count):
        user = known[int(rng.random() * len(known))]
        yield Event(user, event_of(user.name, end - SPAN + SPAN * (index + 1) // count, rng))


class Publisher:
    """Writes to the topics of one prefix, as a product's backend does: plain, uncompressed, acknowledged."""

    def __init__(self, brokers: str, prefix: str, *, linger_ms: int = 20, compression: str = "none") -> None:
        self._prefix = prefix
        self._failed: list[str] = []
        self._sent = 0
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "acks": "all",
                "linger.ms": linger_ms,
                "batch.size": 256 << 10,
                "compression.type": compression,
                "queue.buffering.max.messages": 200_000,
            }
        )

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._failed.append(str(error))

    def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Append to one partition; waits while the queue is full."""
        while True:
            try:
                self._producer.produce(
                    self._prefix + topic,
                    value,
                    key,
                    partition,
                    on_delivery=self._delivered,
                    headers=list(headers) or None,
                )
            except BufferError:
                self._producer.poll(0.01)
            else:
                break
        self._sent += 1
        if self._sent % 1000 == 0:
            self._producer.poll(0)

    def control(self, message: AnyControl) -> None:
        """Append a control message to every partition of the user topic."""
        kind = str(message.__struct_config__.tag)
        for partition in range(PARTITIONS):
            self.send("users", partition, CONTROL_KEY, encode_json(message), control_headers(kind))

    def adopt(self, digest: str, body: bytes) -> None:
        """Publish a policy."""
        self.send("registry", 0, b"policy/" + digest.encode(), body)
        self.flush()
        self.control(Adopt(policy=digest))

    def poll(self) -> None:
        """Let deliveries be told."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all is written. Raises RuntimeError if something could not be."""
        left = self._producer.flush(60)
        if left or self._failed:
            raise RuntimeError(
                f"{left} records were not written in time, {len(self._failed)} failed: {self._failed[:1]}"
            )


def make_topics(brokers: str, prefix: str) -> None:
    """All topics under a prefix that is new."""
    create_topics({"bootstrap_servers": brokers}, plan(prefix, PARTITIONS, 1))


def fill(brokers: str, prefix: str, count: int, *, seed: int = 1, adopt: bool = True) -> None:
    """Topics with a log: record 0 of each partition adopts the default policy (unless told not to), then `count` events
    in live time, the last of them now.
    """
    make_topics(brokers, prefix)
    publisher = Publisher(brokers, prefix)
    if adopt:
        publisher.adopt(*policy_of())
    publisher.flush()
    now = int(time.time() * 1000) // 1000 * 1000
    for user, value in events(count, now, seed=seed):
        publisher.send("users", user.partition, user.key, value)
    publisher.flush()
