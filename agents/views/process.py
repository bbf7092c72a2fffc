"""The projector as a process: `rekindle views`."""

import asyncio
import gc
import signal
import sys

from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from agents.exits import Exit, Refusal
from agents.exposition import expose
from agents.kafka.connection import new_loop
from agents.log import configure_logs, logger
from agents.settings import Settings
from agents.views.connection import redis_client
from agents.views.metrics import ViewMetrics
from agents.views.projector import Projector

log = logger(__name__)


async def keep_views(settings: Settings, stop: asyncio.Event, metrics: ViewMetrics) -> None:
    """Keep the views until `stop` is set. Raises Refusal."""
    redis = redis_client(settings)
    try:
        await Projector(settings, redis, metrics).run(stop)
    finally:
        await redis.aclose()


def run(settings: Settings) -> int:
    """Keep the views as this process, until SIGTERM or SIGINT; the exit code. Why it ended is said on stderr."""
    configure_logs(settings.log_level, settings.log_format)
    gc.set_threshold(100_000, 20, 100)

    async def main() -> None:
        registry = CollectorRegistry()
        metrics = ViewMetrics(registry)
        address = expose(registry, settings.metrics_bind, settings.metrics_port).address
        log.info("metrics_served", address=address)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await keep_views(settings, stop, metrics)

    try:
        with asyncio.Runner(loop_factory=lambda: new_loop(settings.security_protocol)) as runner:
            runner.run(main())
    except Refusal as refusal:
        print(f"rekindle: {refusal.line}", file=sys.stderr, flush=True)  # noqa: T201 for the person at the terminal
        return refusal.code
    except KafkaError as error:
        line = f"the brokers at {settings.brokers} refuse: {type(error).__name__}"
        print(f"rekindle: {line}", file=sys.stderr, flush=True)  # noqa: T201
        return Exit.NO_BROKER
    except Exception as error:  # noqa: BLE001 becomes an exit code; its text may quote a row
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = "" if where is None else f" at {where.tb_frame.f_code.co_filename}:{where.tb_lineno}"
        print(f"rekindle: unexpected {type(error).__name__}{place}", file=sys.stderr, flush=True)  # noqa: T201
        return Exit.BUG
    return Exit.OK
