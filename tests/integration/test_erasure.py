"""An erasure on a real Kafka: its certificate, and that neither a snapshot of before nor a lost log revives anybody."""

import asyncio
import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from agents.erasure import certificate
from agents.exits import Exit
from agents.kafka.connection import client_options
from agents.local import LocalKafka
from pipeline.units import DAY
from schemas.codec import rfc3339
from schemas.control import Domain
from schemas.topics import COMPLETE_WITHIN
from tests.builders import milliseconds
from tests.faults.loss import recreate
from tests.integration.test_cli import START, Rekindle, event, tick

USERS = 10


@pytest.fixture
def rekindle(kafka: LocalKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rekindle:
    """A deployment of 4 partitions and ten users."""
    monkeypatch.setenv("REKINDLE_APP_ID", prefix.rstrip("."))
    command = Rekindle(kafka.bootstrap, prefix, tmp_path)
    command("topics", "create", "--partitions", "4")
    command.say(Domain("played"), tick(0))
    send(command, (event(f"user-{n}", n / 1000) for n in range(USERS)))
    return command


def send(command: Rekindle, events: Iterable[dict[str, Any]]) -> None:
    command("send", "-", text="\n".join(map(json.dumps, events)))


def test_who_was_erased_stays_erased_whatever_is_lost(rekindle: Rekindle, tmp_path: Path) -> None:
    snapshot, when = tmp_path / "before", (START + timedelta(days=1)).isoformat()
    with rekindle.worker():
        rekindle.say(tick(2))
        assert rekindle.agrees()["ok"]
        rekindle("snapshot", "--out", snapshot)
        assert rekindle.json("certificate", "user-3", code=1)["state"] == "none"
        done = rekindle.json("erase", "user-3", "--at", when)
        assert (done["state"], milliseconds(done["erased_until"])) == ("applied", tick(1).time)
        assert rekindle.json("erase", "user-3", "--at", when) == done, "the same request erases once"
        rekindle("erase", "ghost", "--at", when)
        send(rekindle, [event("user-3", 0.5), event("user-4", 0.5)])
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
    shown = rekindle.json("certificate", "user-3")
    assert (shown["refused"], shown["mark"], shown["offset"]) == (1, done["mark"], done["offset"])
    assert milliseconds(shown["complete_from"]) == (milliseconds(shown["last_record_at"]) or 0) + COMPLETE_WITHIN
    assert any("users" in line for line in shown["remains"])
    assert any("state: " in line for line in shown["remains"])
    listed = rekindle.json("deadletters", "list", "--reason", "erased")
    assert listed["total"] == 1
    assert "user-3" not in json.dumps(listed)
    assert done["mark"] in rekindle("tail", "erasures", "-n", "5").stdout

    assert "rekindle rebuild" in rekindle_after_loss(rekindle, "restore", snapshot, code=Exit.RECREATED)
    assert rekindle.json("rebuild", "--from", snapshot)["users"] == USERS - 1
    assert rekindle.json("certificate", "user-3")["refused"] == 1

    lose_the_log(rekindle)
    recreate(rekindle.settings, 4, "state")
    assert "restore" not in rekindle("rebuild", "--from", snapshot, code=Exit.GAP).stderr
    assert rekindle.json("rebuild", "--from", snapshot, "--accept-gap")["users"] == USERS - 1
    assert rekindle.json("certificate", "user-3")["mark"] == done["mark"]
    for user in ("user-3", "ghost"):
        _completes(rekindle, user)


def rekindle_after_loss(rekindle: Rekindle, *words: str | Path, code: int) -> str:
    recreate(rekindle.settings, 4, "state")
    return rekindle(*words, code=code).stderr


def lose_the_log(rekindle: Rekindle) -> None:
    """As retention does, in every topic of a stream."""
    admin = KafkaAdminClient(**client_options(rekindle.settings))
    for topic in ("users", "deadletters"):
        admin.delete_records({TopicPartition(rekindle.settings.topic(topic), n): -1 for n in range(4)})
    admin.close()


def _completes(rekindle: Rekindle, user: str) -> None:
    """Nothing of them remains, and once the last topic's time is over their certificate says so."""
    shown = rekindle.json("certificate", user)
    assert (shown["state"], shown["remains"]) == ("applied", [])
    end = milliseconds(shown["complete_from"]) or 0
    for moment, state in ((end - 1, "applied"), (end, "complete")):
        found = asyncio.run(certificate(rekindle.settings, user, moment))
        assert found.state == state, rfc3339(moment)
    assert end > (milliseconds(shown["applied_at"]) or 0) + 31 * DAY


def test_another_key_is_refused(rekindle: Rekindle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with rekindle.worker():
        rekindle.say(tick(2))
        assert rekindle.agrees()["ok"]
    looks = {look["name"]: look["status"] for look in rekindle.json("doctor")["looks"]}
    assert looks["erasures"] == "ok"
    other = tmp_path / "other.key"
    monkeypatch.setenv("REKINDLE_ERASURE_KEY_FILE", str(other))
    assert "can't be read" in rekindle("worker", code=Exit.ERASURE_KEY).stderr
    rekindle("topics", "create")  # makes a new one, where there is none
    assert other.stat().st_mode & 0o777 == 0o600
    assert "another key" in rekindle("doctor", code=Exit.ERASURE_KEY).stdout
    assert "another key" in rekindle("certificate", "user-3", code=Exit.ERASURE_KEY).stderr
    assert "another key" in rekindle("erase", "user-3", code=Exit.ERASURE_KEY).stderr
