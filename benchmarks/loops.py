"""The two floors: a confluent-kafka loop that only decodes, and one that also steps each user, with nothing durable."""

from collections.abc import Iterator
from typing import Any

import msgspec
from confluent_kafka import Consumer, TopicPartition

from benchmarks.measure import Figures, Job, cpu, quiet_collector
from benchmarks.workload import PARTITIONS, policy_of
from pipeline.admission import Channels, Rejection, admit
from pipeline.context import Context
from pipeline.policy import parse
from pipeline.records import LogRecord
from pipeline.state import UserState
from pipeline.user import step
from schemas.event import Event

_BATCH = 10_000


def _batches(job: Job) -> Iterator[list[Any]]:
    """All events of the log in batches; record 0 of each partition, which adopts the policy, is left out."""
    consumer = Consumer({"bootstrap.servers": job.brokers, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(job.prefix + "users", partition, 1) for partition in range(PARTITIONS)])
    read = 0
    while read < job.events:
        messages = consumer.consume(_BATCH, timeout=1.0)
        read += len(messages)
        if messages:
            yield messages
    consumer.close()
    assert read == job.events


def bare(job: Job) -> Figures:
    """Decode each batch in one call, and forget it."""
    decode = msgspec.json.Decoder(list[Event]).decode
    quiet_collector()
    began, read = cpu(), 0
    for messages in _batches(job):
        read += len(decode(b"[" + b",".join([message.value() for message in messages]) + b"]"))
    spent = cpu() - began
    assert read == job.events
    return {"us": spent / job.events * 1e6}


def plain(job: Job) -> Figures:
    """Admit each event and step its user, an object in a dict: no rows, no clock, no sums, no changelog."""
    policy = parse(policy_of()[1])
    context, channels = Context(policy, "default"), Channels(policy)
    states: dict[bytes, UserState] = {}
    quiet_collector()
    began, applied = cpu(), 0
    for messages in _batches(job):
        for message in messages:
            recorded = message.timestamp()[1]
            item = admit(
                LogRecord(message.offset(), recorded, message.key(), message.value()), policy, channels, recorded
            )
            if isinstance(item, Rejection):
                continue
            key = item.key
            state = step(states.get(key) or UserState(known=item.known), item, context).state
            if state is not None:
                states[key] = state
            applied += 1
    spent = cpu() - began
    assert applied == job.events, f"{applied} of {job.events} events were applied"
    return {"us": spent / job.events * 1e6, "users": len(states)}
