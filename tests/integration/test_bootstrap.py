"""Every command of docs/bootstrap.md, in its order, as it stands there; and that nothing is sent for the past."""

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep

import pytest

from agents.local import LocalKafka
from agents.process import spawn_bound
from tests.integration.edge import ROOT, Deployment
from tests.waiting import PATIENCE, eventually

PAGE = (ROOT / "docs" / "bootstrap.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [re.sub(r" +# .*", "", line).strip() for block in BLOCKS for line in block.splitlines()]
NOW = datetime.now(UTC)
USERS = 400


def segment(user: int, days: float) -> bytes:
    event = {
        "messageId": f"h{user}-{days:.2f}",
        "type": "track",
        "event": "Order Completed",
        "userId": f"user-{user}",
        "timestamp": (NOW - timedelta(days=days)).isoformat(),
        "properties": {"revenue": "12.50", "currency": "USD"},
    }
    return json.dumps(event).encode()


def plain(user: int, days: float) -> tuple[bytes, bytes]:
    fields = {"user": f"user-{user}", "event": "visit", "ts": (NOW - timedelta(days=days)).timestamp()}
    return b"k", json.dumps(fields).encode()


def test_the_page_from_nothing_to_live_sends_nothing_for_the_past(
    kafka: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    shop = Deployment(kafka.bootstrap, prefix, tmp_path)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    (tmp_path / "sample.jsonl").write_bytes(segment(1, 1))
    policy = (ROOT / "deploy" / "policy.yaml").read_text()
    (tmp_path / "live.yaml").write_text(policy.replace("\nmode: shadow", "\nmode: live"))
    with gzip.open(tmp_path / "history.jsonl.gz", "wb") as file:  # two years, most users gone for months
        days = sorted(((730 - 1.7 * n + 0.3 * visit, n) for n in range(USERS) for visit in range(3)), reverse=True)
        file.write(b"\n".join(segment(n, max(day, 3)) for day, n in days))
    names = {name: f"{prefix}{name}" for name in ("shop.history", "shop.events")}
    for name in names.values():
        shop.make_topic(name, 2)
    shop.write(names["shop.history"], [plain(n, 40 + n / 10) for n in range(USERS, 2 * USERS)])
    environment = shop.environment | {"REKINDLE_TOPIC_PREFIX": prefix, "REKINDLE_TICK_AFTER": "0.5"}
    running: list[tuple[str, subprocess.Popen[bytes]]] = []
    said: dict[str, str] = {}
    try:
        for command in COMMANDS:
            if command.startswith("export "):
                environment["REKINDLE_BROKERS"] = kafka.bootstrap
                continue
            program, *words = shlex.split(command)
            assert program == "rekindle"
            call = [sys.executable, "-m", "agents.cli", *(names.get(word, word) for word in words)]
            if words[-1] == "&":
                with (tmp_path / f"{words[0]}.log").open("ab") as log:
                    process = spawn_bound(call[:-1], env=environment, cwd=tmp_path, stdout=log, stderr=log)
                running.append((command, process))
                continue
            done = subprocess.run(
                call, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            if done.returncode:
                pytest.fail(f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
            said[command] = done.stdout
            if "shop.history" in command:
                eventually(lambda: shop.counts()["backfilled"] == 3 * USERS + USERS)
        assert len(running) == 2
        assert any(f"{USERS:,} sent, 0 refused" in words for words in said.values())
        assert "no dead letters" in said["rekindle deadletters list"]
        sleep(3)  # ticks pass; live events come in
        shop.write(names["shop.events"], [plain(n, 0) for n in range(20)])
        eventually(lambda: shop.counts()["applied"] == 4 * USERS + 20)
        counts = shop.counts()
        assert (counts["rejected"], counts["duplicate"]) == (0, 0)
        assert counts["control"] > 16, "ticks"
        assert shop.read(shop.settings.topic("triggers")) == []
        decided = [json.loads(record.value) for record in shop.read(shop.settings.topic("decisions"))]
        assert [decision for decision in decided if decision["data"]["decision"] == "send"] == []
        findings = shop.json("verify", "--wait", "120")
        assert findings["ok"], findings["details"]
        for command, process in running:
            process.terminate()
            assert process.wait(PATIENCE) == 0, (
                f"{command}: {os.linesep.join(p.read_text() for p in tmp_path.glob('*.log'))}"
            )
    finally:
        for _, process in running:
            process.kill()
            process.wait()
