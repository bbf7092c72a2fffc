"""The processes of a cluster: workers and what stands beside them, and what they have said."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agents.process import spawn_bound

ROOT: Final = Path(__file__).parents[2]

THIS_RELEASE: Final = (
    "import sys; from agents.app import run; from agents.settings import load_settings; sys.exit(run(load_settings()))"
)
NEXT_RELEASE: Final = f"import pipeline.position as position; position.CORE_VERSION += 1\n{THIS_RELEASE}"
"""It knows one core more; else it is this release."""


@dataclass
class Process:
    """A process of a cluster. `planned`: its end is waited for by a fault, so the supervisor leaves it alone."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    """REKINDLE_* without the prefix."""
    log: Path
    sign: str
    """What it logs once it is ready."""
    process: subprocess.Popen[Any]
    begins: int
    """Where its part of the log begins, bytes."""
    planned: bool = False

    @property
    def ready(self) -> bool:
        """Whether it does its work: a worker has opened a partition."""
        return self.sign in self.said

    @property
    def listens(self) -> bool:
        """Whether it handles signals."""
        return self.ready or "Starting" in self.said

    @property
    def said(self) -> str:
        """What it has written to its log."""
        with self.log.open("rb") as log:
            log.seek(self.begins)
            return log.read().decode(errors="replace")

    @property
    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1][:500] if lines else "it said nothing"


def launch(name: str, command: Sequence[str], env: Mapping[str, str], log: Path, sign: str) -> Process:
    """Start a process of this checkout; what it says is added to `log`."""
    whole = {key: value for key, value in os.environ.items() if not key.startswith("REKINDLE_")}
    whole |= {f"REKINDLE_{key}": value for key, value in env.items()}
    with log.open("ab") as out:
        begins = out.tell()
        process = spawn_bound([sys.executable, *command], stdout=out, stderr=out, env=whole, cwd=ROOT)
    return Process(name, command, env, log, sign, process, begins)
