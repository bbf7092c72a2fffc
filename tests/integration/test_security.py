"""Under SASL_SSL with rights: those that `topics create --dry-run` prints suffice, and each one is needed."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep, time
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from agents.exits import Exit
from agents.kafka.admin import create_topics, plan
from agents.kafka.commands import acl_commands
from agents.kafka.connection import client_options
from pipeline.risk import Recency
from pipeline.units import DAY
from tests.builders import event
from tests.integration.secure import Right, SecureKafka, needed, rights, settings_as
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
PREFIX, APP = "shop.", "recall"
USERS = ("rekindle", "rekindle-publisher", "rekindle-subscriber", "rekindle-operator", "backend", "privacy")
PRINTED = rights(acl_commands("127.0.0.1:1", PREFIX, APP))
PRIVACY = {
    right._replace(who="User:privacy") for right in PRINTED if right.who in {"User:rekindle-operator", "User:backend"}
}
"""Of whoever erases: those of operator and backend, as docs/operations.md has it."""
POLICY = """
version: 1
mode: live
salt: test
consent: {email: {basis: opt_out, trait: email}}
perks: [{id: ten-off, cost: 10, budget: 5120}]
rules: [{id: silent, when: {silence: 30d}, perk: ten-off, holdout: 0, expires_after: 3d, goal: {within: 7d}}]
"""


class Deployment:
    """A secured broker, its topics, and everybody with the rights that are printed and no others."""

    def __init__(self, secure: SecureKafka) -> None:
        self.secure = secure
        own = {name: os.environ[name] for name in ("REKINDLE_ERASURE_KEY_FILE",)}
        own |= {"REKINDLE_TOPIC_PREFIX": PREFIX, "REKINDLE_APP_ID": APP}
        self.names = {user: secure.enrol(user) | own for user in USERS}
        create_topics(secure.open, plan(PREFIX, 2))
        secure.grant([*PRINTED, *PRIVACY])

    def environment(self, user: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("REKINDLE_")}
        return kept | self.names[user] | {"REKINDLE_METRICS_PORT": "0", "REKINDLE_TICK_AFTER": "1"}

    def run(self, user: str, *words: str | Path) -> tuple[int, str]:
        """A command's exit code and everything that it said."""
        done = subprocess.run(
            [sys.executable, "-m", "agents.cli", *words],
            env=self.environment(user), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def work(self, until: str, patience: float = PATIENCE) -> tuple[int | None, str]:
        """Run a worker until it ends (its exit code) or has said `until` (None), and what it said."""
        with tempfile.TemporaryFile() as said:
            worker = subprocess.Popen(
                [sys.executable, "-m", "agents.cli", "worker"],
                env=self.environment("rekindle"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said,
            )  # fmt: skip
            try:
                deadline = monotonic() + patience
                while worker.poll() is None and monotonic() < deadline:
                    said.seek(0)
                    if until in said.read().decode():
                        break
                    sleep(0.1)
                code = worker.poll()
            finally:
                worker.terminate()
                worker.wait(PATIENCE)
            said.seek(0)
            return code, said.read().decode()

    async def send(self, count: int = 20) -> None:
        """Events as a backend writes them, 40 days old and new."""
        options = client_options(settings_as(self.names["backend"]))
        async with AIOKafkaProducer(**options, enable_idempotence=True) as producer:
            now = round(time() * 1000)
            for n in range(count):
                entry = event(now - n * 1000, f"user-{n}", id=f"{now}-{n}")
                await producer.send_and_wait(PREFIX + "users", entry.value, entry.key)


@pytest.fixture(scope="module")
def deployment(broker_folder: Path) -> Iterator[Deployment]:
    folder = broker_folder / f"secure-{uuid4().hex[:6]}"  # each module that takes this fixture has one of its own
    secure = SecureKafka(folder)
    with secure.kafka:
        deployment = Deployment(secure)
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        code, said = deployment.run("rekindle-publisher", "policy", "publish", policy, "--live")
        assert code == 0, said
        yield deployment


def mine(user: str) -> list[Right]:
    return [right for right in needed(PRINTED) if right.who == f"User:{user}"]


def named(right: Right) -> str:
    return f"{right.operation}-{right.kind.strip('-')}-{right.name}"


async def test_the_printed_rights_suffice_for_everybody(deployment: Deployment, tmp_path: Path) -> None:
    await deployment.send()
    code, said = deployment.run("privacy", "erase", "user-3", "--wait", "0")
    assert (code, "is a worker running" in said) == (Exit.BUG, True), said
    code, said = deployment.work("no such line", patience=8)
    assert code is None, said
    assert said.count("partition_ready") == 2
    model = tmp_path / "model.json"
    model.write_bytes(Recency(30 * DAY, 0.0, 0.0, 1.0).to_json())
    for line in ("hold", "release", "policy history", f"model publish {model}", "model retire", "perks lease"):
        code, said = deployment.run("rekindle-publisher", *line.split())
        assert code == 0, (line, said)
    lines = "topics check|doctor|verify|tail decisions|deadletters list|certificate user-3|model list|report perks"
    for line in (*lines.split("|"), "policy diff current current --from-topic"):
        code, said = deployment.run("rekindle-operator", *line.split())
        assert code == 0 or (line == "verify" and "behind" in said), (line, said)
    options = client_options(settings_as(deployment.names["rekindle-subscriber"]))
    consumer = AIOKafkaConsumer(
        PREFIX + "triggers", PREFIX + "outcomes", **options, group_id="mailer", isolation_level="read_committed"
    )
    async with consumer:
        await consumer.getmany(timeout_ms=2_000)
        assert len(consumer.assignment()) == 4
        await consumer.commit()


LACKING = [
    right
    for right in mine("rekindle")
    if right.name.removeprefix(PREFIX) in ("users", "state", "registry", APP) and right.operation != "DescribeConfigs"
] + [Right("User:rekindle", "DescribeConfigs", "--topic", PREFIX + "triggers", "literal")]


@pytest.mark.parametrize("right", LACKING, ids=named)
async def test_a_worker_that_lacks_a_right_says_which_and_ends(deployment: Deployment, right: Right) -> None:
    assert right in PRINTED
    with deployment.secure.without(right):
        await deployment.send(4)
        code, said = deployment.work("no such line")
    line = said.strip().splitlines()[-1]
    assert code in (Exit.TOPICS, Exit.SEND), f"{code}: {said[-2000:]}"
    assert line.startswith("rekindle: ")
    assert right.name in line
    assert "Authorization" in line or "DescribeConfigs" in line


PUBLISHING = [right for right in mine("rekindle-publisher") if right.name != PREFIX + "state"]
"""Without that of whoever leases perks: an empty state is read without a right to."""


@pytest.mark.parametrize("right", PUBLISHING, ids=named)
def test_a_publisher_that_lacks_a_right_says_which(deployment: Deployment, right: Right) -> None:
    with deployment.secure.without(right):
        if right.operation == "Read":
            code, said = deployment.run("rekindle-publisher", "policy", "history")
        else:
            code, said = deployment.run("rekindle-publisher", "policy", "publish", ROOT / "deploy" / "policy.yaml")
    line = said.strip().splitlines()[-1]
    assert code not in (0, Exit.BUG)
    assert line.startswith("rekindle: ")
    assert right.name in line


def test_a_wrong_password_and_a_foreign_authority_are_readable(deployment: Deployment, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    names = deployment.names["rekindle-operator"]
    for change in ({"REKINDLE_SASL_PASSWORD_FILE": str(wrong)}, {"REKINDLE_SSL_CAFILE": ""}):
        deployment.names["rekindle-operator"] = {k: v for k, v in (names | change).items() if v}
        code, said = deployment.run("rekindle-operator", "topics", "check")
        deployment.names["rekindle-operator"] = names
        line = said.strip().splitlines()[-1]
        assert code == Exit.NO_BROKER, said
        assert line.startswith("rekindle: ")


def test_every_printed_right_of_the_worker_is_one_that_it_needs() -> None:
    kinds = {(right.operation, right.kind, right.name.removeprefix(PREFIX)) for right in mine("rekindle")}
    assert {name for operation, _, name in kinds if operation == "Read"} == {"users", "state", "registry", APP}
    assert not any(right.operation in ("All", "Create", "Alter", "Delete") for right in PRINTED)


def test_asyncio_is_used_under_tls(deployment: Deployment) -> None:
    """With uvloop it would stall for 30 s at about every second start."""
    for _ in range(4):
        began = monotonic()
        code, said = deployment.work("partition_ready", patience=25)
        assert code is None, said
        assert "partition_ready" in said
        assert monotonic() - began < 25


async def test_a_subscriber_can_not_write_and_a_backend_can_not_read(deployment: Deployment) -> None:
    options = client_options(settings_as(deployment.names["rekindle-subscriber"]))
    async with AIOKafkaProducer(**options) as producer:
        with pytest.raises(Exception, match=r"Authorization|Illegal"):
            await asyncio.wait_for(producer.send_and_wait(PREFIX + "users", b"x", b"y"), PATIENCE)
    code, said = deployment.run("backend", "tail", "triggers")
    assert code != 0
    assert "rekindle: " in said
