"""Whether the scores are what came: from the sum alone."""

import random

import pytest

from pipeline.reports import REGISTRY, Span
from pipeline.reports.calibration import LEAST, Bands, fit, says
from pipeline.sums.base import Cells, Dims
from pipeline.sums.calibration import band_of

REPORT = REGISTRY["calibration"]


def cells(
    *days: dict[int, tuple[int, int]], lost: int = 0, waits: int = 0, now: int = 99
) -> dict[tuple[str, Dims], list[int]]:
    """Of each day from 10 on: percent -> how many were silent and came. `waits` of the last day's are open. On day
    `now` a score of another model turned out to be silent.
    """
    found: dict[tuple[str, Dims], list[int]] = {("calibration", (now, "z", "00")): [1, 1, 0, 0, 4]}
    for day, told in enumerate(days, start=10):
        open_ = waits if day == 9 + len(days) else 0
        for percent, (silent, came) in told.items():
            cell = [silent + came + lost + open_, silent, came, lost, percent * (silent + came)]
            found["calibration", (day, "m", band_of(percent))] = cell
    return found


def row(found: dict[tuple[str, Dims], list[int]]) -> dict[str, object]:
    table = REPORT.make(found, Span())
    [mine] = [each for each in table.rows if each[0] == "m"]
    return dict(zip(table.columns, mine, strict=True))


def test_figures_by_hand() -> None:
    found = row(cells({20: (150, 850), 80: (700, 300)}))
    assert (found["scores"], found["foretold"], found["silent"]) == (2_000, 0.5, 0.425)
    assert found["ece"] == 0.075  # 50 and 100 too few
    assert found["auc"] == round((700 * (850 + 150) + 150 * 425) / (850 * 1_150), 4)
    assert found["verdict"] == "foretells_too_much"
    assert "off by .075: it foretells .500 silent, and .425 were" in str(found["says"])


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        ({30: (30, 69)}, "too_early"),
        ({30: (600, 1_400), 90: (1_800, 200)}, "calibrated"),
        ({30: (1_000, 1_000)}, "foretells_too_little"),
        ({90: (1_000, 1_000)}, "foretells_too_much"),
        ({30: (1_000, 1_000), 70: (1_000, 1_000)}, "uneven"),
    ],
)
def test_verdicts(told: dict[int, tuple[int, int]], verdict: str) -> None:
    assert row(cells(told))["verdict"] == verdict


def test_a_day_counts_when_it_is_over() -> None:
    """Before that those who came are known, and those who stay silent are not."""
    ripe, fresh = {80: (800, 200)}, {80: (0, 1_000)}
    for now, days in ((10, 0), (11, 1), (12, 2)):
        found = row(cells(ripe, fresh, now=now))
        assert (found["days"], found["scores"]) == (days, 1_000 * days)


def test_a_day_counts_when_nothing_of_it_waits() -> None:
    """In a partition that is behind."""
    ripe, fresh = {80: (800, 200)}, {80: (0, 300)}
    found = row(cells(ripe, fresh, waits=700))
    assert (found["days"], found["scores"], found["waiting"], found["silent"]) == (1, 1_000, 700, 0.8)
    assert found["verdict"] == "calibrated"
    only_fresh = row(cells(fresh, waits=700))
    assert (only_fresh["verdict"], only_fresh["scores"], only_fresh["ece"]) == ("too_early", 0, None)
    assert "horizon of its first scores is not over" in str(only_fresh["says"])


def test_the_lost_are_no_part_of_it() -> None:
    found = row(cells({80: (800, 200)}, lost=50))
    assert (found["days"], found["scores"], found["lost"], found["silent"]) == (1, 1_000, 50, 0.8)


def test_versions_are_told_apart() -> None:
    found = cells({80: (800, 200)}) | {("calibration", (10, "a", "80")): [10, 1, 9, 0, 800]}
    told = [(each[0], each[1]) for each in REPORT.make(found, Span()).rows]
    assert told == [("a", "too_early"), ("m", "calibrated"), ("z", "too_early")]


def test_a_span_is_of_the_horizons_ends() -> None:
    found = cells({80: (800, 200)}, {80: (500, 500)})
    columns = REPORT.make(found, Span()).columns
    for span, silent in ((Span(10, 10), 0.8), (Span(11, 11), 0.5), (Span(10, 11), 0.65)):
        [mine] = REPORT.make(found, span).rows
        assert mine[columns.index("silent")] == silent


def test_the_area_is_that_of_the_bands() -> None:
    rng = random.Random(3)
    bands: Bands = {}
    sample = []
    for _ in range(500):
        percent = rng.randrange(101)
        silent = rng.random() < percent / 100
        cell = bands.setdefault(band_of(percent), [0] * 5)
        cell[0] += 1
        cell[1 if silent else 2] += 1
        cell[4] += percent
        sample.append((int(band_of(percent)), silent))
    found = fit(bands)
    assert found is not None
    pairs = [(a, b) for a, yes in sample if yes for b, no in sample if not no]
    assert found.auc == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))


def test_a_model_without_fault_is_called_so() -> None:
    rng = random.Random(5)
    wrong = 0
    for _ in range(200):
        told: dict[int, tuple[int, int]] = {}
        for _ in range(LEAST):
            percent = rng.randrange(101)
            silent, came = told.get(percent, (0, 0))
            told[percent] = (silent + 1, came) if rng.random() < percent / 100 else (silent, came + 1)
        whole = Cells()
        for percent, (silent, came) in told.items():
            name = (10, "m", band_of(percent))
            sum_ = REPORT.sums[0]
            whole.add([(sum_, name, 0, silent + came), (sum_, name, 1, silent), (sum_, name, 2, came)])
            whole.add([(sum_, name, 4, percent * (silent + came))])
        wrong += int(row(whole.values | {("calibration", (11, "z", "00")): [1, 1, 0, 0, 4]})["verdict"] != "calibrated")
    assert wrong == 0


def test_people_read_lines() -> None:
    assert REPORT.tell is not None
    assert REPORT.tell(REPORT.make({}, Span()), "USD") == [
        "no score was told in these days: no churn model is adopted, or nobody has fallen silent since"
    ]
    lines = REPORT.tell(REPORT.make(cells({20: (150, 850), 80: (700, 300)}, lost=2), Span()), "USD")
    assert lines[0] == "model m"
    assert lines[2:5] == [
        "  scores    2,000 resolved, of 1 day; 0 wait, 4 lost with their user",
        "  silent    .500 foretold, .425 seen",
        "  error     ECE .075, of which chance alone would make .010; AUC .781",
    ]
    assert says(None, "zh").startswith("为时尚早")
