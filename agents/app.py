"""The composition root of a worker: settings in, a wired faust application out; and the process around it."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from faust.app.base import BootStrategy
from prometheus_client import CollectorRegistry
from yarl import URL

from agents.erasure_key import erasure_key
from agents.exits import Exit, Refusal, no_broker
from agents.exposition import expose
from agents.failpoints import Failpoints
from agents.kafka.admin import check_topics, refuse_differences
from agents.kafka.connection import client_options, new_loop
from agents.kafka.core import Core
from agents.kafka.owner import Owner, Terms
from agents.kafka.shell import Shell
from agents.kafka.store import Registry
from agents.kafka.transport import Consumer, Transport
from agents.log import configure_logs, logger
from agents.metrics import Metrics
from agents.observe import Observer, Silent
from agents.settings import Settings
from agents.ticks import Controls, Ticks
from agents.users import define_users
from pipeline.erasure import WrongKey
from pipeline.partition import Partition
from pipeline.records import CoreError, MissingBody, UnknownVersion, UnreadableBody
from schemas.control import Gap
from schemas.topics import REGISTRY, USERS

log = logger(__name__)

_LEAVE = 8.0  # s for everything that follows SIGTERM
_FORBIDDEN = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    ClusterAuthorizationFailedError,
)

MakeCore = Callable[[int, int, dict[str, bytes]], Core]
"""Number and count of partitions, registry -> a partition's core."""


class _Boot(BootStrategy):
    """Faust's producer is not started: what a worker writes goes through its transactions."""

    enable_kafka_producer = False
    enable_web = False


class Application(faust.App):
    """The faust application, which commits and lets go of its partitions before it stops consuming."""

    BootStrategy = _Boot
    shell: Shell

    async def on_first_start(self) -> None:
        """Faust would make directories here; nothing is kept on disk."""

    async def on_stop(self) -> None:
        """Everything folded is committed before the group is left."""
        await self.shell.close()
        await super().on_stop()


@dataclass
class Worker:
    """A wired worker. `app` runs it; `shell.failure` says why it has to end."""

    app: Application
    shell: Shell
    registry: Registry
    ticks: Ticks


def application(
    settings: Settings,
    group: str,
    count: int,
    shell: Shell,
    options: Mapping[str, Any],
    *,
    commit_interval: float = 2.0,
) -> Application:
    """A faust application that keeps nothing itself and serves nothing.

    Args:
        settings: timeouts.
        group: consumer group.
        count: partitions of the topic that it reads.
        shell: who is told of assignments and chunks.
        options: of `client_options`.
        commit_interval: between two commits of the group's offsets, s.
    """
    app = Application(
        group,
        broker=[URL(f"aiokafka://{broker}") for broker in options["bootstrap_servers"]],
        autodiscover=False,
        store="memory://",
        cache="memory://",
        datadir=Path(os.devnull).parent,
        debug=False,
        web_enabled=False,
        web_tables_enabled=False,
        web_router_enabled=False,
        table_standby_replicas=0,
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=count,
        stream_wait_empty=False,
        stream_buffer_maxsize=4096,  # chunks; the shell bounds what is fetched
        broker_commit_interval=commit_interval,
        broker_session_timeout=settings.session_timeout,
        broker_heartbeat_interval=settings.session_timeout / 6,
        broker_rebalance_timeout=max(30.0, 2 * settings.session_timeout),
        broker_client_id=f"{group}-{os.getpid()}",
    )
    app.shell = shell
    app.transport = Transport(app.conf.broker_consumer, app, shell=shell, options=options)
    return app


def build(
    settings: Settings,
    count: int,
    producer: AIOKafkaProducer,
    *,
    observer: Observer | None = None,
    make_core: MakeCore | None = None,
) -> Worker:
    """Wire a worker; call it on the loop that will run it. Nothing connects yet.

    Args:
        settings: what to connect to and how.
        count: partitions of the user topic.
        producer: plain and started; ticks are appended by it.
        observer: hears what happens.
        make_core: another core than the real one, for tests.

    Raises:
        Refusal: there is no key of erasures.
    """
    options = client_options(settings)
    observer = observer or Silent()
    source = settings.topic(USERS.name)
    registry = Registry(options, settings.topic(REGISTRY.name))
    controls = Controls(producer, source)
    secret = b"" if make_core is not None else erasure_key(settings)

    def core(number: int) -> Core:
        if make_core is not None:
            return make_core(number, count, registry.bodies)
        return Partition(number, count, registry.bodies, tenant=settings.tenant, topic=source, secret=secret)

    async def announce_gap(partition: int, start: int, end: int) -> None:
        log.warning("gap_accepted", partition=partition, start=start, end=end)
        await controls.append(partition, Gap(start, end))

    shell = Shell(lambda number: Owner(number, terms), session_timeout=settings.session_timeout)
    app = application(settings, settings.app_id, count, shell, options)

    def consumer() -> Consumer:  # made by faust when it is first asked for
        return cast("Consumer", app.consumer)

    terms = Terms(
        options=options,
        app_id=settings.app_id,
        topic=settings.topic,
        commit_interval=settings.commit_interval,
        transaction_timeout=settings.transaction_timeout,
        accept_gap=settings.accept_gap,
        registry=registry,
        make_core=core,
        missing_body=MissingBody,
        observer=observer,
        failpoint=Failpoints(settings.failpoint),
        seek=lambda number, epoch, offset: consumer().seek_source(source, number, epoch, offset),
        announce_gap=announce_gap,
        lost=shell.lost,
        fail=shell.fail,
    )
    define_users(app, source, shell)
    ticks = Ticks(
        shell,
        lambda number: consumer().progress(source, number),
        controls,
        after=settings.tick_after,
        observer=observer,
    )
    return Worker(app, shell, registry, ticks)


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    observer: Observer | None = None,
    make_core: MakeCore | None = None,
) -> None:
    """Run a worker until `stop` is set; then everything folded is committed and the group left.

    Raises:
        Refusal: why it could not start or had to stop; nothing half-done is visible.
        CoreError: the core failed on a record.
    """
    options = client_options(settings)
    refuse_differences(await asyncio.to_thread(check_topics, options, settings.topic_prefix))
    producer = AIOKafkaProducer(**options, acks="all", client_id=f"{settings.app_id}-controls")
    try:
        await producer.start()
        count = len(await producer.partitions_for(settings.topic(USERS.name)))
        worker = build(settings, count, producer, observer=observer, make_core=make_core)
        await worker.registry.refresh()
        await live(worker.app, stop, worker.ticks.run())
    except KafkaConnectionError as error:
        raise no_broker(settings.brokers, error) from None
    finally:
        await producer.stop()


