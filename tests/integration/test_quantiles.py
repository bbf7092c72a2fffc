"""Quantiles on a real Kafka: read off the state, published, adopted by a worker."""

import json
import re
from pathlib import Path

from agents.local import LocalKafka
from schemas.control import Domain
from tests.integration.test_cli import Rekindle, event, tick

POLICY = """
version: 1
source_guard: {dark_below: 0}
segments: [{id: best, where: {spent: {top: 0.1}}}]
"""


def test_quantiles_from_the_state_to_the_segment(kafka: LocalKafka, prefix: str, tmp_path: Path) -> None:
    rekindle = Rekindle(kafka.bootstrap, prefix, tmp_path)
    rekindle("topics", "create", "--partitions", "4")
    rekindle.say(Domain("played"), tick(0))
    policy, path = tmp_path / "policy.yaml", tmp_path / "events.jsonl"
    policy.write_text(POLICY)
    rekindle("policy", "publish", policy)
    assert "nobody is in it until thresholds are published" in " ".join(rekindle("doctor").stdout.split())
    assert "nothing to publish" in rekindle("quantiles", "publish").stdout
    sold = [
        event(f"user-{n}", n / 10_000, event="Order Completed", properties={"revenue": n + 1, "currency": "USD"})
        for n in range(100)
    ]
    path.write_text("\n".join(map(json.dumps, sold)))
    rekindle("send", path)
    with rekindle.worker():
        rekindle.say(tick(3))
        assert rekindle.agrees()["ok"]
        planned = rekindle.json("quantiles", "publish", "--dry-run")
        published = rekindle.json("quantiles", "publish")
        assert "thresholds" not in rekindle("doctor").stdout
        assert (planned["published"], published["published"]) == (False, True)
        assert re.search(r"spent +10 % +9[01]\.\d\d USD", rekindle("quantiles", "publish", "--dry-run").stdout)
        assert planned["quantiles"] == published["quantiles"]
        assert abs(published["quantiles"]["spent"]["0.1"] / 9_100 - 1) <= 0.0101
        rekindle.say(tick(5))
        findings = rekindle.agrees()
        assert findings["ok"], findings["details"]
    lines = rekindle("tail", "segments", "-n", "100").stdout.splitlines()
    assert {line.split()[2] for line in lines} == {f"user-{n}" for n in range(90, 100)}
