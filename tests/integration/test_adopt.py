"""Churn models and budgets of perks on a real Kafka: published, adopted by a worker, rolled back, retired."""

import asyncio
import json
from pathlib import Path

import pytest

from agents.exits import Exit, Refusal
from agents.kafka.adopt import publish_lease
from agents.local import LocalKafka
from pipeline.risk import Recency, from_json
from pipeline.units import DAY
from schemas.control import Domain
from tests.integration.test_cli import Rekindle, event, tick

POLICY = """
version: 1
mode: live
salt: test
lifecycle: {at_risk: 7d, dormant: 14d}
consent: {email: {basis: opt_out, trait: email}}
perks: [{id: ten-off, cost: 10, budget: 5120}]
rules:
  - id: leaving
    when: {risk_above: 0.9, min_silence: 1d, min_active_days: 1}
    perk: ten-off
    holdout: 0
    goal: {within: 7d}
"""
MODEL = Recency(2 * DAY, 0.0, 0.0, 1.0)
"""P(no event) = 1 - 1/(2 + days of silence): .9 after eight days."""


@pytest.fixture
def rekindle(kafka: LocalKafka, prefix: str, tmp_path: Path) -> Rekindle:
    """A deployment of 4 partitions with a policy that has a perk and a rule by risk."""
    command = Rekindle(kafka.bootstrap, prefix, tmp_path)
    command("topics", "create", "--partitions", "4")
    command.say(Domain("played"), tick(0))
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    command("policy", "publish", policy, "--live")
    return command


def noted(rekindle: Rekindle) -> set[str]:
    """What the doctor notes about the policy and the model, as far as the colon."""
    looks = rekindle.json("doctor")["looks"]
    return {
        look["found"].split(":")[0] for look in looks if look["name"] in {"policy", "model"} and look["status"] != "ok"
    }


def test_a_model_and_a_lease_from_publishing_to_the_report(
    rekindle: Rekindle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, broken = (tmp_path / name for name in ("first.json", "second.json", "broken.json"))
    first.write_bytes(MODEL.to_json())
    second.write_bytes(Recency(2 * DAY, 0.0, 0.0, 0.1).to_json())
    broken.write_text('{"kind": "oracle/1"}')
    refused = rekindle("model", "publish", broken, code=Exit.POLICY).stderr
    assert refused.startswith(
        f"rekindle: nothing was published: {broken}: the model can't be used: Invalid value 'oracle/1'"
    )
    assert "nothing to go back to" in rekindle("model", "rollback", code=Exit.USAGE).stderr
    assert "nothing to retire" in rekindle("model", "retire", code=Exit.USAGE).stderr
    assert {"rule leaving goes by risk_above", "perk ten-off is not leased"} <= noted(rekindle)
    published = rekindle.json("model", "publish", first)
    assert (published["kind"], published["horizon"]) == ("recency", 2 * DAY)
    rekindle("model", "publish", second)
    assert rekindle.json("model", "rollback")["model"] == published["model"]
    assert "no single model" in rekindle("model", "rollback", "ffff", code=Exit.USAGE).stderr
    listed = rekindle.json("model", "list")
    assert [entry["model"] for entry in listed][::2] == [published["model"]] * 2
    assert [entry["current"] for entry in listed] == [False, False, True]  # the same hash, and only now
    assert [line.endswith("current") for line in rekindle("model", "list").stdout.splitlines()[1:]] == [
        *[False] * 2,
        True,
    ]

    planned = rekindle.json("perks", "lease", "--dry-run")
    assert (planned["published"], planned["perks"][0]["leased"]) == (False, 256_000)
    report = rekindle.json("report", "perks")
    assert report["rows"][0][:6] == ["ten-off", 1_000, 512_000, 0, 0, 0]
    assert (report["amounts"]["unit"], report["amounts"]["columns"][:2]) == ("minor units of USD", ["cost", "budget"])
    assert "10.00 USD" in rekindle("report", "perks").stdout
    assert "2,560.00 USD" in rekindle("perks", "lease", "--dry-run").stdout
    assert rekindle.json("perks", "lease")["published"]
    assert not rekindle.json("perks", "lease")["published"]

    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(event(f"user-{n}", n / 1000)) for n in range(60)))
    rekindle("send", path)
    with rekindle.worker():
        rekindle.say(*(tick(day) for day in (6, 7.2, 7.6, 8.5)))
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
        shown = rekindle("tail", "triggers", "-n", "100").stdout.splitlines()
        assert 40 < len(shown) < 60
        assert "risk 0.9, 0.9 or more, silent for 8 days" in shown[0]
        row = rekindle.json("report", "perks")["rows"][0]
        assert row[4:6] == [1_000 * len(shown), len(shown)]
        assert noted(rekindle) == set()
        user = json.loads(rekindle("tail", "triggers", "-n", "1", "--json").stdout)["subject"]
        said = rekindle("explain", "user", user, "--kafka").stdout
        assert f"by {published['model'][:12]}\n  silent for " in said
        assert "raises the risk (+" in said
        monkeypatch.setenv("REKINDLE_LANG", "zh")
        assert "：提高风险（+" in rekindle("explain", "user", user, "--kafka").stdout
        assert "提高风险" not in rekindle("explain", "user", user, "--kafka", "--json").stdout
        assert "这段沉默期内不再有到期事项" in rekindle("user", user, "--kafka").stdout
        assert "raises the risk (+" in rekindle("explain", "user", user, "--kafka", "--lang", "en").stdout
        monkeypatch.delenv("REKINDLE_LANG")
        assert published["model"][:12] in rekindle("user", user, "--kafka").stdout
        assert rekindle.json("perks", "lease")["published"]  # to the slots that have used up theirs
        rekindle("model", "retire")
        rekindle.say(tick(9), tick(12))
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
        rekindle("dump", "--out", tmp_path / "dump")
        assert rekindle.json("verify", "--dump", tmp_path / "dump")["ok"]
        rekindle("snapshot", "--out", tmp_path / "snapshot")
        assert "snapshot" in rekindle("snapshot", "--check", tmp_path / "snapshot").stdout
    assert rekindle("model", "list").stdout.splitlines()[-1].startswith("none ")


