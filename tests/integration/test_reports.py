"""Reports over a whole deployment: from its topics they say what they say from files."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner

from agents.cli import main
from agents.history import read_states, read_topic
from agents.local import LocalKafka
from agents.settings import Settings, load_settings
from pipeline.units import DAY
from schemas.topics import STATE
from tests.builders import Entry, Folded, adopt, at, event, fold, log, order, played, spread, tick

POLICY = """\
version: 1
currency: {reporting: KWD, rates: {USD: 0.3}}
lifecycle: {at_risk: 7d, dormant: 14d}
"""
PARTITIONS = 2


def history() -> list[Entry]:
    entries = [event(at(day + n / 100), f"u{n}", f"Seen {n % 3}") for n in range(240) for day in range(n % 7)]
    entries += [event(at(day + n / 100), f"u{n}", "Seen") for n in range(240) for day in range(0, 60, 5) if n % 2]
    return [*entries, *(order(at(n / 100), f"u{n}", n) for n in range(240))]


@pytest.mark.no_oracle("the rows are those of a log that was folded elsewhere")
def test_reasons_and_drivers_of_a_deployment(kafka: LocalKafka, prefix: str, tmp_path: Path) -> None:
    def said(*words: str) -> str:
        result = CliRunner().invoke(main, ["--brokers", kafka.bootstrap, "--prefix", prefix, *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    def json_of(*words: str) -> Any:
        return json.loads(said(*words, "--json"))

    path, policy = tmp_path / "events.jsonl", tmp_path / "policy.yaml"
    path.write_bytes(b"\n".join(entry.value or b"" for entry in history()))
    policy.write_text(POLICY)
    said("topics", "create", "--partitions", str(PARTITIONS))
    assert json_of("send", str(path))["sent"] == len(history())
    settings = load_settings(brokers=kafka.bootstrap, topic_prefix=prefix)

    assert json_of("report", "reasons") == json_of("report", "reasons", str(path))
    json_of("policy", "publish", str(policy))
    adopted = json_of("report", "reasons")
    assert adopted == json_of("report", "reasons", str(path), "--policy", str(policy))
    assert (adopted["dormant_days"], adopted["users"]) == (14, 240)
    assert adopted["pairs"]["discovery"]

    # What tells no time gets that of its record: a replay has no other.
    untimed = {"messageId": "m", "type": "track", "event": "Late", "userId": "u1"}
    path.write_text(json.dumps(untimed))
    json_of("send", str(path))
    past = asyncio.run(read_topic(settings))
    assert past.policy.lifecycle.dormant == 14 * DAY
    assert past.raws[-1].time is not None
    assert past.raws[-1].time > at(365)
    assert json.loads(past.raws[-1].value)["timestamp"]

    # The rows, as workers write them.
    logs = spread(
        log(played(), tick(at(0)), adopt(POLICY), sorted(history(), key=lambda entry: entry.appended)), PARTITIONS
    )
    folded = [fold(records, POLICY, number=number, count=PARTITIONS) for number, records in enumerate(logs)]
    asyncio.run(_write(settings, folded))
    rows = asyncio.run(read_states(settings))
    assert rows.states == [state for each in folded for _, state in each.partition.states()]
    assert rows.currency == "KWD"
    assert rows.now == max(each.partition.position.horizon or 0 for each in folded)


async def _write(settings: Settings, folded: list[Folded]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
        for number, each in enumerate(folded):
            for key, value in each.changelog:
                await producer.send(settings.topic(STATE.name), value, key, partition=number)
