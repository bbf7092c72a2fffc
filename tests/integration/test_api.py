"""The API and the commands that read the views, as processes, on a real Kafka and a real Redis."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from agents.cli import main
from agents.exits import Exit
from agents.local import LocalKafka
from agents.local_redis import LocalRedis
from agents.process import spawn_bound
from pipeline.reports import REGISTRY
from schemas.decision import Decision
from tests.builders import POLICY, at, event, identify, order
from tests.integration.deployment import Deployment
from tests.integration.shell_log import ROOT, Process, until
from tests.waiting import PATIENCE

CANARY = "canary/ä 7"
IN_DINARS = POLICY.replace("salt: test", "salt: test\ncurrency: {reporting: KWD, rates: {USD: 0.3}}")
QUIET = "segments: [{id: quiet, where: {silence_days: {at_least: 10, below: 60}}}]\nrules:"
RULES = IN_DINARS.replace("rules:", QUIET) + "  - {id: tried, mode: shadow, when: {silence: 20d}, goal: {within: 7d}}\n"
TOKEN = "0123456789abcdef0123"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[LocalRedis]:
    with LocalRedis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def deployment(kafka: LocalKafka, redis: LocalRedis, prefix: str) -> Deployment:
    return Deployment(kafka.bootstrap, prefix, redis.url)


class Api:
    """A running `rekindle api`."""

    def __init__(self, process: Process, http: httpx.AsyncClient) -> None:
        self.process = process
        self.http = http

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == status, (path, answer.status_code, answer.text)
        return answer.json()

    async def pages(self, path: str, limit: int, **query: Any) -> list[Any]:
        found, cursor = [], None
        while True:
            page = await self.get(path, limit=limit, **query, **({} if cursor is None else {"cursor": cursor}))
            assert len(page["items"]) <= limit
            found += page["items"]
            if (cursor := page["next"]) is None:
                return found


def start(environment: dict[str, str], folder: Path, *words: str) -> Process:
    said = (folder / "stderr").open("w+b")
    command = [sys.executable, "-m", "agents.cli", *words]
    return Process(spawn_bound(command, cwd=ROOT, env=os.environ | environment, stderr=said, stdout=said), said)


@asynccontextmanager
async def api(environment: dict[str, str], folder: Path, **headers: str) -> AsyncIterator[Api]:
    process = start({"REKINDLE_API_PORT": "0", **environment}, folder, "api")
    try:
        await until(lambda: '"api_served"' in process.said or process.popen.poll() is not None, "the API serves")
        line = next(line for line in process.said.splitlines() if '"api_served"' in line)
        port = json.loads(line)["address"].rpartition(":")[2]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=PATIENCE) as http:
            yield Api(process, http)
        process.popen.terminate()
        assert (await process.end())[0] == 0
    finally:
        process.popen.kill()
        process.popen.wait()


async def rekindle(deployment: Deployment, *words: str, code: int = 0) -> str:
    arguments = ["--brokers", deployment.bootstrap, "--prefix", deployment.prefix, *words]
    environment = {"REKINDLE_REDIS_URL": deployment.redis_url}
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=environment)
    assert result.exit_code == code, (words, result.output)
    return result.stdout if code == 0 else result.stderr


async def populate(deployment: Deployment) -> None:
    """Some users, one of whom has a name that must not be logged."""
    await deployment.history(120, seed=1)
    await deployment.tick(1)
    entries = [
        event(at(1), CANARY, source="google"),
        order(at(1, 0, 5), CANARY, 25),
        identify(at(1, 0, 6), CANARY, timezone="Europe/Berlin", active=False),
    ]
    await deployment.send([(entry.key or b"", entry.value or b"") for entry in entries])
    await deployment.tick(5)


async def test_every_route_says_what_the_topics_hold(deployment: Deployment, tmp_path: Path) -> None:
    await deployment.begin(RULES)
    async with deployment.worker(make_core=None), deployment.views(), api(deployment.environment, tmp_path) as asked:
        await populate(deployment)
        await deployment.folded()
        await deployment.agrees()
        assert (await asked.get("/healthz"))["status"] == "ok"
        assert (await asked.get("/readyz"))["fresh"] is not None
        described = await asked.get("/openapi.json")
        assert {"/users/{user}", "/channels", "/growth", "/decisions", "/triggers", "/reports/{name}"} <= set(
            described["paths"]
        )

        before = await asked.get(f"/users/{CANARY}")
        assert before["state"]["lifecycle"] == "new"
        assert before["state"]["journey"]["first_channel"] == "organic-search"
        assert before["next_deadline"] == {"at": "2024-01-12T00:05:00.000Z", "what": "enters segment quiet"}
        enters, leaves = before["why"]["changes"]
        assert enters == {"at": "2024-01-12T00:05:00.000Z", "change": "enter", "kind": "segment", "name": "quiet"}
        assert (leaves["at"], leaves["change"]) == ("2024-03-02T00:05:00.000Z", "leave")
        assert before["why"]["fires_at"] == "2024-02-01T00:05:00.000Z"
        assert [rule["foretold"] for rule in before["why"]["rules"]] == ["send", "shadow"]
        assert before["episode"] is None
        later = await asked.get(f"/users/{CANARY}", as_of="2024-01-29T00:05:00Z")
        assert later["why"]["silent_days"] == 27
        assert later["risk"]["p_alive"] < before["risk"]["p_alive"]
        assert "only silent for 27 days" in later["why"]["rules"][0]["now"][0]["words"]
        told = json.loads(await rekindle(deployment, "explain", "user", CANARY, "--json"))
        assert told == before["why"]
        assert json.loads(await rekindle(deployment, "explain", "user", CANARY, "--json", "--kafka")) == before["why"]

        await deployment.tick(22)
        await deployment.tick(32.5)
        await deployment.folded()
        await deployment.agrees()
        after = await asked.get(f"/users/{CANARY}")
        assert after["state"]["lifecycle"] == "dormant"
        assert [(d["data"]["rule_id"], d["data"]["decision"], d["time"]) for d in after["decisions"]] == [
            ("silent", "send", before["why"]["fires_at"]),
            ("tried", "shadow", before["why"]["rules"][1]["deadline"]),
        ]
        assert after["decisions"][0]["data"]["explain"] == [
            {name: gate[name] for name in ("feature", "value", "threshold", "passed")} | {"contribution": None}
            for gate in before["why"]["rules"][0]["then"]
        ]
        assert after["episode"]["rule_id"] == "silent"
        identity = after["episode"]["trigger_id"]
        trigger = await asked.get(f"/triggers/{identity}")
        assert trigger["summary"].endswith("silent: sent by email for the deadline 2024-02-01T00:05:00.000Z")
        assert "silent for 30 days" in trigger["gates"][0]["words"]

        decisions = await asked.pages("/decisions", 7)
        whole = (await asked.get("/decisions", limit=1000))["items"]
        assert decisions == whole
        wanted = [msgspec.json.decode(r.value) for n in range(4) for r in await deployment.read("decisions", n)]
        alive = {d["id"] for d in decisions}
        assert alive <= {d["id"] for d in wanted}
        triggers = await asked.pages("/triggers", 3)
        assert triggers == [d for d in decisions if d["data"]["decision"] == "send"]
        assert triggers
        msgspec.convert(decisions, list[Decision])
        for path in ("/channels", "/growth"):
            rows = await asked.pages(path, 3)
            assert rows == (await asked.get(path, limit=1000))["items"]
            assert [row for row in rows if row["day"] == "2024-01-02"] == (
                await asked.get(path, since="2024-01-02", until="2024-01-02")
            )["items"]
        revenue = sum(row["revenue"] for row in await asked.pages("/channels", 50))
        names = [report["name"] for report in await asked.get("/reports")]
        assert names == list(REGISTRY)
        reports = {name: await asked.get(f"/reports/{name}") for name in names}
        assert sum(row[6] for row in reports["channels"]["rows"]) == revenue > 0
        assert all(len(row) == len(r["columns"]) for r in reports.values() for row in r["rows"])

        for path, status in (
            ("/users/nobody", 404),
            ("/triggers/" + "0" * 32, 404),
            ("/triggers/x", 422),
            ("/reports/x", 404),
            ("/decisions?cursor=x", 422),
            ("/channels?cursor=2024-99-99~x", 422),
            ("/channels?limit=0", 422),
            ("/users/x?as_of=0001-01-01T00:00:00Z", 422),
            ("/nothing", 404),
        ):
            assert (await asked.http.get(path)).status_code == status, path
        assert (await asked.http.post("/decisions")).status_code == 405
        for word in (
            "\x00",
            "%",
            "..",
            "/",
            "a" * 512,
            "\U0001f4a5",
            "user:1",
            '"',
            "\n\r",
            "*",
            "\u202e",
            "-inf",
            "{}",
        ):
            for path in ("/users/{}", "/triggers/{}", "/reports/{}", "/{}"):
                answer = await asked.http.get(path.format(quote(word, safe="")))
                assert answer.status_code in (307, 404, 422), (path, word, answer.status_code)
            for path in ("/users/user-1?as_of={}", "/decisions?cursor={}", "/channels?since={}", "/growth?cursor={}"):
                answer = await asked.http.get(path.format(quote(word, safe="")))
                assert answer.status_code == 422, (path, word)
        for moment in ("9999-12-31T23:59:59+14:00", "2024-02-30", "0001-01-01T00:00:00-14:00", "1e400", "-1"):
            assert (await asked.http.get("/users/user-1", params={"as_of": moment})).status_code in (404, 422)

        said = await rekindle(deployment, "user", CANARY)
        assert "dormant since 2024-02-01 00:05" in said
        assert "groups        segment quiet\n              2024-03-02 00:05  leaves segment quiet\n" in said
        assert "silent: send" in said
        said = await rekindle(deployment, "explain", "user", CANARY)
        assert "it was decided, or passed over" in said
        said = await rekindle(deployment, "explain", "trigger", identity)
        assert "sent by email" in said
        amounts = {"unit": "minor units of KWD", "currency": "KWD", "exponent": 3}
        columns = ["revenue", "revenue_per_order"]
        assert reports["channels"]["amounts"] == amounts | {"columns": columns}
        assert reports["growth"]["amounts"] is None
        said = await rekindle(deployment, "report", "channels")
        assert "organic-search" in said
        assert f"{sum(row[6] for row in reports['channels']['rows'] if row[0] == 'direct') / 1000:,.3f} KWD" in said
        assert json.loads(await rekindle(deployment, "report", "channels", "--json")) == reports["channels"]
        assert json.loads(await rekindle(deployment, "report", "growth", "--json")) == reports["growth"]
        assert "no user or visitor" in await rekindle(deployment, "user", "nobody", code=Exit.USAGE)
        assert "no trigger" in await rekindle(deployment, "explain", "trigger", "0" * 32, code=Exit.USAGE)

        log = asked.process.said
        assert log.count('"request"') > 30
        assert '"/users/{user}"' in log or '"/users/{user:path}"' in log
        for word in ("canary", "%C3%A4", "nobody", identity):
            assert word not in log


async def test_without_redis_it_says_so_and_with_it_goes_on(
    deployment: Deployment, redis: LocalRedis, tmp_path: Path
) -> None:
    await deployment.begin()
    async with api(deployment.environment, tmp_path) as asked:
        assert "no views yet" in (await asked.get("/readyz", 503))["why"]
        assert "no views yet" in (await asked.get("/users/x", 503))["detail"]
        assert "is `rekindle views` running" in await rekindle(deployment, "report", "growth", code=Exit.USAGE)
        async with deployment.worker(make_core=None), deployment.views():
            await populate(deployment)
            await deployment.folded()
            await deployment.agrees()
            redis.kill()
            assert (await asked.get("/healthz"))["status"] == "ok"
            assert (await asked.get("/readyz", 503))["why"] == "Redis does not answer"
            assert (await asked.get(f"/users/{CANARY}", 503))["detail"] == "Redis does not answer"
            assert "--kafka" in await rekindle(deployment, "user", CANARY, code=Exit.USAGE)
            assert "new since" in await rekindle(deployment, "user", CANARY, "--kafka")
            redis.start()
            await deployment.agrees()
            assert (await asked.get(f"/users/{CANARY}"))["user"] == CANARY
        async with deployment.worker(make_core=None), deployment.views():
            answers = await asyncio.gather(*(asked.http.get(f"/users/user-{n % 120}") for n in range(400)))
            assert {answer.status_code for answer in answers} <= {200, 404}
    assert "canary" not in asked.process.said


@pytest.mark.parametrize(
    ("token", "word"), [(None, "there is no token"), ("short", "16 at least"), (b"\xff" * 20, "can't be read")]
)
async def test_no_token_no_start(token: str | bytes | None, word: str, tmp_path: Path) -> None:
    environment = {"REKINDLE_API_BIND": "0.0.0.0", "REKINDLE_API_PORT": "0"}  # noqa: S104 that is the point
    if token is not None:
        (tmp_path / "token").write_bytes(token if isinstance(token, bytes) else token.encode())
        environment["REKINDLE_API_TOKEN_FILE"] = str(tmp_path / "token")
    process = start(environment, tmp_path, "api")
    code, said = await process.end()
    assert code == Exit.TOKEN
    [line] = said.strip().splitlines()
    assert line.startswith("rekindle: api: ")
    assert word in line


async def test_with_a_token_only_who_brings_it_may_ask(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    environment = deployment.environment | {
        "REKINDLE_API_BIND": "0.0.0.0",  # noqa: S104
        "REKINDLE_API_TOKEN_FILE": str(tmp_path / "token"),
    }
    async with api(environment, tmp_path) as asked:
        assert (await asked.get("/healthz"))["status"] == "ok"
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKEN}"}):
            for path in ("/users/x", "/openapi.json", "/nothing", "/decisions"):
                answer = await asked.http.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert (await asked.http.get("/openapi.json", headers=known)).status_code == 200
        assert (await asked.http.get("/users/x", headers=known)).status_code == 503
        assert TOKEN not in asked.process.said


async def test_who_brings_the_token_may_erase_where_the_settings_say_so(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    guarded = deployment.environment | {"REKINDLE_API_TOKEN_FILE": str(tmp_path / "token")}
    path, known = f"/users/{quote(CANARY)}", {"Authorization": f"Bearer {TOKEN}"}
    await deployment.begin()
    async with api(guarded, tmp_path, **known) as asked:
        assert (await asked.http.delete(path)).status_code == 405, "no switch, no route"
    async with api(guarded | {"REKINDLE_API_ERASE": "true"}, tmp_path, **known) as asked:
        when = {"at": "2024-01-02T01:00:00Z"}
        await populate(deployment)
        for headers in ({"Authorization": ""}, {"Authorization": "Bearer x"}):
            assert (await asked.http.delete(path, params=when, headers=headers)).status_code == 401
        sent = await asked.http.delete(path, params=when | {"wait": 0})
        assert (sent.status_code, sent.json()["state"]) == (202, "sent"), "no worker runs"
        async with deployment.worker(make_core=None), deployment.views():
            done = await asked.http.delete(path, params=when | {"wait": 30})
            assert done.status_code == 200, done.text
            found = done.json()
            assert (found["state"], found["erased_until"]) == ("applied", "2024-01-02T01:00:00.000Z")
            again = (await asked.http.delete(path, params=when)).json()
            assert (again["mark"], again["offset"]) == (found["mark"], found["offset"]), "it is erased once"
            await deployment.folded()
            await deployment.agrees()
            await asked.get(path, 404)
            assert not await deployment.residue(b"canary")
            for wrong, more in (("rekindle.control", when), ("null", when), (quote(CANARY), {"at": "2999-01-01"})):
                answer = await asked.http.delete(f"/users/{wrong}", params=more)
                assert answer.status_code == 422, (wrong, answer.text)
        assert "canary" not in asked.process.said
        assert TOKEN not in asked.process.said


async def test_who_may_erase_needs_a_token_and_the_key_of_erasures(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    erasing = {"REKINDLE_API_PORT": "0", "REKINDLE_API_ERASE": "true"}
    token, nowhere = {"REKINDLE_API_TOKEN_FILE": str(tmp_path / "token")}, str(tmp_path / "nowhere")
    for more, code, word in (
        ({}, Exit.TOKEN, "who erases users has to bring a token"),
        (token | {"REKINDLE_ERASURE_KEY_FILE": nowhere}, Exit.ERASURE_KEY, "can't be read"),
    ):
        process = start(erasing | more, tmp_path, "api")
        ended, said = await process.end()
        assert (ended, word in said) == (code, True), said


async def test_without_kafka_nobody_is_erased_and_it_says_so(redis: LocalRedis, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    environment = {
        "REKINDLE_BROKERS": "127.0.0.1:1",
        "REKINDLE_REDIS_URL": redis.url,
        "REKINDLE_API_TOKEN_FILE": str(tmp_path / "token"),
        "REKINDLE_API_ERASE": "true",
        "REKINDLE_METRICS_PORT": "0",
    }
    async with api(environment, tmp_path, Authorization=f"Bearer {TOKEN}") as asked:
        answer = await asked.http.delete("/users/canary")
        assert (answer.status_code, "Kafka does not answer" in answer.json()["detail"]) == (503, True)
        assert "canary" not in asked.process.said


async def test_on_loopback_only_names_of_this_machine_are_answered(deployment: Deployment, tmp_path: Path) -> None:
    async with api(deployment.environment, tmp_path) as asked:
        for host, status in (("evil.example", 421), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:8", 200)):
            assert (await asked.http.get("/openapi.json", headers={"Host": host})).status_code == status


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "agents.cli", "api"]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"REKINDLE_API_PORT": port}, capture_output=True, text=True, check=False
        )
    assert done.returncode == Exit.USAGE
    assert f"can't listen on 127.0.0.1:{port}" in done.stderr
