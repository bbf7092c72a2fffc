"""Child processes that never outlive their parent, whichever way it ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import randbelow
from typing import IO, Any

# Below the ephemeral ranges of Linux (32768-) and macOS (49152-): no outgoing connection can take the port of a server
# that is being restarted, and a client that retries meanwhile can't connect to itself.
_PORTS = range(21_000, 32_000)


class _Watchdog:
    """A shell that leads a process group and blocks on a pipe from us; when we are gone, it kills the group and itself.

    Children join the group at their fork, so there is no moment in which one is unguarded. PR_SET_PDEATHSIG would need
    no process, but it fires when the *thread* that forked ends, misses grandchildren, and exists on Linux only.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.shell = subprocess.Popen(
            ["/bin/sh", "-c", "trap '' INT TERM HUP; read _; kill -KILL 0"],
            stdin=subprocess.PIPE,  # our end is closed by the kernel when we end, however we end
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            process_group=0,
        )

    @property
    def on_duty(self) -> bool:
        """Whether this watchdog is alive and watches this process (after a fork it watches the parent)."""
        return self.owner == os.getpid() and self.shell.poll() is None


_watchdog: _Watchdog | None = None


def spawn_bound(
    args: Sequence[str | Path],
    *,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: bool = False,
) -> subprocess.Popen[Any]:
    """Start a program that is killed when this process ends: by return, exception, signal or kill -9.

    The same holds for what the program starts, in its group or by `spawn_bound` itself. It gets no terminal input and
    no Ctrl-C of the terminal: whoever calls decides the order in which things stop. `pid` is the program's own.

    Raises:
        OSError: the program does not exist or can't be started.
    """
    global _watchdog  # noqa: PLW0603 one watchdog per process, made when first needed
    if _watchdog is None or not _watchdog.on_duty:
        _watchdog = _Watchdog()
    return subprocess.Popen(
        [str(arg) for arg in args],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=None if env is None else dict(env),
        cwd=cwd,
        text=text,
        process_group=_watchdog.shell.pid,
    )


def end(process: subprocess.Popen[Any], timeout: float) -> None:
    """SIGTERM; SIGKILL if it has not left after `timeout` seconds."""
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def follow_parent(grace: float = 10.0) -> None:
    """End with `make`, should that be killed: the Makefile names itself in REKINDLE_PARENT. Without that, nothing.

    A thread looks twice a second whether this process still has that parent; when not, it gets SIGTERM, and SIGKILL
    after `grace` seconds.
    """
    parent = os.getppid()
    if os.environ.pop("REKINDLE_PARENT", "") != str(parent):
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()


def port_is_free(port: int) -> bool:
    """Whether nothing listens on this loopback port; lingering connections of a server that has ended don't count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(preferred: int = 0) -> int:
    """The preferred loopback port if it is free, else a random one that is.

    Raises:
        OSError: no port is free.
    """
    if preferred and port_is_free(preferred):
        return preferred
    for _ in range(100):
        port = _PORTS[randbelow(len(_PORTS))]
        if port_is_free(port):
            return port
    raise OSError(f"no free port on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}")


def program() -> str:
    """How `rekindle` is typed here: by its name if that finds this one, else by its path."""
    ours = Path(sys.executable).parent / "rekindle"
    if shutil.which("rekindle") == str(ours):
        return "rekindle"
    here = Path.cwd()
    return str(ours.relative_to(here) if ours.is_relative_to(here) else ours)