async def test_two_who_lease_at_once_lease_once(rekindle: Rekindle) -> None:
    """The later one shuts the earlier out, or goes on from what it has published."""
    found = await asyncio.gather(*(publish_lease(rekindle.settings) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(each, dict | Refusal) for each in found), found
    [row] = (await asyncio.to_thread(rekindle.json, "report", "perks"))["rows"]
    assert row[3] in {0, 256_000}
    await publish_lease(rekindle.settings)
    [row] = (await asyncio.to_thread(rekindle.json, "report", "perks"))["rows"]
    assert row[3] == 256_000


def test_a_model_that_foretells_too_much_is_recalibrated_by_its_own_scores(rekindle: Rekindle, tmp_path: Path) -> None:
    """1,600 users fall silent over four days; .89 are foretold to stay so, and two of three do."""
    first, renewed = tmp_path / "first.json", tmp_path / "made" / "renewed.json"
    first.write_bytes(MODEL.to_json())
    assert "nothing to recalibrate" in rekindle("model", "recalibrate", "--out", renewed, code=Exit.USAGE).stderr
    rekindle("model", "publish", first)

    def happen(*events: dict[str, object]) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text("\n".join(map(json.dumps, events)))
        rekindle("send", path)

    with rekindle.worker():
        for day in range(4):
            rekindle.say(tick(day))
            happen(*(event(f"user-{day}-{n}", day + n / 100_000) for n in range(400)))
        few = rekindle("model", "recalibrate", "--out", renewed, code=Exit.USAGE).stderr
        assert "nothing was written: 0 scores of days that are over are known, at least 1,000 are needed" in few
        for day in range(4):
            rekindle.say(tick(day + 8))
            happen(*(event(f"user-{day}-{n}", day + 8 + n / 100_000) for n in range(0, 400, 3)))
        rekindle.say(tick(13), tick(15))
        assert rekindle.agrees()["ok"]
        found = rekindle.json("model", "recalibrate", "--out", renewed)
        assert (found["written"], found["verdict"]) == (True, "foretells_too_much")
        assert found["ece_before"] > 0.15
        assert found["ece_after"] < 0.05
        assert found["scores"] == 1_200  # of the last of the four days it is not known yet that it is over
        said = rekindle("model", "recalibrate", "--out", renewed).stdout
        assert f"decide by it: rekindle model publish {renewed}" in said
        assert rekindle.json("model", "publish", renewed)["model"] == found["hash"]
        rekindle.say(tick(16))
        assert rekindle.agrees()["ok"]
    features = (2.0,)
    assert from_json(renewed.read_bytes()).predict(features) < MODEL.predict(features)
