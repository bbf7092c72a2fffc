"""`rekindle ingest` on a real Kafka: mapped, re-keyed, resumed, killed, and the worker counts everything once."""

import json
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from agents.exits import Exit
from agents.local import LocalKafka
from schemas.partitioner import partition_of
from tests.integration.edge import ROOT, Deployment
from tests.waiting import PATIENCE, eventually

NOW = datetime.now(UTC)
PLAIN = ROOT / "deploy" / "mappings" / "plain.yaml"


@pytest.fixture
def shop(kafka: LocalKafka, prefix: str, tmp_path: Path) -> Deployment:
    """A deployment of 4 partitions beside a topic of 3 that somebody else owns."""
    deployment = Deployment(kafka.bootstrap, prefix, tmp_path)
    deployment("topics", "create", "--partitions", "4")
    deployment.make_topic(f"{prefix}shop", 3)
    return deployment


def visit(user: int, number: int, **more: Any) -> tuple[bytes, bytes]:
    when = (NOW - timedelta(hours=1) + timedelta(milliseconds=number)).isoformat()
    return b"a key of theirs", json.dumps({"user": f"u{user}", "event": "visit", "ts": when} | more).encode()


def ingest(shop: Deployment, *more: str) -> list[str | Path]:
    return ["ingest", "--mapping", PLAIN, "--topic", f"{shop.prefix}shop", *more]


def test_mapped_checked_and_keyed_by_user_and_what_is_bad_is_kept_with_its_place(shop: Deployment) -> None:
    topic = f"{shop.prefix}shop"
    for partition in range(3):
        shop.write(topic, [visit(n, n, part=partition) for n in range(200)], partition=partition)
    bad = [
        b"{oops",
        b'{"event": "visit"}',
        b'{"user": "rekindle.control", "event": "x"}',
        None,
        b'{"user": 1, "ts": []}',
    ]
    shop.write(topic, [(b"k", value) for value in bad], partition=1)
    future = (NOW + timedelta(days=2)).isoformat()
    shop.write(topic, [visit(1, 1, ts=future)], partition=2)
    assert shop.run(*ingest(shop, "--until-end")) == 0, shop.said("ingest")
    assert "600 sent, 6 refused (dead letters), 0 skipped" in shop.said("ingest")

    records = shop.read(shop.settings.topic("users"))
    assert len(records) == 600
    assert all(record.partition == partition_of(record.key, 4) for record in records)
    assert all(json.loads(record.value)["userId"].encode() == record.key for record in records)
    assert len({json.loads(record.value)["messageId"] for record in records}) == 600
    for user in range(0, 200, 40):  # the order within a user and a source partition is kept
        mine = [json.loads(r.value) for r in records if r.key == b"u%d" % user]
        assert len(mine) == 3

    letters = [
        ({name: text.decode() for name, text in record.headers}, record)
        for record in shop.read(shop.settings.topic("deadletters"))
    ]
    assert sorted(told["reason"] for told, _ in letters) == [
        *("bad_id", "forged_control", "malformed_json", "time_in_future", "tombstone", "wrong_type")
    ]
    assert {told["stage"] for told, _ in letters} == {"ingest"}
    assert {told["topic"] for told, _ in letters} == {topic}
    place = {told["reason"]: (told["partition"], told["offset"], record.value) for told, record in letters}
    assert place["malformed_json"] == ("1", "200", b"{oops")
    assert place["tombstone"] == ("1", "203", b"")
    assert f"{topic} 1:200" in shop("deadletters", "list").stdout

    with_worker(shop)
    findings = shop.json("verify", "--wait", "120")
    assert findings["ok"], findings["details"]  # dead letters of others are not the workers'
    assert shop.counts()["applied"] == 600


def with_worker(shop: Deployment) -> None:
    """Let a worker fold everything."""
    worker = shop.start("worker")
    try:
        eventually(lambda: shop.json("verify", "--wait", "20")["behind"] == 0)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, shop.said("worker")


