"""The HTTP server that shows a registry of metrics at /metrics."""

import errno
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, start_http_server

from agents.exits import Exit, Refusal

_TRIED: Final = 100


class Exposition(NamedTuple):
    """A running HTTP server for /metrics. `address` is its URL."""

    address: str
    server: Any

    def close(self) -> None:
        """Stop it."""
        self.server.shutdown()
        self.server.server_close()


def expose(registry: CollectorRegistry, bind: str, port: int) -> Exposition:
    """Serve a registry at `http://bind:port/metrics`, in a thread of its own.

    A taken port is no reason not to work: the next free one is used. 0: any.

    Raises:
        Refusal: the address is none of this machine, or the port may not be used.
    """
    for candidate in range(port, min(port + _TRIED, 65_536)) if port else (0,):
        try:
            server, _thread = start_http_server(candidate, addr=bind, registry=registry)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            why = error.strerror or str(error)
            line = f"metrics: can't listen on {bind}:{candidate} ({why}); set REKINDLE_METRICS_BIND or .._PORT"
            raise Refusal(Exit.USAGE, line) from error
        return Exposition(f"http://{bind}:{server.server_port}/metrics", server)
    line = f"metrics: the ports {port} to {port + _TRIED - 1} on {bind} are taken; set REKINDLE_METRICS_PORT=0"
    raise Refusal(Exit.USAGE, line)
