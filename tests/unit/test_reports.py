"""Reports are pure functions of the sums."""

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
    ("outcomes", (10, "r", "treatment")): [10, 8, 4, 2, 800],
    ("outcomes", (11, "r", "holdout")): [2, 0, 0, 0, 0],
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


def test_decisions_and_recall() -> None:
    assert REGISTRY["decisions"].make(CELLS, Span()).rows == [
        ("r", "send", "", 3, 0.75),
        ("r", "suppressed", "cooldown", 1, 0.25),
    ]
    assert REGISTRY["recall"].make(CELLS, Span()).rows == [
        ("r", "holdout", 2, 0, 0, 0, 0, None, None, None),
        ("r", "treatment", 10, 8, 4, 2, 800, 0.5, 0.25, 100),
    ]
