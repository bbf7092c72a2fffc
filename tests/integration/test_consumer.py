"""The example consumer: every trigger handled once under kill -9, e-mails by a real SMTP server, the running system."""

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from agents.local import LocalKafka
from agents.process import free_port, spawn_bound
from schemas.control import Domain, Tick
from tests.integration.edge import ROOT, Deployment
from tests.waiting import PATIENCE, eventually, handles_sigterm

POLICY = """\
version: 1
mode: live
consent: {email: {basis: opt_out, trait: email}}
rules:
  - {id: silent-14d, when: {silence: 14d}, template: come-back, holdout: 0, cooldown: 30d, goal: {within: 7d}}
lifecycle: {at_risk: 7d, dormant: 14d}
"""


@pytest.fixture
def shop(kafka: LocalKafka, prefix: str, tmp_path: Path) -> Deployment:
    """A deployment of 4 partitions."""
    deployment = Deployment(kafka.bootstrap, prefix, tmp_path)
    deployment("topics", "create", "--partitions", "4")
    return deployment


def consumer(shop: Deployment, program: str = "consumer.py", *more: str | Path) -> "subprocess.Popen[bytes]":
    words = ["--brokers", shop.brokers, "--prefix", shop.prefix, "--store", shop.folder / "triggers.db"]
    words += ["--group", f"{shop.prefix}example", *more]
    with (shop.folder / "consumer.log").open("ab") as log:
        call = [sys.executable, ROOT / "examples" / "consumer" / program, *words]
        return spawn_bound(call, env=dict(os.environ), cwd=shop.folder, stdout=log, stderr=log)


