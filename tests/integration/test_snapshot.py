"""Snapshot, restore and rebuild on a real Kafka: whatever was lost comes back, and nothing is sent twice."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from agents.erasure_key import erasure_key
from agents.evidence import gather
from agents.exits import Exit, Refusal
from agents.kafka.bulk import one_transaction
from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from agents.local import LocalKafka
from agents.rebuild import rebuild
from agents.snapshot import take
from pipeline.partition import Partition
from pipeline.units import DAY, HOUR
from schemas.control import Domain
from tests.builders import tick as feed_tick
from tests.faults.feed import TOGETHER, crowd
from tests.faults.harness import Cluster
from tests.faults.loss import recreate
from tests.integration.test_cli import ROOT, Rekindle, event, tick
from tests.waiting import BROKER_SETTINGS, PATIENCE

USERS = 40


@pytest.fixture
def rekindle(kafka: LocalKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rekindle:
    """A deployment of 4 partitions: a policy, 40 users and a dead letter, which no worker has seen yet."""
    monkeypatch.setenv("REKINDLE_APP_ID", prefix.rstrip("."))
    command = Rekindle(kafka.bootstrap, prefix, tmp_path)
    command("topics", "create", "--partitions", "4")
    command.say(Domain("played"), tick(0))
    command("policy", "publish", command.policy(), "--live")
    send(command, (event(f"user-{n}", n / 1000) for n in range(USERS)))
    return command


def send(command: Rekindle, events: Iterable[dict[str, Any]]) -> None:
    command("send", "-", text="\n".join(map(json.dumps, events)))


def works(command: Rekindle, *days: float) -> None:
    """A worker folds everything, with ticks at these days, and the oracle agrees."""
    with command.worker():
        command.say(*(tick(day) for day in days))
        findings = command.agrees()
    assert findings["ok"], findings["details"]


def sent(command: Rekindle, topic: str = "triggers") -> int:
    """How many there are; none twice."""
    lines = command("tail", topic, "-n", "9999", "--json").stdout.splitlines()
    found = Counter(json.loads(line)["id"] for line in lines)
    assert set(found.values()) <= {1}
    return len(found)


def cut(command: Rekindle, earliest: int = -1) -> None:
    """Retention deletes everything in the user topic, or what lies before an offset."""
    admin = KafkaAdminClient(**client_options(command.settings))
    admin.delete_records({TopicPartition(command.settings.topic("users"), n): earliest for n in range(4)})
    admin.close()


def killed(command: Rekindle, failpoint: str, *words: str | Path) -> None:
    """A command as a process that dies at a failpoint."""
    process = subprocess.run(
        [sys.executable, "-m", "agents.cli", *command.options, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"REKINDLE_FAILPOINT": failpoint},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


def visible(command: Rekindle) -> int:
    """Committed records of the state topic, as far as no transaction hides them."""

    async def count() -> int:
        async with open_logs(client_options(command.settings)) as logs:
            state = command.settings.topic("state")
            ends = await logs.stable_ends(state)
            return sum([len(records) async for _, records in logs.read(state, await logs.starts(state), ends)])

    return asyncio.run(count())


async def reported(command: Rekindle) -> None:
    """Until the group has told of every partition how far it is, as it does every two seconds."""
    settings = command.settings
    async with open_logs(client_options(settings)) as logs, asyncio.timeout(PATIENCE):
        while len(await logs.group_offsets(settings.app_id, settings.topic("users"))) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


def test_a_snapshot_comes_back_and_the_workers_go_on_from_it(rekindle: Rekindle, tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    works(rekindle, 8, 15)
    taken = rekindle.json("snapshot", "--out", folder)
    assert sum(part["users"] for part in taken["parts"]) == USERS
    assert rekindle.json("snapshot", "--check", folder) == taken
    assert "never written over" in rekindle("snapshot", "--out", folder, code=Exit.USAGE).stderr
    assert "is not empty" in rekindle("restore", folder, code=Exit.TOPICS).stderr
    recreate(rekindle.settings, 4, "state", "registry")
    killed(rekindle, "after_changelog:2", "restore", folder)
    assert visible(rekindle) == 0
    killed(rekindle, "before_commit", "restore", folder)
    assert visible(rekindle) == 0
    assert "restored: 40 users in 4 partitions" in rekindle("restore", folder).stdout
    assert visible(rekindle) == sum(part["file"]["records"] for part in taken["parts"])
    assert len(rekindle.json("policy", "history")) == 1
    works(rekindle, 30)
    assert sent(rekindle) == USERS
    assert sent(rekindle, "outcomes") == USERS


def test_what_does_not_fit_is_refused(rekindle: Rekindle, kafka: LocalKafka, prefix: str, tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    works(rekindle, 8)
    rekindle("snapshot", "--out", folder)
    with rekindle.worker():
        rekindle.say(tick(9))
        rekindle.agrees()
        assert "stop them first" in rekindle("restore", folder, code=Exit.USAGE).stderr
        assert "stop them first" in rekindle("rebuild", code=Exit.USAGE).stderr

    others = {n: Rekindle(kafka.bootstrap, f"{n}{prefix}", tmp_path) for n in (4, 8)}
    for count, other in others.items():
        said = other("restore", folder, code=Exit.TOPICS).stderr
        assert f"none of the topics under '{count}{prefix}' exist: rekindle --brokers " in said
        other("topics", "create", "--partitions", str(count))
    assert "8 partitions, and the snapshot 4" in others[8]("restore", folder, code=Exit.PARTITIONS).stderr
    assert "was recreated: it ends at 0" in others[4]("restore", folder, code=Exit.RECREATED).stderr
    others[4].say(Domain("played"), *(tick(day / 10) for day in range(100)))
    send(others[4], (event(f"user-{n}", n / 1000) for n in range(USERS)))
    said = others[4]("restore", folder, code=Exit.RECREATED).stderr
    assert "is not the one that was folded" in said
    assert "is not the one that was folded" in others[4]("rebuild", "--from", folder, code=Exit.RECREATED).stderr

    works(rekindle, 15)
    recreate(rekindle.settings, 4, "state")
    assert "use `rekindle rebuild`" in rekindle("restore", folder, code=Exit.RECREATED).stderr
    cut(rekindle)
    assert "were deleted before they were read" in rekindle("restore", folder, code=Exit.GAP).stderr
    assert "a newer snapshot is needed" in rekindle("rebuild", "--from", folder, code=Exit.GAP).stderr
    assert "a snapshot is needed (--from)" in rekindle("rebuild", code=Exit.GAP).stderr
    path = folder / "state-002.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])
    for words in (["snapshot", "--check"], ["restore"], ["rebuild", "--from"]):
        assert "state-002.jsonl.gz was changed" in rekindle(*words, folder, code=Exit.USAGE).stderr
    assert visible(rekindle) == 0


@pytest.mark.parametrize("from_snapshot", [True, False])
def test_a_lost_state_is_rebuilt_and_nothing_is_sent_twice(
    rekindle: Rekindle, tmp_path: Path, *, from_snapshot: bool
) -> None:
    works(rekindle, 8)
    rekindle("snapshot", "--out", tmp_path / "snapshot")
    source: list[str | Path] = ["--from", tmp_path / "snapshot"] if from_snapshot else []
    send(rekindle, (event(f"late-{n}", 8 + n / 1000) for n in range(10)))
    works(rekindle, 15)
    assert sent(rekindle) == USERS
    recreate(rekindle.settings, 4, "state")
    send(rekindle, (event(f"user-{n}", 15 + n / 1000) for n in range(5)))  # nobody has folded these
    killed(rekindle, "after_changelog:3", "rebuild", *source)
    assert visible(rekindle) == 0
    done = rekindle.json("rebuild", *source)
    assert (done["missing"], done["surplus"], done["sent"]) == ([], [], 0)
    assert done["users"] == USERS + 10
    assert sent(rekindle) == USERS
    works(rekindle, 23, 33)
    assert sent(rekindle) == USERS + 10
    assert sent(rekindle, "decisions") == USERS + 10 + 5  # the five are back, and their cooldown outlasts the expiry


@pytest.mark.no_oracle("what had expired stays lost")
def test_what_was_never_sent_is_named_and_sent_only_when_asked(rekindle: Rekindle) -> None:
    works(rekindle, 8, 15)
    assert sent(rekindle, "decisions") == sent(rekindle) == USERS
    recreate(rekindle.settings, 4, "state", "triggers")  # decisions tell how far the workers were
    refused = rekindle("rebuild", code=Exit.BUG).stderr
    assert "40 outputs are missing" in refused
    assert visible(rekindle) == 0
    done = rekindle.json("rebuild", "--missing", "send")
    assert len(done["missing"]) == done["sent"] == USERS
    works(rekindle)
    assert sent(rekindle) == USERS

    rekindle.say(tick(40))
    works(rekindle)
    recreate(rekindle.settings, 4, "state", "triggers")
    done = rekindle.json("rebuild", "--missing", "send")  # nobody wants a trigger that has expired
    assert (len(done["missing"]), done["sent"]) == (USERS, 0)


def test_a_worker_does_not_begin_anew_when_its_state_was_lost(rekindle: Rekindle) -> None:
    with rekindle.worker():
        rekindle.say(tick(8), tick(15))
        rekindle.agrees()
        asyncio.run(reported(rekindle))
    recreate(rekindle.settings, 4, "state")
    process = rekindle.start()
    said = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == Exit.RECREATED, said
    assert "the state was lost; stop all workers and run: rekindle rebuild" in said
    assert (
        "the state was lost; stop all workers and run: rekindle rebuild"
        in rekindle("doctor", code=Exit.RECREATED).stdout
    )
    rekindle("rebuild")
    works(rekindle, 30)
    assert sent(rekindle) == USERS


@pytest.mark.no_oracle("its log is made anew")
def test_what_a_worker_refuses_to_start_on_is_told_by_the_doctor(rekindle: Rekindle) -> None:
    with rekindle.worker():
        rekindle.say(tick(8))
        rekindle.agrees()
        rekindle("hold")
        rekindle.agrees()
        asyncio.run(reported(rekindle))
    shown = rekindle("doctor").stdout
    assert "held in 4 of 4 partitions: silence does not count until `rekindle release`" in shown
    rekindle("release")

    def refuses(code: Exit, why: str) -> None:
        looks = [look for look in rekindle.json("doctor", code=code)["looks"] if look["name"] == "state"]
        assert [look["status"] for look in looks] == ["bad"]
        assert "no worker would start: " in looks[0]["found"]
        assert looks[0]["found"].endswith("; and 3 more partitions of 4")
        process = rekindle.start()
        said = process.communicate(timeout=PATIENCE)[1].decode()
        assert process.returncode == code, said
        assert why in said
        assert why in looks[0]["found"]

    cut(rekindle)
    refuses(Exit.GAP, "were deleted before they were read")
    recreate(rekindle.settings, 4, "users")
    refuses(Exit.RECREATED, "was recreated: it ends at 0, and the state has folded up to")


def test_without_a_log_that_reaches_back_an_operator_may_go_on(rekindle: Rekindle) -> None:
    works(rekindle, 8, 15)
    recreate(rekindle.settings, 4, "state")
    cut(rekindle)
    rekindle("policy", "publish", rekindle.policy(), "--live")
    done = rekindle.json("rebuild", "--accept-gap")
    assert (done["missing"], done["sent"]) == ([], 0)
    assert sent(rekindle) == USERS


def test_a_log_that_retention_has_cut_is_verified_from_a_snapshot(rekindle: Rekindle, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    works(rekindle, 8)
    rekindle("snapshot", "--out", first)
    works(rekindle, 15)
    cut(rekindle, 6)
    said = rekindle("verify", code=Exit.GAP).stdout
    assert "records 0-5 of partition 0, 0-5 of partition 1, 0-5 of partition 2 and of 1 more are gone" in said
    assert "so the state can't be replayed from the log alone: rekindle verify --from SNAPSHOT" in said
    assert "agrees" not in said
    assert "0 lost" not in said
    found = rekindle.json("verify", code=Exit.GAP)
    assert found["gone"] == [{"partition": n, "first": 0, "last": 5} for n in range(4)]
    assert (found["read"], found["state_errors"], found["unsettled"]) == (0, 0, [])
    said = rekindle("verify", "--from", first).stdout
    assert f"records behind the snapshot {first} replayed: 0 lost" in said
    assert "everything agrees" in said

    rekindle("dump", "--out", tmp_path / "dump")
    assert rekindle.json("verify", "--dump", tmp_path / "dump", code=Exit.GAP)["gone"] == found["gone"]
    assert rekindle.json("verify", "--dump", tmp_path / "dump", "--from", first)["ok"]

    rekindle("snapshot", "--out", second)
    rekindle.say(tick(20))
    cut(rekindle)
    rekindle.say(tick(20))  # the one before is lost with the rest
    send(rekindle, (event(f"user-{n}", 20 + n / 1000) for n in range(USERS)))
    with rekindle.worker("--accept-gap"):
        assert rekindle.json("verify", "--from", second)["ok"]
    said = rekindle("verify", code=Exit.GAP).stdout
    assert "in the middle" not in said
    assert (
        "can't be replayed from this snapshot: it needs a newer one"
        in rekindle("verify", "--from", first, code=Exit.GAP).stdout
    )
    assert rekindle.json("verify", "--from", second)["read"] > USERS


@pytest.fixture
def quick(broker_folder: Path) -> Iterator[LocalKafka]:
    """A broker that lets workers have short sessions."""
    with LocalKafka(broker_folder / "quick", heap_mb=384, settings=BROKER_SETTINGS) as broker:
        yield broker


async def test_lost_in_the_middle_of_a_sweep(quick: LocalKafka, prefix: str, tmp_path: Path) -> None:
    """12,000 users fall due on one tick; of a third the decisions are committed when worker and state are lost."""
    async with Cluster(quick, prefix, tmp_path, "sweep", partitions=1, policy=TOGETHER) as cluster:
        settings, start = cluster.settings, cluster.feed.time
        await cluster.send([(0, feed_tick(start)), *crowd(1, 12_000, start, HOUR)])
        worker = cluster.start("one")
        assert (await cluster.check()).ok
        await cluster.terminate(worker)
        await cluster.send([(0, feed_tick(start + DAY + 4 * HOUR))])

        left = await gather(settings, wait=0)
        partition = Partition(0, 1, left.registry, topic=left.source, secret=erasure_key(settings))
        partition.restore(left.state[0].items())
        commits = []
        for _ in partition.fold(left.inputs[0]):  # the first slices may wake nobody
            commits.append(partition.commit())
            if commits[-1].outputs:
                break
        half = commits[-1]
        assert half.offset == left.inputs[0][-1].offset
        async with one_transaction(client_options(settings), "half", seconds=20) as bulk:
            for topic, messages in half.outputs.items():
                await bulk.append(settings.topic(topic), 0, iter(messages))
            for commit in commits:
                await bulk.append(settings.topic("state"), 0, ((key, value, []) for key, value in commit.changelog))

        await take(settings, tmp_path / "half")
        await asyncio.to_thread(recreate, settings, 1, "state")
        for source in (None, tmp_path / "half"):
            with pytest.raises(Refusal, match="outputs are missing"):
                await rebuild(settings, source)
        done = await rebuild(settings, tmp_path / "half", missing="send")
        assert len(half.outputs["decisions"]) + sum("decisions" in line for line in done.missing) == 12_000
        assert done.sent == len(done.missing)
        assert done.surplus == []
        cluster.start("one")
        found = await cluster.check()
        assert found.ok, found.words
