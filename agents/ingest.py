"""`rekindle ingest`: a topic that others own, bridged into the user topic. At least once; messageId does the rest."""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Mapping as Options
from time import monotonic
from typing import Any, Final, Literal, NamedTuple, cast

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from prometheus_client import CollectorRegistry

from agents.admission import current_admission
from agents.app import Application, application, expose_metrics, live, run_process
from agents.edge import IngestMetrics
from agents.exits import Exit, Refusal, no_broker
from agents.intake import Intake, IntakeTerms, Mapper
from agents.kafka.append import batch_producer
from agents.kafka.connection import client_options
from agents.kafka.owner import Owner
from agents.kafka.read import Logs, open_logs
from agents.kafka.shell import Shell
from agents.kafka.transport import Consumer
from agents.log import logger
from agents.settings import Settings
from agents.users import feed
from pipeline.mapping import Mapping
from schemas.topics import DEADLETTERS, TOPICS, USERS

log = logger(__name__)

Start = Literal["earliest", "latest"]

_COMMIT_INTERVAL: Final = 0.5  # s; what was sent and not committed is sent again after a kill
_PATIENCE: Final = 30.0  # s for the group's coordinator
_PULSE: Final = 0.3  # s between two looks at whether the end is reached


class Orders(NamedTuple):
    """What to take in. `start` is for partitions of which the group knows nothing."""

    topic: str
    mapping: Mapping
    group: str
    backfill: bool = False
    start: Start = "earliest"
    until_end: bool = False


def default_group(settings: Settings, topic: str) -> str:
    """The consumer group of a topic's intake."""
    return f"{settings.app_id}-ingest-{topic}"


async def serve(settings: Settings, orders: Orders, stop: asyncio.Event, metrics: IngestMetrics) -> None:
    """Take in until `stop` is set or, if so ordered, the end that the topic has now is reached.

    Raises:
        Refusal: why it could not start or had to stop. Whatever was not acknowledged is read again next time.
    """
    options, topic = client_options(settings), orders.topic
    users, deadletters = settings.topic(USERS.name), settings.topic(DEADLETTERS.name)
    if topic in {settings.topic(own.name) for own in TOPICS}:
        raise Refusal(Exit.USAGE, f"{topic} is one of Rekindle's own topics: taking it in would never end")
    async with open_logs(options) as logs:
        if not await logs.exists(topic):
            raise Refusal(Exit.TOPICS, f"topic {topic} does not exist, or may not be described; see --topic")
        number_of, count = await logs.count(topic), await logs.count(users)
        await logs.count(deadletters)
        ends = await logs.ends(topic)
        admission = await current_admission(settings, backfill=False)
        mapper = Mapper(orders.mapping, admission, topic, backfill=orders.backfill)
        producer = batch_producer(options, f"{orders.group}-producer")
        admin = AIOKafkaAdminClient(**options)
        try:
            await producer.start()
            await admin.start()

            async def begin(number: int) -> int:
                return await _begin(logs, admin, orders, number, accept_gap=settings.accept_gap)

            app, intakes = _wire(settings, orders, options, number_of, count, mapper, producer, begin, metrics)
            beside = [_until(stop, app, intakes, admin, orders, ends)] if orders.until_end else []
            await live(app, stop, *beside)
        except KafkaConnectionError as error:
            raise no_broker(settings.brokers, error) from None
        finally:
            await producer.stop()
            await admin.close()


