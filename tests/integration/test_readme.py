"""Every command that the README shows is run, in its order, as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from agents.local import LocalKafka
from agents.process import free_port, spawn_bound
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]
COMMANDS = [re.sub(r" +# .*", "", line).strip() for block in BLOCKS for line in block]


def test_the_readme_shows_commands_and_the_two_that_a_newcomer_needs() -> None:
    assert sum(command.startswith("rekindle ") for command in COMMANDS) >= 15
    assert re.search(r"^make demo ", README, re.MULTILINE)
    assert re.search(r"^make test ", README, re.MULTILINE)


def test_the_quick_start_for_an_existing_kafka_takes_at_most_ten_lines() -> None:
    quick_start = next(block for block in BLOCKS if any("REKINDLE_BROKERS" in line for line in block))
    assert len(quick_start) <= 10


def test_every_command_of_the_readme_works(kafka: LocalKafka, prefix: str, tmp_path: Path) -> None:
    for name in ("examples", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = os.environ | {
        "REKINDLE_TOPIC_PREFIX": prefix,
        "REKINDLE_METRICS_PORT": str(free_port()),
        "PYTHONPATH": str(ROOT),
    }
    workers = []
    try:
        for command in COMMANDS:
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                assert (name, value) == ("REKINDLE_BROKERS", "localhost:9092")
                environment[name] = kafka.bootstrap
                continue
            program, *arguments = shlex.split(command)
            assert program == "rekindle"
            call = [sys.executable, "-m", "agents.cli", *arguments]
            if arguments[-1] == "&":
                workers.append(spawn_bound(call[:-1], env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL))
                continue
            done = subprocess.run(
                call, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            if done.returncode:
                pytest.fail(f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(timeout=PATIENCE)
    assert workers
    assert (tmp_path / "build" / "replay" / "triggers.jsonl").read_text().count("\n") == 2
