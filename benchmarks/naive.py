"""The same job as faust's own guide would have it: an agent over typed records with a stock table. Pinned: what the
worker is compared with must not get faster or slower by our doing. It is neither exactly-once nor knows deadlines.
"""

import asyncio
import logging
import tempfile
from datetime import datetime
from typing import Any

import faust
import msgspec

from benchmarks.measure import Figures, Job, cpu
from benchmarks.workload import PARTITIONS, policy_of
from pipeline.admission import Channels
from pipeline.context import Context
from pipeline.dedupe import digest_of
from pipeline.happening import Happening, Order
from pipeline.policy import parse
from pipeline.state import UserState
from pipeline.user import step


class UserEvent(faust.Record, serializer="json"):
    """An event, as far as a typed record can tell it."""

    messageId: str  # noqa: N815 the names of the wire
    userId: str  # noqa: N815
    type: str
    timestamp: str
    event: str | None = None
    name: str | None = None
    context: Any = None
    properties: Any = None


def _happening(event: UserEvent, channels: Channels) -> Happening:
    """What `step` takes, from the record's fields."""
    time = round(datetime.fromisoformat(event.timestamp).timestamp() * 1000)
    campaign = (event.context or {}).get("campaign") or {}
    order = None
    if event.event == "Order Completed":
        cents = round(event.properties["revenue"] * 100)
        order = Order(cents, "USD", cents)
    return Happening(
        user=event.userId,
        key=event.userId.encode(),
        known=True,
        time=time,
        kind=event.type,
        event=event.event,
        message_id=event.messageId,
        digest=digest_of(event.messageId),
        active=True,
        channel=channels.resolve(campaign.get("source"), campaign.get("medium"), campaign.get("name"), None),
        order=order,
    )


def naive(job: Job) -> Figures:
    """CPU per event from the first to the last."""
    logging.disable(logging.WARNING)
    policy = parse(policy_of()[1])
    channels, context = Channels(policy), Context(policy, "default")
    began, seen, spent = 0.0, 0, 0.0
    done = asyncio.Event()
    app = faust.App(
        f"{job.prefix}naive",
        broker=f"aiokafka://{job.brokers}",
        store="memory://",
        web_enabled=False,
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        table_standby_replicas=0,
        datadir=tempfile.mkdtemp(dir=job.folder),
        autodiscover=False,
    )
    table = app.Table("users", partitions=PARTITIONS)

    async def agent(stream: Any) -> None:
        nonlocal began, seen, spent
        async for event in stream:
            if not seen:
                began = cpu()
            key = event.userId
            row = table.get(key)
            state = UserState() if row is None else msgspec.convert(row, UserState)
            item = _happening(event, channels)
            transition = step(state, item, context)
            table[key] = msgspec.to_builtins(transition.state)
            seen += 1
            if seen == job.events:
                spent = cpu() - began
                done.set()

    app.agent(app.topic(job.prefix + "users", value_type=UserEvent, value_serializer="json"))(agent)

    async def main() -> None:
        await app.start()
        await asyncio.wait_for(done.wait(), 120)
        await app.stop()

    asyncio.new_event_loop().run_until_complete(main())
    return {"us": spent / job.events * 1e6}
