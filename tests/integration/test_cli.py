"""Every command that talks to Kafka, on a real one, with a worker that is started as a person starts it."""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner, Result

from agents.cli import main
from agents.exits import Exit
from agents.kafka.admin import admin_client
from agents.kafka.publish import publish_control
from agents.local import LocalKafka
from agents.oracle import verify
from agents.process import free_port
from agents.settings import load_settings
from pipeline.risk.recency import Recency
from pipeline.units import DAY
from schemas.control import Domain, Tick
from schemas.partitioner import partition_of
from schemas.topics import TOPICS
from tests.faults.processes import THIS_RELEASE
from tests.waiting import PATIENCE, eventually

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2025, 3, 3, tzinfo=UTC)
POLICY = """\
version: 1
mode: {mode}
salt: test
lifecycle:
  at_risk: 7d
  dormant: 14d
consent: {{email: {{basis: opt_out, trait: email}}}}
rules:
  - id: silent-14d
    when:
      silence: 14d
    channel: email
    template: come-back
    holdout: 0
    expires_after: 3d
    cooldown: 30d
    goal:
      within: 7d
"""
NOBODY = "no broker answers at {}: check --brokers or REKINDLE_BROKERS (REKINDLE_LOG_LEVEL=debug shows more)"


class Rekindle:
    """The command line of one deployment."""

    def __init__(self, brokers: str, prefix: str, folder: Path) -> None:
        self.options = ["--brokers", brokers, "--prefix", prefix]
        self.settings = load_settings(brokers=brokers, topic_prefix=prefix)
        self.folder = folder

    def __call__(self, *words: str | Path, code: int = 0, text: str | None = None) -> Result:
        """Run a command in this process and check its exit code."""
        result = CliRunner().invoke(main, [*self.options, *map(str, words)], input=text)
        assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result

    def json(self, *words: str | Path, code: int = 0, text: str | None = None) -> Any:
        """A command's JSON document."""
        return json.loads(self(*words, "--json", code=code, text=text).stdout)

    def policy(self, mode: str = "live") -> Path:
        path = self.folder / f"{mode}.yaml"
        path.write_text(POLICY.format(mode=mode))
        return path

    def say(self, *messages: Domain | Tick) -> None:
        for message in messages:
            asyncio.run(publish_control(self.settings, message))

    def start(self, *words: str, program: str | None = None) -> subprocess.Popen[bytes]:
        """As `worker`; who starts it ends it."""
        environment = {
            "BROKERS": self.settings.brokers,
            "TOPIC_PREFIX": self.settings.topic_prefix,
            "METRICS_PORT": "0",
        }
        command = ["-c", program] if program else ["-m", "agents.cli", *self.options, "worker", *words]
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | {f"REKINDLE_{name}": value for name, value in environment.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @contextmanager
    def worker(self, *words: str, program: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """`rekindle worker` as a process, or a program that runs one; it has to leave with 0 on SIGTERM."""
        process = self.start(*words, program=program)
        try:
            assert process.stdout is not None
            process.stdout.readline()  # from here on it listens to signals
            yield process
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, said.decode()[-3000:]
        finally:
            process.kill()
            process.wait()

    def agrees(self) -> Any:
        """The oracle's findings, once the workers have folded everything."""
        findings = self.json("verify", "--wait", "40")
        assert findings["behind"] == 0
        return findings


def event(user: str, day: float, **more: Any) -> dict[str, Any]:
    when = (START + timedelta(days=day)).isoformat()
    fields = {"messageId": f"{user}/{day}", "type": "track", "event": "Visit", "userId": user, "timestamp": when}
    return fields | more


def tick(day: float) -> Tick:
    return Tick(round((START + timedelta(days=day)).timestamp() * 1000))


@pytest.fixture
def rekindle(kafka: LocalKafka, prefix: str, tmp_path: Path) -> Rekindle:
    """A deployment of 4 partitions."""
    command = Rekindle(kafka.bootstrap, prefix, tmp_path)
    command("topics", "create", "--partitions", "4")
    return command


def test_a_deployment_from_its_topics_to_its_triggers(rekindle: Rekindle, tmp_path: Path) -> None:
    assert rekindle.json("topics", "check") == {"ok": True, "differences": []}
    rekindle.say(Domain("played"), tick(0))
    published = rekindle.json("policy", "publish", rekindle.policy(), "--live")
    assert published["rules"] == {"silent-14d": "live"}
    path = tmp_path / "events.jsonl"
    good = [event(f"user-{n}", n / 1000) for n in range(40)]
    path.write_text("\n".join([*map(json.dumps, good[:20]), "", "{oops", *map(json.dumps, good[20:])]))
    sent = rekindle.json("send", path, code=Exit.USAGE)
    assert (sent["read"], sent["sent"]) == (41, 40)
    assert [(r["line"], r["reason"]) for r in sent["refused"]] == [(22, "malformed_json")]
    with rekindle.worker():
        rekindle.say(tick(8), tick(15))
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
        shown = rekindle("tail", "triggers", "-n", "1000").stdout.splitlines()
        assert len(shown) == 40
        assert "silent-14d: email come-back: silent for 14 days (the rule's limit is 14)" in shown[0]
        triggers = [json.loads(line) for line in rekindle("tail", "triggers", "-n", "3", "--json").stdout.splitlines()]
        assert len(triggers) == 3
        assert all(t["data"]["rule_id"] == "silent-14d" for t in triggers)
        assert "silent-14d: send; due: silent for 14 days" in rekindle("tail", "decisions").stdout
        rekindle.say(tick(30))
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
        assert "silent-14d treatment: not recalled" in rekindle("tail", "outcomes").stdout
        looks = {look["name"]: look for look in rekindle.json("doctor")["looks"]}
        assert looks["policy"]["status"] == "ok"
        assert looks["state"]["found"].startswith("4 of 4 partitions have state")

    written = rekindle.json("dump", "--out", tmp_path / "dump")
    assert written["triggers"] == 40
    assert set(written) == {topic.name for topic in TOPICS}
    kept = (tmp_path / "dump" / "triggers.jsonl.gz").read_bytes()
    refused = rekindle("dump", "--out", tmp_path / "dump", code=Exit.USAGE)
    assert f"{tmp_path / 'dump'} holds a dump already; name another folder, or --force" in refused.stderr
    assert (tmp_path / "dump" / "triggers.jsonl.gz").read_bytes() == kept
    (tmp_path / "dump" / "triggers.jsonl.gz").write_bytes(b"")
    assert rekindle.json("dump", "--out", tmp_path / "dump", "--force") == written
    from_files = rekindle.json("verify", "--dump", tmp_path / "dump")
    assert from_files["ok"]
    assert from_files["read"] == findings["read"]
    assert "everything agrees" in rekindle("verify", "--dump", tmp_path / "dump").stdout


def test_dead_letters_are_listed_and_sent_again(rekindle: Rekindle, kafka: LocalKafka) -> None:
    now = datetime.now(UTC)
    fresh = event("zoe", 0, timestamp=now.isoformat())
    old = event("zoe", 0, messageId="old", timestamp=(now - timedelta(days=20)).isoformat())

    async def plant(*records: tuple[str, bytes], partition: int) -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            users = rekindle.settings.topic("users")
            for value, key in records:
                await producer.send_and_wait(users, value.encode(errors="surrogateescape"), key, partition=partition)

    asyncio.run(plant((json.dumps(fresh), b"not-zoe"), ("{oops", b"x"), ("\udcff", b"y"), partition=1))
    with rekindle.worker():
        assert rekindle.agrees()["ok"]
        listed = rekindle.json("deadletters", "list")
        assert listed["reasons"] == {"key_mismatch": 1, "malformed_json": 2}
        assert "key_mismatch" in rekindle("deadletters", "list", "--reason", "key_mismatch").stdout
        assert "no dead letters" in rekindle("deadletters", "list", "--reason", "too_late").stdout
        again = rekindle.json("deadletters", "replay", code=Exit.USAGE)
        assert (again["sent"], again["passed"], len(again["refused"])) == (1, 0, 2)
        again = rekindle.json("deadletters", "replay", code=Exit.USAGE)
        assert (again["sent"], again["passed"], len(again["refused"])) == (0, 1, 2)
        assert again["refused"][0]["partition"] == 1
        listed = rekindle.json("deadletters", "list")
        assert (listed["total"], listed["replayed"]) == (3, 1)
        assert [bool(each["replayed"]) for each in listed["deadletters"]] == [True, False, False]
        assert [each["offset"] for each in listed["deadletters"]] == [0, 1, 2]
        assert "; 1 of them sent again" in rekindle("deadletters", "list").stdout
        assert rekindle.agrees()["ok"]
        refused = rekindle.json("send", "-", text=json.dumps(old), code=Exit.USAGE)["refused"]
        assert [each["reason"] for each in refused] == ["too_late"]
        asyncio.run(plant((json.dumps(old), b"zoe"), partition=partition_of(b"zoe", 4)))
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
        assert rekindle.json("deadletters", "list")["reasons"] == listed["reasons"] | {"too_late": 1}
        refused = rekindle("deadletters", "replay", "--reason", "too_late", code=Exit.USAGE)
        assert "unless it is sent with --backfill" in refused.stderr
        assert "1 sent again" in rekindle("deadletters", "replay", "--reason", "too_late", "--backfill").stdout
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
        insisted = rekindle("deadletters", "replay", "--reason", "key_mismatch", "--again").stdout
        assert "1 sent again, 0 not" in insisted
        assert rekindle.agrees()["ok"]
    assert rekindle.json("deadletters", "list")["total"] == 4
    last = rekindle("tail", "deadletters", "-n", "3").stdout
    assert "too_late: more than 7 days behind the clock" in last
    assert "too_late: sent again by " in last


def test_what_is_sent_is_checked_by_the_clock_of_its_partition(rekindle: Rekindle) -> None:
    """Also where time is played: by the ticks that lie in the log, however far the workers have come."""
    today = json.dumps(event("ann", 0, timestamp=datetime.now(UTC).isoformat()))
    rekindle.say(Domain("played"), tick(0))
    with rekindle.worker():
        rekindle("send", "-", text=json.dumps(event("ann", 0)))
        assert rekindle.agrees()["ok"]
        refused = rekindle.json("send", "-", text=today, code=Exit.USAGE)["refused"]
        assert refused == [{"line": 1, "reason": "time_in_future", "message": refused[0]["message"]}]
        assert "time is played here" in refused[0]["message"]
        untimed = json.dumps({"messageId": "m", "type": "track", "event": "Visit", "userId": "ann"})
        assert rekindle.json("send", "-", text=untimed, code=Exit.USAGE)["refused"][0]["reason"] == "no_time"
    rekindle.say(tick(20))
    text = json.dumps(event("bob", 20))
    assert rekindle.json("send", "-", text=text)["sent"] == 1
    with rekindle.worker():
        assert rekindle.agrees()["ok"]
        early = "\n".join(json.dumps(event(user, day)) for user, day in (("ann", 1), ("ann", 19)))
        refused = rekindle.json("send", "-", text=early, code=Exit.USAGE)["refused"]
        assert [(each["line"], each["reason"]) for each in refused] == [(1, "too_late")]
        assert rekindle.json("send", "-", "--backfill", text=early)["sent"] == 2
        assert rekindle.agrees()["ok"]
        assert rekindle.json("deadletters", "list")["total"] == 0


def test_policies_are_published_listed_and_rolled_back(rekindle: Rekindle) -> None:
    assert "nothing was published yet" in rekindle("policy", "history").stdout
    rekindle("policy", "rollback", code=Exit.USAGE)
    refused = rekindle("policy", "publish", rekindle.policy(), code=Exit.USAGE)
    assert "rule silent-14d would send; publish with --live" in refused.stderr
    shadow = rekindle.json("policy", "publish", rekindle.policy("shadow"))
    live = rekindle.json("policy", "publish", rekindle.policy(), "--live")
    assert [e["policy"] for e in rekindle.json("policy", "history")] == [shadow["policy"], live["policy"]]
    back = rekindle.json("policy", "rollback")
    assert back["policy"] == shadow["policy"]
    refused = rekindle("policy", "rollback", code=Exit.USAGE)
    assert f"rule silent-14d would send; go back to {live['policy'][:12]} with --live" in refused.stderr
    again = rekindle.json("policy", "rollback", live["policy"][:8], "--live")
    assert (again["policy"], again["published"]) == (live["policy"], True)
    assert [entry["current"] for entry in rekindle.json("policy", "history")] == [False, False, False, True]
    listed = rekindle("policy", "history").stdout.splitlines()
    assert [line.split()[-2:] for line in listed if "current" in line] == [["(live)", "current"]]
    bad = rekindle.folder / "bad.yaml"
    bad.write_text("version: 1\nmood: live\n")
    assert "bad.yaml:2: unknown field 'mood'" in rekindle("policy", "publish", bad, code=Exit.POLICY).stderr


def test_what_is_current_is_adopted_anew_only_if_that_is_asked_for(rekindle: Rekindle, tmp_path: Path) -> None:
    """Deadlines before an adoption are passed over."""
    model = tmp_path / "model.json"
    model.write_bytes(Recency(30 * DAY, 0.0, 0.0, 1.0).to_json())
    for what, file, see in (("policy", rekindle.policy("shadow"), "history"), ("model", model, "list")):
        digest = rekindle.json(what, "publish", file)[what]
        assert rekindle.json(what, "publish", file) == {"published": False, what: digest}
        assert "already; nothing was published" in rekindle(what, "rollback", digest).stdout
        assert len(rekindle.json(what, see)) == 1
        assert rekindle.json(what, "publish", file, "--again")["published"] is True
        assert len(rekindle.json(what, see)) == 2


def test_an_operator_pauses_holds_and_skips(rekindle: Rekindle) -> None:
    rekindle.say(Domain("played"), tick(0))
    rekindle("policy", "publish", rekindle.policy(), "--live")
    assert "did you mean 'silent-14d'?" in rekindle("pause", "--rule", "silent-14", code=Exit.USAGE).stderr
    rekindle("pause", "--rule", "silent-14d")
    text = "\n".join(json.dumps(event(f"user-{n}", n / 1000)) for n in range(20))
    rekindle("send", "-", text=text)
    assert "has the partitions 0 to 3" in rekindle("skip", "9", "0", "--reason", "x", code=Exit.USAGE).stderr
    assert "ends before" in rekindle("skip", "0", "900", "--reason", "x", code=Exit.USAGE).stderr
    with_events = next(iter(rekindle_inputs(rekindle)))
    rekindle("skip", *map(str, with_events), "--reason", "the core stopped on it")
    with rekindle.worker():
        rekindle.say(tick(8), tick(15))
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
        nothing = rekindle("tail", "triggers")
        assert (nothing.stdout, nothing.stderr.partition(":")[0]) == ("", "no triggers yet")
        codes = rekindle("tail", "decisions", "-n", "1", "--json").stdout
        assert '"decision":"suppressed","reasons":["paused"]' in codes
        assert "suppressed: sending is paused (rekindle resume); due: " in rekindle("tail", "decisions").stdout
        assert (
            "不发送：发送已暂停（rekindle resume）；到期原因：" in rekindle("tail", "decisions", "--lang", "zh").stdout
        )
        assert "skipped: the core stopped on it" in rekindle("tail", "deadletters").stdout
        rekindle("resume")
        rekindle("hold")
        rekindle("release")
        assert rekindle.agrees()["ok"]


CRACKED = f"""
import pipeline.partition as core
whole = core.step
def step(state, item, context):
    if item.key == b"poison":
        raise ZeroDivisionError("a bug of this release")
    return whole(state, item, context)
core.step = step
{THIS_RELEASE}
"""
"""A worker whose core fails on whatever a user says."""


def test_a_record_on_which_the_core_fails_is_skipped_and_sent_again_to_a_release_that_is_mended(
    rekindle: Rekindle, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_APP_ID", prefix.rstrip("."))
    rekindle.say(Domain("played"), tick(0))
    rekindle("policy", "publish", rekindle.policy(), "--live")
    users = [*(f"user-{n}" for n in range(20)), "poison", *(f"user-{n}" for n in range(20, 40))]
    rekindle("send", "-", text="\n".join(json.dumps(event(user, n / 1000)) for n, user in enumerate(users)))
    process = rekindle.start(program=CRACKED)
    said = process.communicate(timeout=PATIENCE)[1].decode().splitlines()
    assert process.returncode == Exit.BUG, said
    found = re.fullmatch(
        r"rekindle: the core failed on partition (\d+), offset (\d+): ZeroDivisionError: a bug of this release; "
        r"after a look at it: rekindle (skip \1 \2) --reason \.\.\.",
        said[-1],
    )
    assert found, said[-1]
    before = ("skip", found[1], str(int(found[2]) + 900))
    assert "ends before" in rekindle(*before, "--reason", "x", code=Exit.USAGE).stderr
    rekindle(*found[3].split(), "--reason", "the core stopped on it")
    with rekindle.worker(program=CRACKED):
        rekindle.say(tick(1))
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
    assert "skipped: the core stopped on it" in rekindle("tail", "deadletters").stdout

    for offset in range(int(found[2]) + 1):  # what is folded stays so
        words = ("skip", found[1], str(offset), "--reason", "too late")
        assert f"record {found[1]}:{offset} is folded already" in rekindle(*words, code=Exit.USAGE).stderr
    assert rekindle.json("deadletters", "replay", "--reason", "skipped")["sent"] == 1
    with rekindle.worker():
        rekindle.say(tick(15))
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
    shown = rekindle("tail", "triggers", "-n", "100").stdout.splitlines()
    assert len(shown) == len(users)
    assert sum("  poison  " in line for line in shown) == 1


def rekindle_inputs(rekindle: Rekindle) -> list[tuple[int, int]]:
    """Partition and offset of every event in the user topic."""
    from agents.evidence import gather
    from schemas.control import CONTROL_KEY

    evidence = asyncio.run(gather(rekindle.settings, wait=0))
    return [(n, r.offset) for n, records in evidence.inputs.items() for r in records if r.key != CONTROL_KEY]


@pytest.mark.no_oracle("it does the damage")
def test_verify_finds_what_was_never_written_and_says_who_is_behind(rekindle: Rekindle) -> None:
    now = datetime.now(UTC).isoformat()
    rekindle("send", "-", text="\n".join(json.dumps(event(f"user-{n}", 0, timestamp=now)) for n in range(50)))
    findings = rekindle.json("verify", "--wait", "0")
    assert (findings["behind"], findings["read"]) == (50, 0)
    said = rekindle("verify", "--wait", "0").stdout
    assert "50 records are not folded yet and were not compared" in said
    assert "nothing was compared: no worker has folded a record yet" in said
    assert "agrees" not in said
    with rekindle.worker():
        assert rekindle.agrees()["ok"]

    home = partition_of(b"user-1", 4)

    async def damage() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=rekindle.settings.brokers)
        await producer.start()
        await producer.send_and_wait(rekindle.settings.topic("triggers"), b'{"id": "x"}', b"user-1", partition=0)
        await producer.send_and_wait(rekindle.settings.topic("state"), None, b"uuser-1", partition=home)
        await producer.send_and_wait(rekindle.settings.topic("state"), b"\xc0", b"sbroken", partition=0)
        await producer.stop()

    asyncio.run(damage())
    findings = rekindle.json("verify", "--wait", "5", code=Exit.BUG)
    assert findings["wrong"] == 1
    assert findings["state_errors"] >= 3
    details = "\n".join(findings["details"])
    assert "the row of user 'user-1' is missing" in details
    assert "the sums say" in details
    assert "the cell broken should not be there" in details


async def test_a_look_at_running_workers_is_one_picture(rekindle: Rekindle) -> None:
    """Whenever it looks, and however far the workers are: nothing is lost or wrong."""
    stop = asyncio.Event()

    async def feed() -> int:
        producer = AIOKafkaProducer(bootstrap_servers=rekindle.settings.brokers, linger_ms=5)
        await producer.start()
        sent = 0
        while not stop.is_set():
            for _ in range(100):
                user = f"user-{sent % 700}"
                body = event(user, 0, messageId=f"m{sent}", timestamp=datetime.now(UTC).isoformat())
                bad = sent % 50 == 0  # dead letters: outputs that have to be in step with the state
                await producer.send(
                    rekindle.settings.topic("users"), b"{" if bad else json.dumps(body).encode(), user.encode()
                )
                sent += 1
            await asyncio.sleep(0.02)
        await producer.stop()
        return sent

    feeding = asyncio.create_task(feed())
    with rekindle.worker():
        looks = [await verify(rekindle.settings, wait=0) for _ in range(8)]
        stop.set()
        sent = await feeding
        last = await verify(rekindle.settings)
    for found in (*looks, last):
        assert found.ok, found.details
    assert last.read >= sent
    assert last.behind == 0
    assert len({found.read for found in looks}) > 4, "the workers went on meanwhile"


def test_tail_follows(rekindle: Rekindle) -> None:
    command = [sys.executable, "-m", "agents.cli", *rekindle.options, "tail", "decisions", "--follow", "-n", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    try:
        rekindle.say(Domain("played"), tick(0))
        rekindle("policy", "publish", rekindle.policy(), "--live")
        rekindle("send", "-", text=json.dumps(event("ann", 0.01)))
        with rekindle.worker():
            rekindle.say(tick(15))
            assert process.stdout is not None
            deadline = monotonic() + PATIENCE
            os.set_blocking(process.stdout.fileno(), False)
            line = b""
            while not line and monotonic() < deadline:
                line = process.stdout.read() or b""
                sleep(0.1)
            assert b"ann  silent-14d: send" in line
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def test_dry_run_prints_commands_and_acls_and_creates_nothing(kafka: LocalKafka, prefix: str, tmp_path: Path) -> None:
    rekindle = Rekindle(kafka.bootstrap, prefix, tmp_path)
    shown = rekindle("topics", "create", "--dry-run", "--partitions", "8").stdout
    assert shown.count("kafka-topics.sh") == len(TOPICS)
    assert "kafka-acls.sh" in shown
    assert rekindle.json("topics", "check", code=Exit.TOPICS)["ok"] is False
    assert "does not exist" in rekindle("tail", "triggers", code=Exit.TOPICS).stderr
    assert "does not exist" in rekindle("pause", code=Exit.TOPICS).stderr


@pytest.mark.parametrize("gone", ["segments", "users", "registry"])
def test_a_topic_that_was_lost_is_made_as_the_others_are(
    kafka: LocalKafka, prefix: str, tmp_path: Path, gone: str
) -> None:
    """What `check` says is to be done is done, and is right."""
    rekindle = Rekindle(kafka.bootstrap, prefix, tmp_path)
    rekindle("topics", "create", "--partitions", "1")
    with admin_client({"bootstrap_servers": kafka.bootstrap}) as admin:
        admin.delete_topics([prefix + gone])
    eventually(lambda: not rekindle_topics_ok(rekindle))
    [difference] = rekindle.json("topics", "check", code=Exit.TOPICS)["differences"]
    assert difference["difference"] == f"{prefix}{gone} does not exist"
    assert "is 1, for ever" in rekindle("topics", "create", "--partitions", "8", code=Exit.PARTITIONS).stderr
    assert "--partitions 1 " in rekindle("topics", "create", "--dry-run").stdout.splitlines()[1]
    program, *words = shlex.split(difference["command"])
    assert (program, words[-4:]) == ("rekindle", ["topics", "create", "--partitions", "1"])
    assert CliRunner().invoke(main, words).exit_code == 0
    assert rekindle_topics_ok(rekindle)


def rekindle_topics_ok(rekindle: Rekindle) -> bool:
    found = CliRunner().invoke(main, [*rekindle.options, "topics", "check", "--json"])
    return bool(json.loads(found.stdout)["ok"])


def test_a_new_deployment_without_a_broker_can_be_planned() -> None:
    result = CliRunner().invoke(main, ["--brokers", f"127.0.0.1:{free_port()}", "topics", "create", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "--topic rekindle.users --partitions 32 " in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["topics", "check"],
        ["tail", "triggers"],
        ["policy", "history"],
        ["pause"],
        ["deadletters", "list"],
        ["verify"],
        ["send", "-"],
        ["dump", "--out", "{out}"],
        ["doctor"],
    ],
)
def test_without_a_broker_every_command_says_so_in_one_line(words: list[str], tmp_path: Path) -> None:
    where = f"127.0.0.1:{free_port()}"
    line = NOBODY.format(where)
    arguments = ["--brokers", where, *(word.format(out=tmp_path) for word in words)]
    result = CliRunner().invoke(main, arguments, input="")
    assert result.exit_code == Exit.NO_BROKER, result.output
    if words == ["doctor"]:
        assert result.stdout.strip().endswith(line)
    else:
        assert result.stderr == f"rekindle: {line}\n"


@pytest.mark.parametrize("command", ["worker", "views"])
def test_a_process_without_a_broker_says_nothing_else(command: str) -> None:
    where = f"127.0.0.1:{free_port()}"
    process = subprocess.run(
        [sys.executable, "-m", "agents.cli", "--brokers", where, command],
        cwd=ROOT,
        env=os.environ | {"REKINDLE_METRICS_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert process.returncode == Exit.NO_BROKER
    lines = [line for line in process.stderr.splitlines() if "metrics_served" not in line]
    assert lines == [f"rekindle: {NOBODY.format(where)}"]


def test_a_file_that_is_not_there_is_named_before_a_broker_is_asked(tmp_path: Path) -> None:
    for name, why in ((tmp_path / "none.jsonl", "No such file or directory"), (tmp_path, "Is a directory")):
        result = CliRunner().invoke(main, ["--brokers", f"127.0.0.1:{free_port()}", "send", str(name)])
        assert result.exit_code == Exit.USAGE
        assert result.stderr == f"rekindle: {name}: {why}\n"
