"""Commands that need no Kafka: policy check, send --dry-run; and the lines that tail prints."""

import asyncio
import gc
import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from agents.admission import Admission, as_backfill
from agents.cli import main
from agents.cli.base import run, settings_of
from agents.cli.lines import describe
from agents.exits import Exit, Refusal
from agents.files import bytes_of, text_of
from pipeline.policy import DEFAULT
from pipeline.records import LogRecord
from pipeline.wording import Language
from tests.builders import POLICY, at, event, fold, history, order, ticks

SOUND = """\
version: 1
consent: {email: {basis: opt_out, trait: email}}
rules:
  - id: a
    mode: live
    when: {silence: 30d}
    channel: email
    template: x
    goal: {within: 7d}
"""


def now_event(**more: Any) -> dict[str, Any]:
    time = datetime.now(UTC).isoformat()
    fields = {"messageId": "m", "type": "track", "event": "Visit", "userId": "ann", "timestamp": time}
    return {name: value for name, value in (fields | more).items() if value is not None}


def test_a_refusal_comes_without_what_the_client_never_asked_its_futures(caplog: pytest.LogCaptureFixture) -> None:
    async def fenced() -> None:
        asyncio.get_running_loop().create_future().set_exception(OSError("fenced"))
        gc.collect()
        raise Refusal(Exit.FENCED, "another publisher came in between")

    settings = settings_of(click.Context(main))
    with pytest.raises(Refusal):
        run(settings, fenced())
    assert not caplog.records


def test_policy_check_tells_each_rules_mode(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(SOUND)
    found = json.loads(CliRunner().invoke(main, ["policy", "check", str(path), "--json"]).stdout)
    assert found["ok"] is True
    assert found["rules"] == {"a": "live"}
    assert len(found["hash"]) == 64
    shown = CliRunner().invoke(main, ["policy", "check", str(path)])
    assert shown.exit_code == 0
    assert "after 30 d of silence" in shown.stdout


def test_policy_check_names_every_problem_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(SOUND.replace("silence: 30d", "silense: 30d").replace("version: 1", "version: 2"))
    result = CliRunner().invoke(main, ["policy", "check", str(path)])
    assert result.exit_code == Exit.POLICY
    assert f"{path}:1: version" in result.stderr
    assert "did you mean 'silence'?" in result.stderr
    found = json.loads(CliRunner().invoke(main, ["policy", "check", str(path), "--json"]).stdout)
    assert found["ok"] is False
    assert len(found["problems"]) >= 2


def test_send_names_the_lines_that_would_become_dead_letters(tmp_path: Path) -> None:
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    lines = [
        now_event(),
        now_event(userId="undefined"),
        now_event(type="purchase"),
        now_event(timestamp="1970-01-02T00:00:00Z"),
        now_event(timestamp=later),
        now_event(userId="rekindle.control"),
        now_event(event="Order Completed", properties={"revenue": -1}),
        now_event(event=None),
        now_event(timestamp=None),
    ]
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    result = CliRunner().invoke(main, ["send", str(path), "--dry-run", "--json"])
    assert result.exit_code == Exit.USAGE
    found = json.loads(result.stdout)
    assert (found["read"], found["valid"], found["sent"]) == (9, 2, 0)
    assert [(r["line"], r["reason"]) for r in found["refused"]] == [
        (2, "bad_id"),
        (3, "unknown_type"),
        (4, "absurd_time"),
        (5, "time_in_future"),
        (6, "forged_control"),
        (7, "negative_amount"),
        (8, "wrong_type"),
    ]
    shown = CliRunner().invoke(main, ["send", str(path), "--dry-run"])
    assert "line 2: bad_id: an id that stands for no id" in shown.stderr
    assert "9 read, 2 valid, 7 refused" in shown.stdout


def test_what_is_sent_has_the_key_and_the_bytes_that_were_read() -> None:
    value = json.dumps(now_event(anonymousId="x")).encode()
    checked = Admission(DEFAULT).check(1, value)
    assert (checked.key, checked.value, checked.refusal) == (b"ann", value, None)
    visitor = Admission(DEFAULT).check(1, json.dumps(now_event(userId=None, anonymousId="x")).encode())
    assert visitor.key == b"x"


def test_backfill_is_marked_and_amounts_stay_exact() -> None:
    value = b'{"context":{"page":{"referrer":"r"}},"properties":{"revenue":0.1000000000000000055,"n":1e400}}'
    marked = as_backfill(value)
    assert json.loads(marked)["context"] == {"page": {"referrer": "r"}, "backfill": True}
    assert b"0.1000000000000000055" in marked
    assert as_backfill(b"{oops") == b"{oops"
    assert as_backfill(b"[1]") == b"[1]"
    assert json.loads(as_backfill(b'{"context": null}')) == {"context": {"backfill": True}}


@pytest.mark.parametrize("data", [b"", b"text", "ümlaut".encode(), b"\xff\x00", bytes(range(256))])
def test_bytes_survive_their_way_through_json(data: bytes) -> None:
    assert bytes_of(json.loads(json.dumps(text_of(data)))) == data


def test_each_output_is_one_line_with_its_reason() -> None:
    records = history(event(at(0, 0, 5)), event(at(0, 0, 6), key=b"other"), ticks(at(0, 6), at(45), 6 * 3_600_000))
    outputs = fold(records).outputs

    def line(topic: str, language: Language = "en") -> str:
        record = outputs[topic][0]
        return describe(topic, LogRecord(0, at(1), record.key, record.value, record.headers), language)

    assert "ann  silent: email come-back: silent for 30 days (the rule's limit is 30); until " in line("triggers")
    assert line("decisions").endswith("ann  silent: send; due: silent for 30 days (the rule's limit is 30)")
    assert "ann  silent: email come-back: 已沉默 30 天（规则的期限为 30 天）；有效期至 2024-" in line("triggers", "zh")
    assert line("decisions", "zh").endswith("ann  silent: 发送；到期原因：已沉默 30 天（规则的期限为 30 天）")
    assert line("outcomes").endswith("ann  silent treatment: not recalled")
    assert "key_mismatch: the key is not" in line("deadletters")
    buying = POLICY.replace("{within: 7d}", "{event: Order Completed, within: 7d}")
    outputs = fold(history(event(at(0)), ticks(at(0), at(32)), order(at(32)), policy=buying), buying).outputs
    assert line("outcomes").endswith("recalled after 2.0 days, worth 25.00 USD")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--borkers", "x"], "rekindle: no such option: --borkers"),
        (["tial"], "rekindle: no command 'tial'; did you mean 'tail'?; see `"),
        (["tail"], "rekindle: missing argument 'TOPIC'"),
        (["tail", "trigers"], "rekindle: invalid value for 'TOPIC'"),
        (["policy", "publish", "--life"], "rekindle: no such option: --life"),
        (["policy", "publish", "nowhere.yaml"], "rekindle: invalid value for 'FILE'"),
    ],
)
def test_what_is_typed_wrong_is_said_in_one_line_as_every_refusal(words: list[str], said: str) -> None:
    told = CliRunner().invoke(main, words)
    assert told.exit_code == Exit.USAGE
    assert told.stderr.startswith(said)
    assert " --help`" in told.stderr
    assert len(told.output.splitlines()) == 1


def test_help_breaks_no_word_and_a_group_alone_shows_its_help() -> None:
    told = CliRunner().invoke(main, ["tail", "-h"])
    assert re.search(r"TOPIC is triggers, decisions, outcomes, segments,\s+deadletters or erasures", told.stdout)
    assert "Commands:" in CliRunner().invoke(main, ["policy"]).output
