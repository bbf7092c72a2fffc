"""Reports are pure functions of the sums."""

from typing import Any

import pytest

from pipeline.reports import REGISTRY, Span
from pipeline.sums.base import Dims

CELLS: dict[tuple[str, Dims], list[int]] = {
    ("channels", (10, "email")): [5, 2, 1, 1, 2, 500, 0],
    ("channels", (11, "email")): [3, 2, 1, 0, 0, 0, 0],
    ("channels", (11, "direct")): [9, 0, 0, 1, 1, 9_900, 1],
    ("growth", (11, "user")): [4, 3, 2, 1, 1],
    ("growth", (10, "user")): [4, 0, 0, 0, 0],
    ("growth", (12, "user")): [0, 0, 0, 0, 0],
    ("decisions", (10, "r", "send", "")): [3],
    ("decisions", (11, "r", "suppressed", "cooldown")): [1],
    ("outcomes", (10, "r", "0.1/s", "treatment")): [6_000, 5_990, 0, 900, 1, 4_990, 4_900, 200, 9, 1, 90_000],
    ("outcomes", (11, "r", "0.1/s", "treatment")): [4_000, 3_960, 0, 900, 1, 3_990, 3_800, 300, 0, 0, 80_000],
    ("outcomes", (11, "r", "0.1/s", "holdout")): [1_000, 1_000, 150, 100, 190_000, 0, 0, 0, 0, 0, 0],
    ("calibration", (10, "m", "65")): [10, 6, 3, 1, 603],
    ("trials", (10, "r", "0.1/s", "treatment")): [5_000, 4_990, 1_000, 900, 890, 1_800_000, 90_000],
    ("trials", (11, "r", "0.1/s", "treatment")): [4_000, 3_960, 1_100, 900, 880, 1_800_000, 60_000],
    ("trials", (11, "r", "0.1/s", "holdout")): [1_000, 1_000, 150, 100, 95, 190_000, 0],
    ("stage", ("user", "active")): [7],
}


@pytest.mark.parametrize("name", list(REGISTRY))
def test_every_report_has_a_row_of_its_columns_and_bears_nothing(name: str) -> None:
    report = REGISTRY[name]
    table = report.make(CELLS, Span())
    assert table.rows
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert len(set(table.columns)) == len(table.columns)
    assert report.make({}, Span()).rows == []
    assert report.make(CELLS, Span(90, 99)).rows == []
    assert report.make(CELLS, Span()) == report.make(dict(reversed(CELLS.items())), Span())


def test_channels() -> None:
    assert REGISTRY["channels"].make(CELLS, Span()).rows == [
        ("direct", 9, 0, 0, 1, 1, 9_900, 1, None, 9_900),
        ("email", 8, 4, 2, 1, 2, 500, 0, 0.5, 250),
    ]
    assert [row[0] for row in REGISTRY["channels"].make(CELLS, Span(until=10)).rows] == ["email"]


def test_growth() -> None:
    assert REGISTRY["growth"].make(CELLS, Span(since=11)).rows == [(11, "user", 4, 3, 2, 1, 1, 4)]


def test_decisions() -> None:
    assert REGISTRY["decisions"].make(CELLS, Span()).rows == [
        ("r", "send", "", 3, 0.75),
        ("r", "suppressed", "cooldown", 1, 0.25),
    ]


# ---- recall


def recalled(cells: dict[tuple[str, Dims], list[int]], until: int | None = None) -> dict[Any, Any]:
    table = REGISTRY["recall"].make(cells, Span(until=until))
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def outcomes(rule: str, stratum: str, treated: tuple[int, int], held: tuple[int, int]) -> dict[Any, list[int]]:
    """(users, recalled) of both arms; each recalled user is worth 1,000, and costs 100 in perks."""
    found = {}
    for arm, (n, k) in (("treatment", treated), ("holdout", held)):
        cost = 100 * k * (arm == "treatment")
        found["outcomes", (10, rule, stratum, arm)] = [n, n, k, k, 1_000 * k, *[0] * 5, cost]
        found["trials", (10, rule, stratum, arm)] = [n, n, k, k, k, 1_000 * k, cost]
    return found


def test_a_rule_that_works() -> None:
    row = recalled(CELLS)["r"]
    assert (row["verdict"], row["treated"], row["held_out"], row["open"]) == ("works", 9_000, 1_000, 50)
    assert (row["contacts"], row["perk_cost"]) == (10_000, 170_000), "of all contacts, the comparison is of first ones"
    assert (row["treated_recalled"], row["held_out_recalled"], row["uplift"]) == (0.2, 0.1, 0.1)
    assert (row["incremental_users"], row["incremental_value"]) == (900, 3_600_000 - 9 * 190_000)
    assert row["perk_cost_first"] == 150_000
    assert row["perk_return"] == pytest.approx(1_890_000 / 150_000)
    assert row["participation"] == pytest.approx(500 / 8_980, abs=1e-4)
    assert row["says"] == "works: more come back than without it"
    for name in ("uplift", "incremental_users", "incremental_value", "perk_return"):
        assert 0 < row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    assert recalled(CELLS, until=10)["r"]["held_out"] == 0