def stop(shop: Deployment, process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0, shop.said("consumer")


def messages(shop: Deployment) -> list[str]:
    if not (shop.folder / "triggers.db").exists():
        return []
    with closing(sqlite3.connect(shop.folder / "triggers.db")) as database:
        try:
            return [name for (name,) in database.execute("select trigger from messages")]
        except sqlite3.OperationalError:  # not made yet
            return []


@pytest.mark.faults
@pytest.mark.no_oracle("its triggers come from no log")
def test_every_trigger_is_handled_once_whenever_the_consumer_is_killed(shop: Deployment) -> None:
    ids = shop.publish(900)
    late = shop.publish(5, start=900, seconds=-10)
    for turn in range(3):
        seen = len(messages(shop))
        process = consumer(shop)
        eventually(lambda seen=seen: len(messages(shop)) > seen)  # type: ignore[misc]
        sleep(0.05 * turn)
        process.kill()
        process.wait()
    assert len(messages(shop)) < 900, "killed before the end"
    process = consumer(shop)
    eventually(lambda: len(set(shop.told())) == 905)
    stop(shop, process)
    assert Counter(messages(shop)) == Counter(ids)
    assert set(shop.told()) == {(n, "Message Sent") for n in ids} | {(n, "Message Failed") for n in late}


class Mailbox:
    """A real SMTP server's handler: some addresses are busy at first, some don't exist."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str, str]] = []
        self.busy: Counter[str] = Counter()

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if address.startswith("nobody"):
            return "550 no such mailbox"
        if address.startswith("busy") and self.busy[address] < 1:
            self.busy[address] += 1
            return "451 try later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content)
        self.mails.append((mail["Message-ID"], envelope.rcpt_tos[0], mail["Subject"]))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, str]]:
    """A real SMTP server on loopback, and its address."""
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield box, f"127.0.0.1:{controller.port}"
    controller.stop()


@pytest.mark.faults
@pytest.mark.no_oracle("its triggers come from no log")
def test_e_mails_by_a_real_smtp_server(shop: Deployment, mailbox: tuple[Mailbox, str]) -> None:
    box, smtp = mailbox
    ids = shop.publish(60, users=20)
    names = {1: "busy", 2: "nobody"}
    rows = [f"user-{n},{names.get(n, 'ann')}-{n}@example.org" for n in range(20) if n != 3]
    (shop.folder / "addresses.csv").write_text("\n".join(rows) + "\n")
    more = ("--smtp", smtp, "--sender", "shop@example.org", "--addresses", shop.folder / "addresses.csv")
    kills = 2
    for _ in range(kills):
        seen = len(box.mails)
        process = consumer(shop, "mailer.py", *more)
        eventually(lambda seen=seen: len(box.mails) > seen + 5)  # type: ignore[misc]
        process.kill()
        process.wait()
    process = consumer(shop, "mailer.py", *more)
    eventually(lambda: len(set(shop.told())) == 60)
    stop(shop, process)
    failed = {name for name in ids if int(name[1:]) % 20 in (2, 3)}
    assert {name for name, event in shop.told() if event == "Message Failed"} == failed
    sent = Counter(identity for identity, _, _ in box.mails)
    assert set(sent) == {f"<{name}@example.org>" for name in ids if name not in failed}
    assert sum(sent.values()) - len(sent) <= kills, "a kill repeats at most the one under way"
    assert {subject for _, _, subject in box.mails} == {"We have not seen you for a while"}
    reasons = {e["properties"].get("reason") for e in shop.events() if e["event"] == "Message Failed"}
    assert reasons == {"refused: 550 no such mailbox", "refused: no address"}


def test_the_running_system_from_an_event_to_the_report_of_its_message(shop: Deployment, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    start = now - timedelta(days=20)
    lines = [
        {
            "messageId": f"m{n}",
            "type": "track",
            "event": "Visit",
            "userId": f"user-{n}",
            "timestamp": (start + timedelta(minutes=n)).isoformat(),
        }
        for n in range(40)
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "policy.yaml").write_text(POLICY.replace("goal:", "expires_after: 30d, goal:"))
    shop.say(Domain("played"), Tick(round(start.timestamp() * 1000)))
    shop("policy", "publish", tmp_path / "policy.yaml", "--live")
    worker = shop.start("worker")
    handler = consumer(shop)
    shop("send", tmp_path / "events.jsonl")
    shop.say(Tick(round(datetime.now(UTC).timestamp() * 1000)))  # now: so that reports of now are no future
    eventually(lambda: len(messages(shop)) == 40)
    eventually(lambda: len(shop.told()) == 40)
    stop(shop, handler)
    findings = shop.json("verify", "--wait", "120")
    assert findings["ok"], findings["details"]
    counts = shop.counts()
    assert (counts["applied"], counts["rejected"]) == (80, 0), "40 visits and 40 reports"
    assert len(shop.read(shop.settings.topic("triggers"))) == 40
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0, shop.said("worker")


def test_every_command_of_the_page_runs(shop: Deployment, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "consumers.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 4
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "addresses.csv").write_text("ann,ann@example.org\n")
    (tmp_path / "relay.secret").write_text("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3\n")
    (tmp_path / "segment.key").write_text("key\n")
    environment = shop.environment | {"REKINDLE_BROKERS": shop.brokers, "REKINDLE_TOPIC_PREFIX": shop.prefix}
    running = []
    for command in commands:
        program, *words = shlex.split(command.replace("localhost:9092", shop.brokers))
        call = [sys.executable, *words] if program == "python" else [sys.executable, "-m", "agents.cli", *words]
        if program == "python":
            call += ["--prefix", shop.prefix]
        with (tmp_path / "page.log").open("ab") as log:
            running.append(spawn_bound(call, env=environment, cwd=tmp_path, stdout=log, stderr=log))
    for process in running:
        eventually(lambda: process.poll() is not None or handles_sigterm(process.pid))  # noqa: B023 - at once
    sleep(2)  # a command that is wrong ends soon
    for process in running:
        assert process.poll() is None, (tmp_path / "page.log").read_text()
        process.terminate()
    assert [process.wait(PATIENCE) for process in running] == [0] * 4, (tmp_path / "page.log").read_text()