async def live(app: Application, stop: asyncio.Event, *beside: Awaitable[Any]) -> None:
    """Run a faust application, and what goes on beside it, until `stop` is set or anything of it fails.

    Raises:
        BaseException: what failed.
    """
    shell = app.shell

    async def guarded(work: Awaitable[Any]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 the reason for which the process ends
            shell.fail(error)

    # Faust reports the crash of any of its services by stopping to wait, and would run on without it.
    stopped, crashed = asyncio.create_task(stop.wait()), asyncio.create_task(app.wait_until_stopped())
    failed = asyncio.create_task(asyncio.wait([shell.failure]))
    watching = cast("Consumer", app.consumer).watch()
    running = [asyncio.create_task(guarded(work)) for work in (app.start(), watching, *beside)]
    try:
        await asyncio.wait([stopped, crashed, failed], return_when=asyncio.FIRST_COMPLETED)
        if crashed.done() and not stop.is_set():
            shell.fail(app.crash_reason or RuntimeError("faust stopped by itself"))
        if shell.failure.done():
            await shell.abandon()
    finally:
        try:
            await asyncio.wait_for(app.stop(), _LEAVE)
        except TimeoutError:
            log.warning("stop_timed_out", seconds=_LEAVE)
        for task in (stopped, crashed, failed, *running):
            task.cancel()
        await asyncio.gather(stopped, crashed, failed, *running, return_exceptions=True)
    if shell.failure.done():
        raise shell.failure.result()


def refusal_of(error: BaseException) -> Refusal:
    """The exit code and the line for whatever ended a worker."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, UnknownVersion):
        code = Exit.STATE_VERSION if error.what == "state" else Exit.CORE_VERSION
        return Refusal(code, f"{error}; start the newer release")
    if isinstance(error, UnreadableBody | MissingBody):
        return Refusal(Exit.POLICY, f"{error}; publish a policy that this release can read (rekindle policy publish)")
    if isinstance(error, WrongKey):
        return Refusal(Exit.ERASURE_KEY, f"{error}; find the file that it had before (REKINDLE_ERASURE_KEY_FILE)")
    if isinstance(error, CoreError):
        line = f"{error}; after a look at it: rekindle skip {error.partition} {error.offset} --reason ..."
        return Refusal(Exit.BUG, line)
    if isinstance(error, KafkaConnectionError):
        return Refusal(Exit.NO_BROKER, f"no answer from the brokers: {error}")
    if isinstance(error, _FORBIDDEN):
        line = f"the brokers refuse a right: {error}; `rekindle topics create --dry-run` lists the ACLs that are needed"
        return Refusal(Exit.TOPICS, line)
    return Refusal(Exit.BUG, f"unexpected {type(error).__name__}: {error}")


def run(settings: Settings, *, observer: Observer | None = None, make_core: MakeCore | None = None) -> int:
    """Run a worker as this process: until SIGTERM or SIGINT. Returns the exit code, having said why on stderr.

    Without an observer its metrics are counted and served over HTTP.
    """

    async def main(stop: asyncio.Event) -> None:
        nonlocal observer
        if observer is None:
            registry = CollectorRegistry()
            observer = Metrics(registry)
            expose_metrics(settings, registry)
        await serve(settings, stop, observer=observer, make_core=make_core)

    # A fold makes hundreds of thousands of objects a second and no cycles; looking for some took a fifth of its time.
    gc.freeze()
    gc.set_threshold(400_000, 20, 100)
    return run_process(settings, main)


def expose_metrics(settings: Settings, registry: CollectorRegistry) -> None:
    """Serve metrics and say where."""
    address = expose(registry, settings.metrics_bind, settings.metrics_port).address
    log.info("metrics_served", address=address)
    print(f"metrics: {address}", flush=True)  # noqa: T201 the port may be another than the one asked for


def run_process(settings: Settings, main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Run `main` as this process, until SIGTERM or SIGINT sets its event. Returns the exit code, having said why on
    stderr.
    """
    configure_logs(settings.log_level, settings.log_format)

    async def stoppable() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await main(stop)

    code = Exit.OK
    try:
        with asyncio.Runner(loop_factory=lambda: new_loop(settings.security_protocol)) as runner:
            runner.run(stoppable())
    except BaseException as error:  # the one place where an exception becomes an exit code
        refusal = refusal_of(error)
        code = refusal.code
        if code is Exit.BUG:
            log.exception("process_failed")
        print(f"rekindle: {refusal.line}", file=sys.stderr, flush=True)  # noqa: T201 for the person at the terminal
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if any(not thread.daemon for thread in others):
        os._exit(code)  # the consumer's thread hangs on a broker that is away
    return code
