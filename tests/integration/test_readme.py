"""Every command that the README shows is run: those of its blocks in their order, as they stand there, then those in
its text; those that never end, or are of the whole repository, elsewhere.
"""

import asyncio
import gzip
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from agents.local import LocalKafka
from agents.local_redis import LocalRedis
from agents.process import free_port, spawn_bound
from agents.settings import load_settings
from agents.views.agreement import agree
from tests.unit.test_risk_evaluate import raws
from tests.waiting import PATIENCE, SOON

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]
COMMANDS = [re.sub(r" +# .*", "", line).strip() for block in BLOCKS for line in block]
IN_TEXT = [*re.findall(r"`((?:rekindle|make) [^`]+)`", README), *re.findall(r"^(make \w+)\b", README, re.MULTILINE)]
ELSEWHERE = {
    "rekindle up": "tests/integration/test_up.py",
    "rekindle ingest --mapping M.yaml": "tests/integration/test_ingest.py",
    "rekindle ingest --mapping deploy/mappings/segment.yaml --topic shop.events": "tests/integration/test_ingest.py",
    "rekindle relay --to URL": "tests/integration/test_relay.py",
    "make env": ".ci/run",
    "make demo": ".ci/run",
    "make demo ARGS=--exit": ".ci/run",
    "make test": ".ci/run",
    "make faults": ".ci/run",
}
"""Command -> what runs it with the same words, but for names and places."""
STANDS_FOR = {"ID": "bob"}


def test_the_readme_shows_commands_and_the_two_that_a_newcomer_needs() -> None:
    assert sum(command.startswith("rekindle ") for command in COMMANDS) >= 15
    assert re.search(r"^make demo ", README, re.MULTILINE)
    assert re.search(r"^make test ", README, re.MULTILINE)


def test_the_quick_start_for_an_existing_kafka_takes_at_most_ten_lines() -> None:
    quick_start = next(block for block in BLOCKS if any("REKINDLE_BROKERS" in line for line in block))
    assert len(quick_start) <= 10


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_run_elsewhere_is_run_there(command: str) -> None:
    assert command in IN_TEXT, "the README does not show it any more"
    runs = (ROOT / ELSEWHERE[command]).read_text()
    program, *words = shlex.split(command)
    for word in [program, *words] if program == "make" else words:
        if not re.search(r"^[A-Z]+$|[./]", word):
            assert re.search(rf"(?<![\w-]){re.escape(word.removeprefix('ARGS='))}(?![\w-])", runs), word


def test_every_command_of_the_readme_works(kafka: LocalKafka, prefix: str, tmp_path: Path) -> None:
    for name in ("examples", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = os.environ | {
        "REKINDLE_TOPIC_PREFIX": prefix,
        "REKINDLE_METRICS_PORT": str(free_port()),
        "PYTHONPATH": str(ROOT),
    }
    (tmp_path / "events.jsonl.gz").write_bytes(gzip.compress(b"".join(raw.value + b"\n" for raw in raws())))
    (tmp_path / "new.yaml").write_text(
        (ROOT / "deploy" / "policy.yaml").read_text().replace("silence: 30d", "silence: 21d")
    )
    background = []

    def run(command: str) -> None:
        program, *words = [STANDS_FOR.get(word, word) for word in shlex.split(command)]
        assert program == "rekindle"
        call = [sys.executable, "-m", "agents.cli", *words]
        if words[-1] == "&":
            background.append(spawn_bound(call[:-1], env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL))
            return
        done = subprocess.run(
            call, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            pytest.fail(f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")

    with LocalRedis(tmp_path / "redis") as redis:
        environment["REKINDLE_REDIS_URL"] = redis.url
        try:
            for command in COMMANDS:
                if command.startswith("export "):
                    name, _, value = command.removeprefix("export ").partition("=")
                    assert (name, value) == ("REKINDLE_BROKERS", "localhost:9092")
                    environment[name] = kafka.bootstrap
                else:
                    run(command)
            assert background
            environment["REKINDLE_METRICS_PORT"] = "0"
            run("rekindle views &")
            where = load_settings(brokers=kafka.bootstrap, topic_prefix=prefix, redis_url=redis.url)
            assert asyncio.run(agree(where, SOON)) == []
            for command in dict.fromkeys(IN_TEXT):
                if command not in ELSEWHERE:
                    run(command)
        finally:
            for process in background:
                process.terminate()
                process.wait(timeout=PATIENCE)
    assert (tmp_path / "build" / "replay" / "triggers.jsonl").read_text().count("\n") == 2