def test_only_arms_of_one_stratum_are_compared() -> None:
    cells = outcomes("r", "0.5/a", (1000, 100), (1000, 100)) | outcomes("r", "0.1/b", (9000, 2700), (1000, 300))
    row = recalled(cells)["r"]
    assert (row["uplift"], row["incremental_users"], row["p"]) == (0, 0, 1)
    assert (row["treated_recalled"], row["held_out_recalled"]) == (0.28, 0.2)
    assert row["verdict"] == "too_early"


def test_the_rules_together_and_the_holdout_over_all_of_them() -> None:
    one, other = outcomes("one", "0.5/s", (600, 90), (600, 60)), outcomes("other", "0.5/s", (600, 90), (600, 60))
    assert set(recalled(one)) == {"one"}
    both = recalled(one | other)
    assert list(both) == ["one", "other", "+"]
    assert both["+"]["incremental_users"] == both["one"]["incremental_users"] + both["other"]["incremental_users"]
    assert both["+"]["p"] == pytest.approx(both["one"]["p"] * both["other"]["p"], rel=0.01)
    overall = outcomes("*", "0.05/all", (1900, 300), (100, 10))
    assert list(recalled(one | other | overall)) == ["one", "other", "*"], "its draw is in the arms of every rule"
    assert list(recalled(one | overall)) == ["one", "*"]


BY_ALL = outcomes("*", "0.1/s", (90, 9), (10, 1)) | outcomes("r", "0.4/s", (60, 12), (40, 4))


def test_sends_of_the_programme_are_those_of_its_rules() -> None:
    row = recalled(BY_ALL)["*"]
    assert (row["treated"], row["held_out"]) == (90, 10)
    assert (row["contacts"], row["perk_cost"]) == (60, 1_200), "the rule itself held out some of the 90"


COMPARED = (
    "uplift",
    "evidence  chance alone ",
    "times as many of those treated come back",
    "that were to be drawn (p ",
)


@pytest.mark.parametrize(
    ("cells", "lines", "not_said"),
    [
        (
            CELLS,
            [
                *("works: more", "9,000 treated, 1,000 held out; of 50", "20.00 % of those treated", "+10.00 (+"),
                "contacts  10,000 to be sent: 9,000 first ones, which are compared, and 1,000 later ones",
                "reported  8,980 sent, 8,700 delivered, 500 clicked, 9 bounced, 1 failed",
                "value is that of the first order that\nreaches its goal",
                "clicked   5.57 % of those reported as sent: the participation",
                *("+18,900.00 (+", ") EUR of value", *COMPARED),
                *("perks     1,500.00 EUR for first contacts, 12.60 (", "back for each 1; 1,700.00 EUR in all"),
            ],
            "void",
        ),
        (outcomes("r", "0.1/s", (9000, 1800), (800, 80)), ["void: the arms", "evidence  none"], "uplift"),
        (
            outcomes("r", "0/s", (90, 9), (0, 0)),
            ["unknown: nobody is", "10.00 % of those treated"],
            "evidence",
        ),
        (
            outcomes("r", "0.1/s", (90, 0), (10, 0)),
            ["too early: nobody has come back yet", *COMPARED, "reported  nothing: no sender", "each the first"],
            "perks",
        ),
        (outcomes("r", "0.1/s", (90, 9), (10, 1)), ["too early: about ", "to find a lift of 20 %", *COMPARED], "ALL"),
        ({}, ["nobody was drawn"], "95 %"),
        (
            BY_ALL,
            [
                *("ALL RULES", "90 in the programme, 10 held out of all of it", "contacts  60 "),
                *("10.00 % of those in the programme", "as many of those in the programme come back as of those held"),
            ],
            "void",
        ),
    ],
    ids=["works", "mismatch", "no_holdout", "nobody", "too_early", "empty", "all"],
)
def test_recall_in_words(cells: dict[tuple[str, Dims], list[int]], lines: list[str], not_said: str) -> None:
    report = REGISTRY["recall"]
    assert report.tell is not None
    said = "\n".join(report.tell(report.make(cells, Span()), "EUR"))
    assert [line for line in lines if line not in said] == []
    assert not_said not in said
    assert max(map(len, said.splitlines())) <= 120


def test_recall_in_a_currency_without_minor_units() -> None:
    report = REGISTRY["recall"]
    assert report.tell is not None
    said = "\n".join(report.tell(report.make(CELLS, Span()), "JPY"))
    assert "+1,890,000 (+" in said
    assert "perks     150,000 JPY for first contacts" in said
    assert "; 170,000 JPY in all" in said
