"""MBG/NBD against its formulas and published figures."""

from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.risk import FAR, MbgNbd
from pipeline.units import DAY

WEEK = 7 * DAY
CDNOW = MbgNbd()


def weeks(span: float) -> int:
    return round(span * WEEK)


def test_bg_nbd_on_cdnow_as_published() -> None:
    # For x > 0 BG/NBD is MBG/NBD with b one less: P(alive | x=2, t_x=30.43, T=38.86) of Fader, Hardie & Lee 2005.
    bg = MbgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426 - 1)
    assert bg.p_alive(2, weeks(30.43), weeks(38.86)) == pytest.approx(0.7266, abs=5e-5)


def test_a_one_time_customer_may_be_gone_from_the_start() -> None:
    at_once = CDNOW.p_alive(0, 0, 0)  # BG/NBD says 1, for ever
    assert at_once == pytest.approx(1.614 / (0.891 + 1.614))
    assert 0.35 < CDNOW.p_alive(0, 0, weeks(39)) < at_once


def test_regulars_are_missed_earlier() -> None:
    silences = [CDNOW.crossing(x, weeks(26), 0.5) - weeks(26) for x in (2, 5, 20, 100)]
    assert silences == sorted(silences, reverse=True)
    assert silences[-1] > 0


@given(st.integers(0, 150), st.floats(0, 200), st.floats(0, 200), st.floats(0, 200))
def test_the_formulas_as_they_are_written(x: int, t_x: float, quiet: float, horizon: float) -> None:
    r, alpha, a, b = 0.525, 6.183, 0.891, 1.614
    age = t_x + quiet
    alive = 1 / (1 + a / (b + x) * ((alpha + age) / (alpha + t_x)) ** (r + x))
    none = 1 - alive * (1 - ((alpha + age) / (alpha + age + horizon)) ** (r + x))
    arguments = x, weeks(t_x), weeks(age)
    assert isclose(CDNOW.p_alive(*arguments), alive, rel_tol=1e-5, abs_tol=1e-12)
    assert isclose(CDNOW.p_none(*arguments, weeks(horizon)), none, rel_tol=1e-5)


@given(st.integers(0, 150), st.floats(0, 200), st.floats(0.05, 0.95))
def test_the_closed_form_of_the_crossing(x: int, t_x: float, threshold: float) -> None:
    r, alpha, a, b = 0.525, 6.183, 0.891, 1.614
    age = (alpha + t_x) * ((b + x) / a * (1 - threshold) / threshold) ** (1 / (r + x)) - alpha
    expected = min(max(weeks(t_x), weeks(age)), FAR)
    assert CDNOW.crossing(x, weeks(t_x), threshold) == pytest.approx(expected, abs=5, rel=1e-9)


def test_a_threshold_that_is_crossed_already_is_due_at_the_last_activity() -> None:
    assert CDNOW.p_alive(0, 0, 0) < 0.9
    assert CDNOW.crossing(0, 0, 0.9) == 0
    assert CDNOW.crossing(1, WEEK, 0.99) == WEEK


def test_a_threshold_that_is_never_crossed_is_far() -> None:
    assert CDNOW.crossing(0, 0, 1e-6) == FAR
    assert MbgNbd(r=1e-9).crossing(0, 0, 0.1) == FAR


def test_the_unit_is_only_a_unit() -> None:
    in_days = MbgNbd(alpha=6.183 * 7, unit=DAY)
    assert in_days.p_alive(3, weeks(20), weeks(30)) == pytest.approx(CDNOW.p_alive(3, weeks(20), weeks(30)), rel=1e-12)
    assert in_days.crossing(3, weeks(20), 0.3) == pytest.approx(CDNOW.crossing(3, weeks(20), 0.3), abs=2)


def test_an_age_before_the_last_activity_counts_as_no_silence() -> None:
    assert CDNOW.p_alive(3, weeks(20), weeks(19)) == CDNOW.p_alive(3, weeks(20), weeks(20))
    assert CDNOW.p_none(3, weeks(20), weeks(19), WEEK) == CDNOW.p_none(3, weeks(20), weeks(20), WEEK)
