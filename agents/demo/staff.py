"""The demo's workers: `rekindle worker` twice, as processes that end with this one, and what their /metrics say."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from agents.exits import Exit, Refusal
from agents.process import spawn_bound
from agents.settings import Settings

_PULSE: Final = 0.7  # s between two scrapes
_READY: Final = 45.0  # s for the workers to take all partitions
_LEAVE: Final = 12.0  # s for a worker to commit and leave
_WORKER: Final = (sys.executable, "-P", "-m", "agents.cli", "worker")


@dataclass
class Member:
    """One worker, as of the last scrape."""

    number: int
    process: subprocess.Popen[Any]
    log: Path
    metrics: str | None = None
    """Address of its /metrics, once it has said so."""
    partitions: int = 0
    lag: int = 0
    """Records that it has not folded yet."""
    rate: float = 0.0
    """Records per second, control messages among them."""
    memory: int = 0
    """Bytes."""
    _seen: tuple[float, float] = field(default=(0.0, 0.0))

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def last_words(self) -> str:
        """The line that says why it ended."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("rekindle:")]
        return (told or lines or ["it said nothing"])[-1]

    def look(self) -> None:
        """Scrape it; one that doesn't answer is as it was."""
        if not self.alive:
            self.partitions = self.lag = 0
            self.rate = 0.0
            return
        if self.metrics is None:
            self.metrics = _address(self.log)
        if self.metrics is not None:
            try:
                with urlopen(self.metrics, timeout=2) as answer:  # noqa: S310 our own worker on loopback
                    self._read(answer.read().decode())
            except OSError:
                return

    def _read(self, text: str) -> None:
        totals: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        self.partitions = int(totals.get("rekindle_partitions", 0))
        self.lag = int(totals.get("rekindle_source_lag_records", 0))
        self.memory = int(totals.get("process_resident_memory_bytes", 0))
        now, records = monotonic(), totals.get("rekindle_records_total", 0.0)
        then, before = self._seen
        if then:
            self.rate = (records - before) / (now - then)
        self._seen = now, records


class Staff:
    """All workers."""

    def __init__(self, settings: Settings, folder: Path, size: int = 2) -> None:
        self.members: list[Member] = []
        keep = {name: value for name, value in os.environ.items() if name != "REKINDLE_PARENT"}
        env = keep | {
            "REKINDLE_BROKERS": settings.brokers,
            "REKINDLE_TOPIC_PREFIX": settings.topic_prefix,
            "REKINDLE_APP_ID": settings.app_id,
            "REKINDLE_SECURITY_PROTOCOL": settings.security_protocol,
            "REKINDLE_LOG_FORMAT": "json",
            "REKINDLE_LOG_LEVEL": "info",
        }
        for number in range(1, size + 1):
            log = folder / f"worker-{number}.log"
            with log.open("wb") as out:
                process = spawn_bound(_WORKER, stdout=out, stderr=subprocess.STDOUT, env=env)
            self.members.append(Member(number, process, log))

    async def watch(self) -> None:
        """Scrape them for ever."""
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(_PULSE)

    def _look(self) -> None:
        for member in self.members:
            member.look()

    def check(self) -> None:
        """Raises Refusal if none is left; the line says what the last one said."""
        if not any(member.alive for member in self.members):
            member = self.members[-1]
            code = member.process.returncode
            line = f"both workers have ended, the last with code {code}: {member.last_words()} (see {member.log})"
            raise Refusal(Exit.BUG, line)

    async def ready(self, count: int) -> None:
        """Wait until every partition has a worker. Raises Refusal."""
        deadline = monotonic() + _READY
        while sum(member.partitions for member in self.members) < count:
            self.check()
            if monotonic() > deadline:
                log = self.members[0].log
                raise Refusal(Exit.BUG, f"the workers have not taken all partitions within {_READY:.0f} s; see {log}")
            await asyncio.sleep(0.1)

    def stop(self) -> None:
        """SIGTERM: they commit and leave; by force if they don't."""
        for member in self.members:
            if member.alive:
                member.process.terminate()
        deadline = monotonic() + _LEAVE
        for member in self.members:
            try:
                member.process.wait(max(0.1, deadline - monotonic()))
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()


def _address(log: Path) -> str | None:
    for line in log.read_text(errors="replace").splitlines():
        if '"metrics_served"' in line:
            return str(json.loads(line)["address"])
    return None