def _wire(  # noqa: PLR0917 called once
    settings: Settings,
    orders: Orders,
    options: Options[str, Any],
    number_of: int,
    count: int,
    mapper: Mapper,
    producer: Any,
    begin: Callable[[int], Awaitable[int]],
    metrics: IngestMetrics,
) -> tuple[Application, "dict[int, Intake]"]:
    topic = orders.topic

    def intake(number: int) -> Owner:
        # To the shell an intake is an owner: it opens, takes chunks, holds, resumes and is dropped.
        return cast("Owner", Intake(number, terms))

    shell = Shell(intake, session_timeout=settings.session_timeout)
    app = application(settings, orders.group, number_of, shell, options, commit_interval=_COMMIT_INTERVAL)

    def consumer() -> Consumer:  # made by faust when it is first asked for
        return cast("Consumer", app.consumer)

    terms = IntakeTerms(
        mapper=mapper,
        producer=producer,
        users=settings.topic(USERS.name),
        deadletters=settings.topic(DEADLETTERS.name),
        count=count,
        begin=begin,
        seek=lambda number, epoch, offset: consumer().seek_source(topic, number, epoch, offset),
        passed=lambda number, delivered: consumer().passed(topic, number, delivered),
        report=lambda: consumer().commit(),
        fail=shell.fail,
        metrics=metrics,
    )
    feed(app, topic, shell, name="ingest")
    return app, cast("dict[int, Intake]", shell.owners)


async def _begin(logs: Logs, admin: Any, orders: Orders, number: int, *, accept_gap: bool) -> int:
    committed = (await _committed(admin, orders)).get(number, -1)
    earliest = (await logs.starts(orders.topic))[number]
    end = (await logs.ends(orders.topic))[number]
    if committed < 0:
        return earliest if orders.start == "earliest" else end
    where = f"{orders.topic} partition {number}"
    if committed > end:
        line = (
            f"{where} ends at {end}, and group {orders.group} has read up to {committed}: it was recreated; "
            "use another --group to begin anew"
        )
        raise Refusal(Exit.RECREATED, line)
    if committed < earliest:
        if not accept_gap:
            line = f"{where}: records {committed} to {earliest - 1} were deleted before they were read; "
            raise Refusal(Exit.GAP, line + "start with --accept-gap to go on without them")
        log.warning("gap_accepted", topic=orders.topic, partition=number, start=committed, end=earliest)
    return max(committed, earliest)


async def _committed(admin: Any, orders: Orders) -> dict[int, int]:
    deadline = monotonic() + _PATIENCE
    while True:
        try:
            found = await admin.list_consumer_group_offsets(orders.group)
        except KafkaError as error:  # the coordinator of a first group comes up slowly
            if not error.retriable or monotonic() > deadline:
                raise Refusal(Exit.NO_BROKER, f"no offsets of the group {orders.group}: {error!r}") from error
            await asyncio.sleep(_PULSE)
        else:
            return {tp.partition: at.offset for tp, at in found.items() if tp.topic == orders.topic}


async def _until(  # noqa: PLR0917
    stop: asyncio.Event,
    app: Application,
    intakes: "dict[int, Intake]",
    admin: Any,
    orders: Orders,
    ends: dict[int, int],
) -> None:
    """Stop when the whole group has come to `ends`: other processes may hold some of the partitions."""
    while not stop.is_set():
        await asyncio.sleep(_PULSE)
        for intake in list(intakes.values()):
            await intake.settle()
        if intakes:
            await cast("Consumer", app.consumer).commit()
        committed = await _committed(admin, orders)
        if all(committed.get(number, -1) >= end for number, end in ends.items()):
            stop.set()


def run(settings: Settings, orders: Orders) -> int:
    """Take in as this process: until SIGTERM or SIGINT, or to the end. Returns the exit code, having said why on
    stderr.
    """

    async def main(stop: asyncio.Event) -> None:
        registry = CollectorRegistry()
        metrics = IngestMetrics(registry)
        expose_metrics(settings, registry)
        try:
            await serve(settings, orders, stop, metrics)
        finally:
            counts = metrics.counts
            print(  # noqa: T201 for the person at the terminal
                f"{counts['sent']:,} sent, {counts['refused']:,} refused (dead letters), {counts['skipped']:,} skipped",
                flush=True,
            )

    return run_process(settings, main)
