"""Where the value comes from: shares, lifts and their rank, over users' rows."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.cli import main
from pipeline.activity import Activity
from pipeline.journey import Journey
from pipeline.reports import OVER_USERS
from pipeline.reports.base import Table
from pipeline.state import Groups, Orders, UserState
from pipeline.units import DAY
from tests.builders import at, event, order

DRIVERS = OVER_USERS["drivers"]


def user(
    channel: str, spent: int, *, tier: str = "", day: int = 0, activated: bool = False, known: bool = True
) -> UserState:
    return UserState(
        known=known,
        activity=Activity(first=at(day), last=at(day), days=1, activated=activated),
        journey=Journey(first=channel),
        orders=Orders(count=1, spent=spent) if spent else None,
        groups=Groups(tier=tier) if tier else None,
    )


def rows(table: Table) -> dict[tuple[object, object], dict[str, object]]:
    return {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_shares_averages_and_lifts() -> None:
    states = [user("ads", 3_000, tier="gold") for _ in range(40)] + [user("direct", 1_000) for _ in range(60)]
    states += [user("ads", 9_999, known=False), UserState()]  # no users
    table = DRIVERS.make(states, at(10), None)
    found = rows(table)
    assert set(found) == {("first channel", "ads"), ("first channel", "direct"), ("tier", "gold"), ("tier", "(none)")}
    ads = found["first channel", "ads"]
    assert (ads["users"], ads["users_share"], ads["spent"], ads["spent_share"]) == (40, 0.4, 120_000, 0.6667)
    assert (ads["spent_per_user"], ads["lift"]) == (3_000, 1.67)
    assert [row[1] for row in table.rows] == ["ads", "direct", "gold", "(none)"]


def test_an_interval_needs_buyers() -> None:
    draw = random.Random(1)
    states = [user("ads", draw.randint(1, 9_000)) for _ in range(29)] + [user("direct", 500) for _ in range(60)]
    assert rows(DRIVERS.make(states, at(10), None))["first channel", "ads"]["lift_low"] is None
    table = DRIVERS.make([*states, user("ads", 5_000)], at(10), None)
    ads = rows(table)["first channel", "ads"]
    assert isinstance(ads["lift_low"], float)
    assert isinstance(ads["lift_high"], float)
    assert ads["lift_low"] < float(str(ads["lift"])) < ads["lift_high"]


def test_factors_are_ranked_by_how_far_value_and_users_lie_apart() -> None:
    states = [user("ads", 100, tier="gold") for _ in range(5)] + [user("ads", 900, tier="gold") for _ in range(5)]
    states += [user("direct", 100, tier="gold"), user("direct", 400)]
    table = DRIVERS.make(states, at(10), None)
    assert [row[0] for row in table.rows] == ["first channel", "first channel", "tier", "tier"]


def test_value_of_the_last_days_only() -> None:
    now_and_then, once = user("ads", 500), user("direct", 500)
    assert now_and_then.orders is not None
    assert once.orders is not None
    now_and_then.orders.recent = [(at(1) // DAY, 1, 300), (at(80) // DAY, 1, 200)]
    once.orders.recent = [(at(1) // DAY, 1, 500)]
    found = rows(DRIVERS.make([now_and_then, once], at(90), 30))
    assert (found["first channel", "ads"]["spent"], found["first channel", "direct"]["spent"]) == (200, 0)
    assert DRIVERS.make([once], at(90), 30).rows == []


def test_the_order_of_the_rows_makes_no_difference() -> None:
    draw = random.Random(2)
    states = [
        user(draw.choice("abc"), draw.choice([0, 100, 5_000]), day=draw.randint(0, 90), activated=draw.random() < 0.5)
        for _ in range(300)
    ]
    table = DRIVERS.make(states, at(100), None)
    assert DRIVERS.make(list(reversed(states)), at(100), None) == table
    assert {row[0] for row in table.rows} == {"first channel", "key moment", "cohort", "tenure"}
    for kind in ("first channel", "key moment", "cohort", "tenure"):
        assert sum(int(str(row[2])) for row in table.rows if row[0] == kind) == 300


def test_nobody_and_nothing_spent_give_no_rows() -> None:
    assert DRIVERS.make([], 0, None).rows == []
    assert DRIVERS.make([user("ads", 0), user("direct", 0)], at(1), None).rows == []


def test_the_command_folds_files(tmp_path: Path) -> None:
    entries = [order(at(n / 10), f"ads-{n}", 20, source="google", currency="USD") for n in range(40)]
    entries += [event(at(n / 10), f"none-{n}", "Viewed") for n in range(40)]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(entry.value or b"" for entry in entries))
    result = CliRunner().invoke(main, ["report", "drivers", str(path), "--json"])
    assert result.exit_code == 0, result.output
    look = json.loads(result.stdout)
    by_name = {row[1]: dict(zip(look["columns"], row, strict=True)) for row in look["rows"]}
    assert (by_name["organic-search"]["spent"], by_name["organic-search"]["lift"]) == (80_000, 2.0)
    assert by_name["direct"]["spent_share"] == 0
    assert look["amounts"] == {
        "unit": "minor units of USD",
        "currency": "USD",
        "exponent": 2,
        "columns": ["spent", "spent_per_user"],
    }
    path.write_bytes(b"")
    result = CliRunner().invoke(main, ["report", "drivers", str(path)])
    assert "nobody has spent anything in that time" in result.output
    assert CliRunner().invoke(main, ["report", "drivers", "--policy", str(path)]).exit_code == 2


@pytest.mark.parametrize(
    ("currency", "spent", "each"), [("EUR", "800.00 EUR", "20.00 EUR"), ("JPY", "800 JPY", "20 JPY")]
)
def test_people_read_amounts_in_the_reporting_currency(tmp_path: Path, currency: str, spent: str, each: str) -> None:
    path, policy = tmp_path / "events.jsonl", tmp_path / "policy.yaml"
    entries = [order(at(n / 10), f"ads-{n}", 20, source="google", currency=currency) for n in range(40)]
    entries.append(event(at(1), "none", "Viewed"))
    path.write_bytes(b"\n".join(entry.value or b"" for entry in entries))
    policy.write_text(f"version: 1\ncurrency: {{reporting: {currency}}}\n")
    result = CliRunner().invoke(main, ["report", "drivers", str(path), "--policy", str(policy)])
    assert result.exit_code == 0, result.output
    row = next(line for line in result.output.splitlines() if "organic-search" in line)
    assert f" {spent} " in row
    assert f" {each} " in row
