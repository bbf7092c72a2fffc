"""`rekindle backtest` and `rekindle policy diff`, as an operator calls them."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agents.cli import main
from agents.exits import Exit
from pipeline.risk import Recency
from pipeline.units import DAY
from tests.builders import POLICY, Entry, at, event
from tests.policies import two_rules

HISTORY = [
    *(event(at(day), f"u{user}") for user in range(20) for day in range(3)),
    *(event(at(35), f"u{user}") for user in range(5)),  # a quarter comes back by itself
    *(event(at(day), "eve") for day in range(0, 111, 10)),
]


def write(folder: Path, entries: list[Entry] = HISTORY) -> Path:
    path = folder / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join((entry.value or b"") + b"\n" for entry in entries)))
    return path


def policy(folder: Path, text: str = POLICY, name: str = "policy.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def rekindle(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_json_and_files_hold_the_same_and_are_the_same_each_time(tmp_path: Path) -> None:
    words = (
        "backtest",
        write(tmp_path),
        "--policy",
        policy(tmp_path),
        "--horizon",
        "60",
        "--sweep",
        "silence_days=14,30",
    )
    first = rekindle(*words, "--json", "--out", tmp_path / "a")
    assert first.exit_code == 0, first.output
    second = rekindle(*words, "--json", "--out", tmp_path / "b")
    assert first.stdout == second.stdout
    for name in ("backtest.json", "backtest.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    found = json.loads(first.stdout)
    assert found == json.loads((tmp_path / "a" / "backtest.json").read_text())
    total = found["backtest"]["total"]
    assert (total["flagged"], total["measured"], total["came_back"], total["wasted"]) == (25, 25, 5, 0.2)
    assert found["backtest"]["coverage"]["lost"] == 20
    assert found["comparison"] is None
    swept = {row["value"]: row["flagged"] for row in found["sweep"]}
    assert swept == {"14": 25, "30": 25}
    assert len(found["limits"]) >= 5


def test_people_read_figures_a_chart_a_comparison_and_what_it_cannot_know(tmp_path: Path) -> None:
    new, old = policy(tmp_path, two_rules(0.1), "new.yaml"), policy(tmp_path)
    result = rekindle(
        "backtest", write(tmp_path), "--policy", new, "--against", old, "--sweep", "early.silence_days=10,25"
    )
    assert result.exit_code == 0, result.output
    for words in (
        "77 events of 21 users, 2024-01-01 to 2024-04-20",
        "under new.yaml",
        "came back by themselves",
        "early and silent",
        "lost users",
        "fullest hour of the week",
        "by hour of the week, UTC, a block for 3 hours from midnight on:\npush  Mon ",
        "all recalls",
        "all rules",
        "a block for a week",
        "against policy.yaml",
        "sends by push: 0 ->",
        "early.silence_days=10",
        "what a replay can't know",
        "Nothing is sent in a replay",
    ):
        assert words in result.stdout
    assert "█" in result.stdout


def test_other_kinds_are_no_recalls_and_what_shows_nothing_says_why(tmp_path: Path) -> None:
    grow = POLICY.replace("silent\n", "silent\n    kind: grow\n").replace("{silence: 30d}", "{segment: seen}")
    grow = grow.replace("rules:\n", "segments: [{id: seen, where: {active_days: {at_least: 3}}}]\nrules:\n")
    found = rekindle("backtest", write(tmp_path), "--policy", policy(tmp_path, grow)).stdout
    assert 'no recalls, so neither "came back" nor the lost are counted of them: silent (grow)' in found
    assert "nothing: nobody is held out" in found
    assert "missed: 15 never considered by any recall rule" in found
    recall = policy(tmp_path, grow.replace("    kind: grow\n", ""))
    again = rekindle("backtest", write(tmp_path), "--policy", recall).stdout
    assert "15 were flagged by their last activity itself, and by nothing after it" in again


def test_a_goal_that_nobody_reaches_is_pointed_at(tmp_path: Path) -> None:
    paid = POLICY.replace("{within: 7d}", "{event: Paid, within: 7d}")
    result = rekindle("backtest", write(tmp_path), "--policy", policy(tmp_path, paid))
    assert "silent: of those who came back none reached the goal, Paid; is that its name?" in result.stdout


def test_shadow_is_named_and_can_be_played_as_live(tmp_path: Path) -> None:
    history, shadow = write(tmp_path), policy(tmp_path, POLICY.replace("mode: live", "mode: shadow"))
    as_written = rekindle("backtest", history, "--policy", shadow)
    assert "in shadow, so that nothing is sent: silent; --live plays every rule as live" in as_written.stdout
    live = rekindle("backtest", history, "--policy", shadow, "--live", "--json")
    assert json.loads(live.stdout)["backtest"]["load"][0]["sends"] == 25


def test_a_rule_by_a_churn_model_needs_the_model(tmp_path: Path) -> None:
    risky = POLICY.replace("{silence: 30d}", "{risk_above: 0.9, min_silence: 1d, min_active_days: 1}")
    words = ("backtest", write(tmp_path), "--policy", policy(tmp_path, risky))
    without = rekindle(*words)
    assert "silent flags nobody: it goes by a churn model, of which none was named; --model" in without.stdout
    (tmp_path / "model.json").write_bytes(Recency(7 * DAY, 0.0, 0.0, 1.0).to_json())  # .9 after eight days
    found = json.loads(rekindle(*words, "--model", tmp_path / "model.json", "--json").stdout)
    assert found["backtest"]["total"]["flagged"] > 20
    (tmp_path / "model.json").write_text("{}")
    bad = rekindle(*words, "--model", tmp_path / "model.json")
    assert bad.exit_code == Exit.USAGE
    assert "model.json is no churn model that can be used" in bad.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--sweep", "silence_days"), Exit.USAGE, "expected a field and its values"),
        (("--sweep", "silence_days=x"), Exit.USAGE, "expected a number of days"),
        (("--horizon", "0"), Exit.USAGE, "invalid value for '--horizon'"),
    ],
)
def test_errors_say_what_to_do(tmp_path: Path, arguments: tuple[str, ...], code: Exit, says: str) -> None:
    result = rekindle("backtest", write(tmp_path), "--policy", policy(tmp_path), *arguments)
    assert result.exit_code == code
    assert says in result.stderr


def test_a_bad_policy_and_an_empty_history_are_refused(tmp_path: Path) -> None:
    bad = rekindle("backtest", write(tmp_path), "--policy", policy(tmp_path, "version: 1\nrulez: []\n"))
    assert bad.exit_code == Exit.POLICY
    assert "policy.yaml:2: unknown field 'rulez'" in bad.stderr
    (tmp_path / "none.jsonl").write_bytes(b"{oops\n")
    empty = rekindle("backtest", tmp_path / "none.jsonl", "--policy", policy(tmp_path))
    assert empty.exit_code == Exit.USAGE
    assert "no event in this history that tells a time" in empty.stderr


def test_diff_says_what_changes_and_whom(tmp_path: Path) -> None:
    old, new = policy(tmp_path), policy(tmp_path, POLICY.replace("silence: 30d", "silence: 40d"), "new.yaml")
    words = rekindle("policy", "diff", old, new)
    assert words.exit_code == 0, words.output
    assert words.stdout == "rule silent\n  when.silence: 30d -> 40d\n"
    other = rekindle("policy", "diff", old, policy(tmp_path, two_rules(), "two.yaml"))
    assert "rule early is new (it sends)\n  id early, when silence 20d, mode live" in other.stdout
    same = rekindle("policy", "diff", old, old)
    assert same.stdout == "both mean the same\n"
    played = rekindle("policy", "diff", old, new, write(tmp_path), "--examples", "2")
    assert "20 under both, 5 only under policy.yaml, 0 only under new.yaml" in played.stdout
    document = json.loads(rekindle("policy", "diff", old, new, write(tmp_path), "--json").stdout)
    assert [change["name"] for change in document["changes"]] == ["when.silence"]
    assert document["comparison"]["only_before"] == 5
    assert document["comparison"]["changes"] == [
        {"rule": "silent", "before": "send", "after": "not considered", "count": 5}
    ]


def test_diff_refuses_two_histories_and_unknown_files(tmp_path: Path) -> None:
    old = policy(tmp_path)
    both = rekindle("policy", "diff", old, old, write(tmp_path), "--from-topic")
    assert both.exit_code == Exit.USAGE
    assert "choose one" in both.stderr
    missing = rekindle("policy", "diff", "nowhere.yaml", old)
    assert missing.exit_code == Exit.USAGE
    assert "nowhere.yaml: no such file" in missing.stderr
