import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agents.cli import main
from agents.exits import Exit
from pipeline.risk import Recency
from pipeline.units import DAY

START = datetime(2025, 3, 1, 12, tzinfo=UTC)
POLICY = """\
version: 1
mode: live
salt: test
consent: {email: {basis: opt_out, trait: email}}
rules:
  - id: dormant-14d
    when:
      silence: 14d
    channel: email
    template: come-back
    holdout: 0.2
    expires_after: 3d
    cooldown: 30d
    goal:
      within: 7d
"""
ANSWERS = ("triggers.jsonl", "decisions.jsonl", "outcomes.jsonl", "segments.jsonl")
FILES = (*ANSWERS, "users.jsonl", "sums.json", "deadletters.jsonl")


def event(user: str, day: float, number: int, **more: Any) -> dict[str, Any]:
    when = (START + timedelta(days=day)).isoformat()
    return {"messageId": f"m{number}", "type": "track", "event": "Visit", "userId": user, "timestamp": when, **more}


def history() -> list[dict[str, Any]]:
    """40 users come daily for five days, half of them again three weeks later; one order; a heartbeat to the end."""
    events = [event(f"u{user}", day + user / 1000, 100 * user + day) for user in range(40) for day in range(5)]
    events += [event(f"u{user}", 20, 9000 + user) for user in range(0, 40, 2)]
    events.append(event("u1", 4.5, 8000, event="Order Completed", properties={"revenue": "12.50", "currency": "USD"}))
    events += [event("heartbeat", day, 10_000 + day) for day in range(45)]
    return events


def write(folder: Path, events: list[dict[str, Any]], name: str = "events.jsonl") -> Path:
    path = folder / name
    data = "".join(json.dumps(e) + "\n" for e in events).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def replay(folder: Path, out: str, *arguments: str | Path, text: bytes | None = None) -> Result:
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    words = ["replay", *map(str, arguments), "--policy", str(policy), "--out", str(folder / out)]
    return CliRunner().invoke(main, words, input=text)


def test_two_runs_write_the_same_bytes_and_json_names_what_came_out(tmp_path: Path) -> None:
    path = write(tmp_path, history())
    first = replay(tmp_path, "a", path, "--json")
    assert first.exit_code == 0, first.output
    summary = json.loads(first.stdout)
    keys = {"read", "applied", "late", "duplicate", "rejected", "triggers", "decisions", "outcomes", "segments"}
    assert set(summary) == keys
    assert summary["read"] == summary["applied"] == len(history())
    assert summary["triggers"] > 0
    assert replay(tmp_path, "b", path).exit_code == 0
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    triggers = [json.loads(line) for line in (tmp_path / "a" / "triggers.jsonl").open()]
    assert len(triggers) == summary["triggers"]
    assert [t["time"] for t in triggers] == sorted(t["time"] for t in triggers)
    users = [json.loads(line) for line in (tmp_path / "a" / "users.jsonl").open()]
    assert [u["user"] for u in users] == sorted(u["user"] for u in users)
    assert {u["user"]: u["activity"]["days"] for u in users}["u2"] == 6
    sums = json.loads((tmp_path / "a" / "sums.json").read_text())
    assert sum(cell["revenue"] for cell in sums["channels"]) == 1250


def test_rows_that_are_many_and_therefore_encoded_meanwhile_come_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, history())
    assert replay(tmp_path, "decoded", path).exit_code == 0
    monkeypatch.setattr("pipeline.play._DECODED", 10)
    monkeypatch.setattr("pipeline.play._BATCH", 50)
    assert replay(tmp_path, "encoded", path).exit_code == 0
    for name in FILES:
        assert (tmp_path / "decoded" / name).read_bytes() == (tmp_path / "encoded" / name).read_bytes(), name


