"""The whole stack as a newcomer starts it: it works, it comes back with its data, and nothing of it is left."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest

from agents import stack
from agents.exits import Exit
from agents.local import home
from pipeline.policy import parse
from tests.integration.shell_log import ROOT
from tests.waiting import PATIENCE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the local stack of its own; the jars are those of the session."""
    own = tmp_path / "stack"
    own.mkdir()
    for kept in home().glob("kafka-*"):
        (own / kept.name).symlink_to(kept)
    return own


class Up:
    """A running `rekindle up`."""

    def __init__(self, folder: Path, *words: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("REKINDLE_")}
        self.env = ours | {"REKINDLE_HOME": str(folder), "REKINDLE_TICK_AFTER": "1"}
        self._out = (folder / "out").open("w+b")
        command = [sys.executable, "-P", "-m", "agents.cli", "up", *words]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=self._out, stderr=subprocess.STDOUT)

    def said(self) -> str:
        self._out.seek(0)
        return self._out.read().decode()

    def until(self, text: str, seconds: float = PATIENCE) -> str:
        deadline = time.monotonic() + seconds
        while text not in (said := self.said()):
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        return said

    def address(self, name: str) -> str:
        return next(line.split()[1] for line in self.said().splitlines() if line.startswith(f"{name} "))

    def get(self, path: str) -> Any:
        with urlopen(self.address("API") + path, timeout=PATIENCE) as answer:  # noqa: S310 our own on loopback
            return json.load(answer)

    def rekindle(self, *words: str, text: str = "") -> str:
        command = [sys.executable, "-m", "agents.cli", "--brokers", self.address("Kafka"), *words]
        env = self.env | {"REKINDLE_REDIS_URL": self.address("Redis")}
        return subprocess.run(command, cwd=ROOT, env=env, input=text, capture_output=True, text=True, check=True).stdout

    def end(self) -> list[psutil.Process]:
        """Ctrl-C; what it leaves."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE) == 0, self.said()
        _, left = psutil.wait_procs(family, timeout=PATIENCE)
        return [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def stacks(folder: Path) -> Iterator[list[Up]]:
    running: list[Up] = []
    yield running
    for each in running:
        each.process.kill()
        each.process.wait()


@pytest.mark.faults
def test_it_works_comes_back_with_its_data_and_leaves_nothing(folder: Path, stacks: list[Up]) -> None:
    stacks.append(up := Up(folder))
    up.until("Ctrl-C ends all of it")
    assert "dormant-30d (shadow), fading (shadow)" in up.said()
    typed = next(shlex.split(line)[0] for line in up.said().splitlines() if "send examples/events.jsonl" in line)
    assert shutil.which(typed) or shutil.which(ROOT / typed), typed
    seen = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    event = {"messageId": "m1", "type": "track", "event": "Visit", "userId": "ann", "timestamp": seen}
    up.rekindle("send", "-", text=json.dumps(event))
    deadline = time.monotonic() + PATIENCE
    while not _known(up):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert "new since" in up.rekindle("user", "ann")
    why = up.get("/users/ann")["why"]
    assert [rule["foretold"] for rule in why["rules"]] == ["shadow", None]
    assert up.get("/readyz")["status"] == "ok"

    worker = next(p for p in psutil.Process(up.process.pid).children(recursive=True) if "worker" in p.cmdline())
    worker.kill()
    up.until("worker-1 ended (-9)")
    assert up.end() == []

    stacks.append(again := Up(folder, "--workers", "2"))
    again.until("Ctrl-C ends all of it")
    assert "published" not in again.said(), "the policy is the one of before"
    assert again.get("/users/ann")["user"] == "ann"
    assert "everything agrees" in again.rekindle("verify")
    assert again.end() == []


def _known(up: Up) -> bool:
    try:
        return bool(up.get("/users/ann"))
    except OSError:
        return False


def test_what_would_send_has_to_be_confirmed_and_another_kafka_is_refused(folder: Path, stacks: list[Up]) -> None:
    stacks.append(up := Up(folder, "--policy", str(ROOT / "examples" / "policy.yaml")))
    assert up.process.wait(PATIENCE) == Exit.USAGE
    assert "would send; add --live" in up.said()
    command = [sys.executable, "-m", "agents.cli", "--brokers", "127.0.0.1:1", "up"]
    done = subprocess.run(command, cwd=ROOT, env=up.env, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.USAGE
    assert "a Kafka of its own" in done.stderr


def test_the_default_policy_is_there_and_in_shadow() -> None:
    policy = parse(next(path for path in stack.POLICIES if path.is_file()).read_bytes())
    assert policy.rules
    assert {rule.mode for rule in policy.rules} == {"shadow"}
