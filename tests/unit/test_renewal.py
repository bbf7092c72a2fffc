"""A calibration renewed by what became of the scores: from the sum alone, and exactly over what a model foretells."""

import random
from math import log

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from pipeline.renewal import Line, foretold, known_days, line, renew, renewed
from pipeline.reports.calibration import LEAST, Bands, fit
from pipeline.risk import Calibration, Fitted, Recency, TooLittle, from_json
from pipeline.risk.document import Judgement, Measure, Renewal, Span, read
from pipeline.risk.learn import platt
from pipeline.sums.base import Dims
from pipeline.sums.calibration import band_of
from pipeline.units import DAY

PERFECT = Measure(0.5, 0.4, 0.6)
FIT = Fitted(
    Recency(30 * DAY, 0.2, 1.0, 1.5, Calibration((-1.0, 0.0, 2.0), (-2.0, 0.0, 1.0))),
    "ab" * 32,
    Span(0, DAY, 2, 100, 50, 0.5),
    Span(2 * DAY, 3 * DAY, 2, 100, 50, 0.5),
    Judgement(PERFECT, PERFECT, PERFECT, PERFECT, ((0.5, 0.5, 100),), (1.0,)),
)
ABOUT = Renewal("cd" * 32, 10, 19, 2_000, 0.1, 0.02)


def day(scores: int, truth: Line, rng: random.Random) -> Bands:
    """Scores all over the scale, and what follows if the truth is this line over what was foretold."""
    bands: Bands = {}
    for _ in range(scores):
        percent = rng.randint(5, 95)
        silent = rng.random() < truth.probability(percent / 100)
        row = bands.setdefault(band_of(percent), [0, 0, 0, 0, 0])
        for field, value in ((0, 1), (1 if silent else 2, 1), (4, percent)):
            row[field] += value
    return bands


def days(truth: Line, later: Line | None = None, scores: int = 400, count: int = 10) -> list[tuple[int, Bands]]:
    rng = random.Random(7)
    return [(10 + n, day(scores, truth if later is None or 2 * n < count else later, rng)) for n in range(count)]


def test_what_foretells_too_much_is_put_right_out_of_time() -> None:
    truth = Line(-0.9, 0.7)
    found = renew(days(truth))
    assert found.whole.verdict == "foretells_too_much"
    assert (found.line.base, found.line.slope) == pytest.approx(truth, abs=0.12)
    assert found.before.ece > 0.1
    assert found.after.ece < 2 * found.after.by_chance
    assert found.after.auc == found.before.auc  # the order stays
    assert found.needed
    assert found.helps
    assert found.before.scores == found.after.scores == 2_000


def test_what_was_true_and_is_no_longer_shows_as_no_better() -> None:
    """The half that judges is later than the half that teaches."""
    found = renew(days(Line(0.6, 1.0), Line(-1.2, 1.0)))
    assert found.after.ece > found.before.ece
    assert not found.helps


def test_a_model_that_is_calibrated_needs_none() -> None:
    found = renew(days(Line(0.0, 1.0)))
    assert found.whole.verdict == "calibrated"
    assert not found.needed


def test_the_line_is_that_of_single_scores() -> None:
    """Platt's scaling over the percents themselves, by the fit's own optimiser."""
    rng = random.Random(3)
    percents = [rng.choice((12, 37, 52, 88)) for _ in range(3_000)]  # one to a band: nothing is lost by the bands
    silent = [int(rng.random() < Line(0.5, 0.8).probability(p / 100)) for p in percents]
    bands: Bands = {}
    for percent, was in zip(percents, silent, strict=True):
        row = bands.setdefault(band_of(percent), [0, 0, 0, 0, 0])
        for field, value in ((0, 1), (1 if was else 2, 1), (4, percent)):
            row[field] += value
    logits = np.array([log(p / (100 - p)) for p in percents])
    wanted = platt(logits, np.array(silent), len(percents))
    assert wanted.scores == (0.0, 1.0)
    found = line(bands)
    assert (found.base, found.base + found.slope) == pytest.approx(wanted.logits, abs=1e-4)


@given(
    st.floats(-2, 2),
    st.floats(0.1, 3),
    st.floats(-4, 4),
    st.lists(st.floats(-3, 3), min_size=2, max_size=5, unique=True),
)
def test_the_line_lies_over_the_calibration_exactly(
    base: float, slope: float, score: float, knots: list[float]
) -> None:
    before = Calibration(tuple(float(n) for n in range(len(knots))), tuple(sorted(knots)))
    over = Line(base, slope)
    after = over.over(before)
    if abs(before.logit(score)) < 12 and abs(after.logit(score)) < 12:  # beyond that nothing is told apart
        assert after.logit(score) == pytest.approx(base + slope * before.logit(score), abs=1e-6)
        assert after.probability(score) == pytest.approx(over.probability(before.probability(score)), abs=1e-6)


def test_a_fitted_model_says_where_its_calibration_is_from_and_others_stay_as_they_were() -> None:
    over = Line(-0.5, 0.9)
    document = renewed(FIT, over, ABOUT)
    assert isinstance(document, Fitted)
    again = read(document.to_json())
    assert again == structs.replace(FIT, model=document.model, renewed=ABOUT)
    assert from_json(document.to_json()).calibration == over.over(FIT.model.calibration)
    assert "renewed" not in msgspec.json.decode(FIT.to_json())  # a fit has the bytes, and so the name, that it had
    alone = renewed(FIT.model, over, ABOUT)
    assert alone == FIT.model.calibrated(over.over(FIT.model.calibration))


def test_only_days_of_this_model_that_are_over_count() -> None:
    def cells(*rows: tuple[int, str, list[int]]) -> dict[tuple[str, Dims], list[int]]:
        return {("calibration", (day, model, "80")): values for day, model, values in rows}

    whole, waits = [10, 8, 2, 0, 830], [10, 8, 0, 0, 664]
    found = known_days(
        cells((1, "mine", whole), (2, "other", whole), (3, "mine", waits), (4, "mine", whole), (5, "mine", whole)),
        "mine",
    )
    assert [day for day, _ in found] == [1, 4]
    assert known_days(cells((1, "mine", whole), (2, "mine", whole)), "none") == []


def test_what_is_too_little_is_said() -> None:
    truth = Line(-0.9, 0.7)
    for known, line_ in (
        ([], "0 scores of days that are over are known, at least 1,000"),
        (days(truth, scores=99), "990 scores"),
        (days(truth, scores=LEAST, count=1), "nearly all scores are of one day"),
        ([(10, {"80": [600, 600, 0, 0, 49_800]}), (11, {"80": [600, 300, 300, 0, 49_800]})], "all 600 are alike"),
        (days(Line(0.0, 0.0)), "does not follow what the model foretold"),
    ):
        with pytest.raises(TooLittle, match=line_):
            renew(known)


def test_what_is_foretold_anew_is_of_the_same_scores() -> None:
    bands = {"00": [5, 1, 4, 0, 0], "95": [3, 3, 0, 0, 300], "50": [2, 0, 0, 1, 0]}  # certain ones, and one unresolved
    found = foretold(bands, Line(0.0, 1.0))
    assert {band: row[:4] for band, row in found.items()} == {band: row[:4] for band, row in bands.items()}
    told, before = fit(found), fit(bands)
    assert told is not None
    assert before is not None
    assert told.foretold == pytest.approx(before.foretold, abs=0.003)