def test_order_of_lines_packing_and_stdin_make_no_difference(tmp_path: Path) -> None:
    events = history()
    path = write(tmp_path, events)
    assert replay(tmp_path, "a", path).exit_code == 0
    packed = write(tmp_path, list(reversed(events[:100])), "1.jsonl.gz")
    rest = write(tmp_path, events[100:], "2.jsonl")
    assert replay(tmp_path, "b", rest, packed).exit_code == 0
    assert replay(tmp_path, "c", "-", text=b"\r\n\n" + path.read_bytes()).exit_code == 0
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes(), name
    # Events at the same moment keep the order of the files, which shows only in evidence; users and sums are equal.
    for name in ("users.jsonl", "sums.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_history_may_hold_an_erasure(tmp_path: Path) -> None:
    path = write(tmp_path, [event("u1", 0, 1), event("u2", 1, 2), event("u1", 2, 3, type="delete", event=None)])
    result = replay(tmp_path, "out", path, "--json")
    assert result.exit_code == 0, result.output
    assert (json.loads(result.stdout)["applied"], json.loads(result.stdout)["rejected"]) == (3, 0)
    assert [json.loads(line)["user"] for line in (tmp_path / "out" / "users.jsonl").open()] == ["u2"]
    assert (tmp_path / "out" / "deadletters.jsonl").read_bytes() == b""


def test_as_is_keeps_the_order_so_that_late_events_are_late(tmp_path: Path) -> None:
    events = history()
    path = write(tmp_path, [*events[1:], events[0]])
    assert json.loads(replay(tmp_path, "a", path, "--json").stdout)["late"] == 0
    as_is = json.loads(replay(tmp_path, "b", path, "--json", "--as-is").stdout)
    assert as_is["rejected"] > 0  # u0's first event comes 44 days late, after the heartbeat


def test_a_bad_line_costs_one_line_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = [json.dumps(e).encode() for e in history()[:3]]
    nobody = json.dumps({"messageId": "x", "type": "track", "event": "Visit"}).encode()
    path.write_bytes(b"\n".join([lines[0], b"", b"{oops", nobody, b'{"messageId": "\xff"}', lines[1], lines[1]]))
    result = replay(tmp_path, "out", path, "--json")
    summary = json.loads(result.stdout)
    assert (summary["read"], summary["applied"], summary["duplicate"], summary["rejected"]) == (6, 2, 1, 3)
    dead = [json.loads(line) for line in (tmp_path / "out" / "deadletters.jsonl").open()]
    assert [(d["line"], d["reason"]) for d in dead] == [(3, "malformed_json"), (4, "bad_id"), (5, "malformed_json")]
    assert dead[0]["value"] == "{oops"
    assert dead[2]["value"] == {"base64": "eyJtZXNzYWdlSWQiOiAi/yJ9"}


def test_absurd_times_are_dead_letters_and_nothing_else(tmp_path: Path) -> None:
    absurd = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2400-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"]
    events = [event("u", n, n, timestamp=when) for n, when in enumerate(absurd)]
    alone = replay(tmp_path, "alone", write(tmp_path, events), "--json")
    assert json.loads(alone.stdout)["rejected"] == 4, alone.output
    among = replay(tmp_path, "among", write(tmp_path, [*events, *history()]), "--json")
    assert json.loads(among.stdout)["rejected"] == 4
    assert json.loads(among.stdout)["applied"] == len(history())
    dead = [json.loads(line) for line in (tmp_path / "among" / "deadletters.jsonl").open()]
    assert [d["reason"] for d in dead] == ["absurd_time", "absurd_time", "time_in_future", "time_in_future"]


def test_a_churn_model_is_adopted_with_the_policy(tmp_path: Path) -> None:
    policy, model = tmp_path / "risk.yaml", tmp_path / "model.json"
    policy.write_text(
        "version: 1\nmode: live\nconsent: {email: {basis: opt_out, trait: email}}\nrules:\n"
        "  - {id: leaving, when: {risk_above: 0.9, min_silence: 1d, min_active_days: 1}, goal: {within: 7d}}\n"
    )
    model.write_bytes(Recency(30 * DAY, 0.0, 0.0, 1.0).to_json())
    words = ["replay", str(write(tmp_path, history())), "--policy", str(policy), "--out", str(tmp_path / "o"), "--json"]
    without, with_it = (CliRunner().invoke(main, [*words, *more]) for more in ([], ["--model", str(model)]))
    assert json.loads(without.stdout)["decisions"] == 0
    assert json.loads(with_it.stdout)["decisions"] > 0
    model.write_text("{}")
    refused = CliRunner().invoke(main, [*words, "--model", str(model)])
    assert (refused.exit_code, "no churn model that can be used" in refused.stderr) == (Exit.USAGE, True)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    missing = replay(tmp_path, "out", tmp_path / "nothing.jsonl")
    assert missing.exit_code == Exit.USAGE
    assert "nothing.jsonl: No such file or directory" in missing.stderr
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b"{}\n" * 1000)[:-20])
    cut = replay(tmp_path, "out", broken)
    assert cut.exit_code == Exit.USAGE
    assert "broken.gz" in cut.stderr
    policy = tmp_path / "bad.yaml"
    policy.write_text("version: 1\nrulez: []\n")
    words = ["replay", str(write(tmp_path, history())), "--policy", str(policy), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == Exit.POLICY
    assert "bad.yaml:2: unknown field 'rulez'; did you mean 'rules'?" in refused.stderr


@pytest.mark.parametrize(("word", "near"), [("topcis", "topics"), ("verfy", "verify"), ("dead-letters", "deadletters")])
def test_an_unknown_command_names_the_nearest(word: str, near: str) -> None:
    result = CliRunner().invoke(main, [word])
    assert result.exit_code == Exit.USAGE
    assert f"no command '{word}'; did you mean '{near}'?" in result.stderr


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in ("demo", "worker", "replay", "deadletters", "doctor"):
        assert f"\n  {name}" in result.stdout