@pytest.mark.faults
def test_kills_repeat_but_lose_nothing_and_the_worker_counts_everything_once(shop: Deployment) -> None:
    topic, count = f"{shop.prefix}shop", 45_000
    for start in range(0, count, 15_000):
        shop.write(topic, (visit(n % 5_000, n) for n in range(start, start + 15_000)), partition=start // 15_000)
    users = shop.settings.topic("users")
    before = 0
    for _ in range(3):
        process = shop.start(*ingest(shop))
        while len(shop.read(users)) <= before + 2_000 and process.poll() is None:
            sleep(0.05)
        process.kill()
        process.wait()
        before = len(shop.read(users))
    assert shop.run(*ingest(shop, "--until-end"), timeout=PATIENCE) == 0, shop.said("ingest")
    sent = Counter(event["messageId"] for event in shop.events())
    assert len(sent) == count, "nothing is lost"
    repeated = sum(sent.values()) - count
    with_worker(shop)
    findings = shop.json("verify", "--wait", "120")
    assert findings["ok"], findings["details"]
    assert shop.counts()["applied"] == count
    assert shop.counts()["duplicate"] == repeated
    assert not shop.read(shop.settings.topic("deadletters"))


@pytest.mark.faults
def test_an_orderly_stop_and_a_rebalance_repeat_nothing(shop: Deployment) -> None:
    topic, users = f"{shop.prefix}shop", shop.settings.topic("users")
    shop.write(topic, [visit(n, n) for n in range(2_000)], partition=0)
    first = shop.start(*ingest(shop))
    eventually(lambda: len(shop.read(users)) == 2_000)
    second = shop.start(*ingest(shop))
    sent = 2_000
    for _ in range(8):  # while the group rebalances
        for partition in range(3):
            shop.write(topic, [visit(n, sent + n) for n in range(100)], partition=partition)
            sent += 100
        sleep(0.5)
    eventually(lambda: len(shop.read(users)) >= sent)
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == 0, shop.said("ingest")
    shop.write(topic, [visit(n, sent + n) for n in range(100)], partition=0)
    eventually(lambda: len(shop.read(users)) >= sent + 100)
    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE) == 0, shop.said("ingest")
    found = Counter(event["messageId"] for event in shop.events())
    assert len(found) == sent + 100
    assert sum(found.values()) == sent + 100, "repeated"


def test_the_end_behind_a_transaction_is_reached_and_dead_letters_are_mended(shop: Deployment, tmp_path: Path) -> None:
    topic = f"{shop.prefix}shop"
    odd = [(b"k", json.dumps({"who": n + 1, "event": "visit", "ts": 1_767_604_320}).encode()) for n in range(5)]
    shop.write(topic, odd, partition=2, transaction="theirs")
    assert shop.run(*ingest(shop, "--until-end", "--backfill")) == 0, shop.said("ingest")
    assert shop.json("deadletters", "list")["reasons"] == {"bad_id": 5}
    mended = tmp_path / "mended.yaml"
    mended.write_text(PLAIN.read_text().replace("userId: user", "userId: [user, who]"))
    assert shop.json("deadletters", "replay")["sent"] == 0
    assert shop.json("deadletters", "replay", "--mapping", mended, "--backfill")["sent"] == 5
    events = shop.events()
    assert sorted(event["userId"] for event in events) == ["1", "2", "3", "4", "5"]
    assert all(event["context"] == {"backfill": True} for event in events)


def test_what_can_t_be_taken_in_is_said_in_one_line(shop: Deployment, tmp_path: Path) -> None:
    own = shop.settings.topic("users")
    assert shop.run("ingest", "--mapping", PLAIN, "--topic", own) == Exit.USAGE
    assert f"{own} is one of Rekindle's own topics" in shop.said("ingest")
    assert shop.run("ingest", "--mapping", PLAIN, "--topic", "nobody.s") == Exit.TOPICS
    assert "topic nobody.s does not exist" in shop.said("ingest")
    assert "which topic?" in shop("ingest", "--mapping", PLAIN, code=Exit.USAGE).stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\nfields:\n  usrId: u\n")
    assert "wrong.yaml:3: an event has no field 'usrId'" in shop("ingest", "--mapping", wrong, code=Exit.USAGE).stderr
    tried = shop("ingest", "--mapping", PLAIN, "--try", ROOT / "tests/samples/plain.jsonl", code=Exit.USAGE)
    assert tried.stdout.count("\n") == 4
    assert "line 7: wrong_type: timestamp" in tried.stderr


def test_what_retention_took_before_it_was_read_is_told_and_accepted_by_a_person(shop: Deployment) -> None:
    topic = f"{shop.prefix}shop"
    shop.write(topic, [visit(n, n) for n in range(50)], partition=0)
    assert shop.run(*ingest(shop, "--until-end")) == 0, shop.said("ingest")
    shop.write(topic, [visit(n, 50 + n) for n in range(50)], partition=0)
    admin = KafkaAdminClient(bootstrap_servers=shop.brokers)
    admin.delete_records({TopicPartition(topic, 0): 80})
    admin.close()
    assert shop.run(*ingest(shop, "--until-end")) == Exit.GAP
    assert f"{topic} partition 0: records 50 to 79 were deleted before they were read" in shop.said("ingest")
    assert shop.run(*ingest(shop, "--until-end", "--accept-gap")) == 0, shop.said("ingest")
    assert len(shop.events()) == 70


def test_latest_begins_at_the_end_once_and_goes_on_from_there(shop: Deployment) -> None:
    topic = f"{shop.prefix}shop"
    shop.write(topic, [visit(n, n) for n in range(50)], partition=0)
    assert shop.run(*ingest(shop, "--until-end", "--latest")) == 0, shop.said("ingest")
    shop.write(topic, [visit(n, 50 + n) for n in range(30)], partition=0)
    assert shop.run(*ingest(shop, "--until-end", "--latest")) == 0, shop.said("ingest")
    assert len(shop.events()) == 30
