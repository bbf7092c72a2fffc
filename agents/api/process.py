"""The API as a process: `rekindle api`."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from prometheus_client import CollectorRegistry

from agents.api.app import make_app
from agents.api.guards import token_of
from agents.erasure_key import erasure_key
from agents.exits import Exit, Refusal
from agents.exposition import expose
from agents.kafka.connection import new_loop
from agents.log import configure_logs, logger
from agents.settings import Settings

log = logger(__name__)

_LEAVE = 5  # s for requests under way


class _Server(uvicorn.Server):
    """Signals are handled here: uvicorn would raise them again when all is done, and end by them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


def listen(bind: str, port: int) -> socket.socket:
    """A listening socket. Raises Refusal."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        return socket.create_server((bind, port), family=family, backlog=512)
    except OSError as error:
        why = error.strerror or str(error)
        line = f"api: can't listen on {bind}:{port} ({why}); set REKINDLE_API_BIND or REKINDLE_API_PORT (0: any)"
        raise Refusal(Exit.USAGE, line) from None


async def serve(settings: Settings, token: bytes | None, listening: socket.socket, stop: asyncio.Event) -> None:
    """Answer on a socket until `stop` is set."""
    registry = CollectorRegistry()
    metrics = expose(registry, settings.metrics_bind, settings.metrics_port)
    log.info("metrics_served", address=metrics.address)
    app = make_app(settings, token, registry)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # it would write paths, and so users
        server_header=False,
        limit_concurrency=512,
        timeout_graceful_shutdown=_LEAVE,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving
    metrics.close()


def run(settings: Settings) -> int:
    """Serve as this process until SIGTERM or SIGINT; the exit code. Why it ended is said on stderr."""
    configure_logs(settings.log_level, settings.log_format)

    async def main() -> None:
        token = token_of(settings)
        if settings.api_erase:
            erasure_key(settings)  # refused now, not when somebody asks
        listening = listen(settings.api_bind, settings.api_port)
        host, port = listening.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        log.info("api_served", address=address, token=token is not None)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(settings, token, listening, stop)

    try:
        # uvloop and Kafka under TLS do not go together (see `new_loop`); only who erases talks to Kafka.
        protocol = settings.security_protocol if settings.api_erase else "PLAINTEXT"
        with asyncio.Runner(loop_factory=lambda: new_loop(protocol)) as runner:
            runner.run(main())
    except Refusal as refusal:
        print(f"rekindle: {refusal.line}", file=sys.stderr, flush=True)  # noqa: T201 for the person at the terminal
        return refusal.code
    return Exit.OK
