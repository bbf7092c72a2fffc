"""The process: triggers read committed, couriers by partition, outcomes written, then the group's offset committed."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import CollectorRegistry

from agents.app import expose_metrics, run_process
from agents.edge import RelayMetrics
from agents.erasure_key import erasure_key
from agents.exits import Exit, Refusal, no_broker
from agents.feedback import feedback
from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from agents.log import logger
from agents.relay.courier import Courier, Outcome, Pace
from agents.relay.erasures import Erasures, following
from agents.relay.ledger import Ledger
from agents.relay.target import Target
from agents.settings import Settings
from pipeline.position import CORE_VERSION
from schemas.deadletter import DeadLetterHeaders
from schemas.topics import DEADLETTERS, ERASURES, TRIGGERS, USERS

log = logger(__name__)

_COMMIT_INTERVAL: Final = 0.5  # s
_OPEN_MOST: Final = 2_000  # triggers of the process that are held while they wait for their next attempt
_FETCHED_MOST: Final = 200  # records of one look


class Orders(NamedTuple):
    """Where triggers go, and how. `at_once`: requests under way; `start`: where a group begins that knows nothing."""

    target: Target
    group: str
    pace: Pace = Pace()
    at_once: int = 16
    start: str = "earliest"


class Relay(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Couriers by partition, and the loop that feeds them."""

    def __init__(
        self,
        settings: Settings,
        orders: Orders,
        consumer: Any,
        producer: Any,
        metrics: RelayMetrics,
        *,
        erasures: Erasures,
    ) -> None:
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._erasures = erasures
        self._users, self._dead = settings.topic(USERS.name), settings.topic(DEADLETTERS.name)
        self._orders = orders
        self._consumer = consumer
        self._producer = producer
        self._metrics = metrics
        self._gate = asyncio.Semaphore(orders.at_once)
        self._couriers: dict[TopicPartition, Courier] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set or something fails; then what is under way ends, and is committed."""
        committing = asyncio.create_task(self._commits())
        try:
            while not stop.is_set() and not self.failure.done():
                self._hold_back()
                fetched = await self._consumer.getmany(timeout_ms=200, max_records=_FETCHED_MOST)
                for tp, records in fetched.items():
                    courier = self._couriers.get(tp)
                    for record in records if courier is not None else ():
                        courier.take(record)  # type: ignore[union-attr]
        finally:
            committing.cancel()
            await self.on_partitions_revoked(list(self._couriers))
        if self.failure.done():
            raise self.failure.result()

    def fail(self, error: BaseException) -> None:
        """The process has to end."""
        if not self.failure.done():
            self.failure.set_result(error)

    def _hold_back(self) -> None:
        """Fetch nothing that would have to wait in memory."""
        crowded = sum(courier.open for courier in self._couriers.values()) >= _OPEN_MOST
        paused = self._consumer.paused()
        for tp, courier in self._couriers.items():
            wanted = crowded or courier.ledger.full
            with suppress(IllegalStateError):  # a rebalance was faster
                if wanted and tp not in paused:
                    self._consumer.pause(tp)
                elif not wanted and tp in paused:
                    self._consumer.resume(tp)

    # ---- assignments

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What is under way ends; what waits is left to whoever has the partition next."""
        leaving = {tp: self._couriers.pop(tp) for tp in revoked if tp in self._couriers}
        await asyncio.gather(*(courier.leave() for courier in leaving.values()))
        await self._commit(leaving)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the group has come to, without those that it notes as done."""
        assigned = list(assigned)
        self._consumer.pause(*assigned)  # before the first await: nothing is fetched without its courier
        try:
            for tp in assigned:
                noted = await self._consumer._coordinator.fetch_committed_offsets([tp])  # noqa: SLF001 with its metadata
                position = await self._consumer.position(tp)
                at = noted.get(tp)
                note = at.metadata if at is not None and at.offset == position else None
                self._couriers[tp] = Courier(
                    Ledger(position, note),
                    target=self._orders.target,
                    erased=self._erasures.mark_of,
                    write=self._write,
                    gate=self._gate,
                    pace=self._orders.pace,
                    metrics=self._metrics,
                    fail=self.fail,
                )
                self._consumer.resume(tp)
            log.info("relay_assigned", partitions=sorted(tp.partition for tp in self._couriers))
        except Exception as error:  # noqa: BLE001 aiokafka would log it and go on without couriers
            self.fail(error)

    # ---- outcomes and offsets

    async def _write(self, outcome: Outcome) -> None:
        sends = []
        if outcome.kind != "sent":
            sends.append(self._dead_letter(outcome))
        if outcome.trigger is not None and outcome.mark is None:
            reason = None if outcome.kind == "sent" else f"{outcome.kind}: {outcome.why}"
            key, value = feedback(outcome.trigger, sent=outcome.kind == "sent", reason=reason)
            sends.append(self._producer.send_and_wait(self._users, value, key))
        try:
            await asyncio.gather(*sends)
        except KafkaError as error:
            line = f"an outcome could not be written: {error!r}; its trigger is handed over again"
            raise Refusal(Exit.SEND, line) from error

    def _dead_letter(self, outcome: Outcome) -> Any:
        record, mark = outcome.record, outcome.mark
        headers = DeadLetterHeaders(
            reason="undeliverable" if mark is None else "erased",
            message=f"{outcome.kind}: {outcome.why}",
            stage="relay",
            core=str(CORE_VERSION),
            topic=record.topic,
            partition=str(record.partition),
            offset=str(record.offset),
            time=str(record.timestamp),
        )
        value, key = (record.value or b"", record.key or b"") if mark is None else (b"", mark.encode())
        return self._producer.send_and_wait(
            self._dead, value, key, partition=record.partition, headers=headers.encode()
        )

    async def _commits(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL)
            await self._commit(self._couriers)

    async def _commit(self, couriers: dict[TopicPartition, Courier]) -> None:
        ledgers = {tp: courier.ledger for tp, courier in couriers.items()}
        positions = {tp: at for tp, ledger in ledgers.items() if (at := ledger.position()) is not None}
        if not positions:
            return
        try:
            await self._consumer.commit({tp: OffsetAndMetadata(*at) for tp, at in positions.items()})
        except (KafkaError, IllegalStateError) as error:  # whoever has the partition now hands them over again
            log.warning("relay_commit_failed", error=repr(error))
            return
        for tp, at in positions.items():
            ledgers[tp].committed(at)


async def serve(settings: Settings, orders: Orders, stop: asyncio.Event, metrics: RelayMetrics) -> None:
    """Relay until `stop` is set.

    Raises:
        Refusal: no broker or topic, no key of erasures, or an outcome could not be written.
    """
    options = client_options(settings)
    async with open_logs(options) as logs:
        for topic in (TRIGGERS, USERS, DEADLETTERS):
            await logs.count(settings.topic(topic.name))
        count = await logs.count(settings.topic(ERASURES.name))
    # Its assignor keeps its members' last assignment in the class: one class for each consumer of a process.
    assignor = type("Sticky", (StickyPartitionAssignor,), {})
    consumer = AIOKafkaConsumer(
        **options,
        group_id=orders.group,
        client_id=orders.group,
        partition_assignment_strategy=[assignor],
        enable_auto_commit=False,
        auto_offset_reset=orders.start,
        isolation_level="read_committed",
        session_timeout_ms=int(settings.session_timeout * 1000),
        heartbeat_interval_ms=int(settings.session_timeout * 1000 / 6),
        rebalance_timeout_ms=60_000,
        max_poll_interval_ms=300_000,
    )
    producer = AIOKafkaProducer(
        **options, client_id=f"{orders.group}-outcomes", acks="all", enable_idempotence=True, linger_ms=5
    )
    erasures = Erasures(erasure_key(settings))
    relay = Relay(settings, orders, consumer, producer, metrics, erasures=erasures)
    try:
        async with orders.target, following(settings, erasures, count, relay.fail):
            await producer.start()
            consumer.subscribe([settings.topic(TRIGGERS.name)], listener=relay)
            await consumer.start()
            await relay.run(stop)
    except KafkaConnectionError as error:
        raise no_broker(settings.brokers, error) from None
    finally:
        await consumer.stop()
        await producer.stop()


def run(settings: Settings, orders: Orders) -> int:
    """Relay as this process: until SIGTERM or SIGINT. Returns the exit code, having said why on stderr."""

    async def main(stop: asyncio.Event) -> None:
        registry = CollectorRegistry()
        metrics = RelayMetrics(registry)
        expose_metrics(settings, registry)
        await serve(settings, orders, stop, metrics)

    return run_process(settings, main)
