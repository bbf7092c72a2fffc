"""A server of the local stack: a process on loopback that is started, watched and stopped."""

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agents.exits import Exit, Refusal
from agents.process import end


class LocalServer(ABC):
    """A context manager. It keeps its port over `stop`, `kill` and `start`, and ends with this process, however that
    ends.

    Args:
        name: as it is told to a person.
        code: of a refusal.
        data: the folder of what it keeps and of its log; made when missing.
        log: the log's name in it.
    """

    def __init__(self, name: str, code: Exit, data: Path, log: str) -> None:
        self.data = data.absolute()
        self.log = self.data / log
        self._name = name
        self._code = code
        self._process: subprocess.Popen[Any] | None = None

    @abstractmethod
    def start(self, timeout: float = 60.0) -> Self:
        """Start it, and return when it answers. Does nothing if it runs. Raises Refusal."""

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise Refusal(self._code, f"{self._name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout: float = 20.0) -> None:
        """Shut it down in order, by force after `timeout` seconds; nothing if it is down."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            end(self._process, timeout)
            self._forget()

    def kill(self) -> None:
        """End it as a power cut of its process would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def freeze(self) -> None:
        """Suspend it: connections stay open and nothing answers, as in a network that swallows packets."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _forget(self) -> None:
        """It is down."""
        self._process = None
