"""BG/NBD and MBG/NBD on CDNOW, as published: Fader, Hardie & Lee 2005, and the tests of the package lifetimes."""

import csv
import gzip
from functools import cache
from typing import Any

import numpy as np
import pytest

from pipeline.risk import MbgNbd
from pipeline.risk.bgnbd import BgNbd
from pipeline.risk.learn import log_likelihood, most_likely
from pipeline.units import DAY
from tests.property.histories import DATA

WEEK = 7 * DAY
PUBLISHED = BgNbd(0.2426, 4.414, 0.793, 2.426)
MBG = MbgNbd(0.525, 6.183, 0.891, 1.614, WEEK)
_SUMMARY = DATA / "cdnow_sample" / "cbs.csv.gz"

needs_cdnow = pytest.mark.skipif(not _SUMMARY.exists(), reason=f"no {_SUMMARY}; set REKINDLE_DATA")


@cache
def customers() -> tuple[Any, Any, Any]:
    """x, t_x, T of 2,357 customers over 39 weeks."""
    with gzip.open(_SUMMARY, "rt") as lines:
        rows = [(float(row["frequency"]), float(row["recency"]), float(row["T"])) for row in csv.DictReader(lines)]
    x, t_x, ages = np.array(rows).T
    return x, t_x, ages


@needs_cdnow
def test_bg_nbd_parameters_and_likelihood() -> None:
    found = BgNbd.fit(*customers())
    assert tuple(found) == pytest.approx(tuple(PUBLISHED), abs=1e-3)
    assert found.log_likelihood(*customers()).sum() == pytest.approx(-9582.4, abs=0.05)


@needs_cdnow
def test_mbg_nbd_parameters() -> None:
    found = most_likely(log_likelihood, *customers())
    assert found == pytest.approx((MBG.r, MBG.alpha, MBG.a, MBG.b), abs=1e-3)
    # Better by a hair than the BG/NBD, which differs in the one-timers only.
    assert log_likelihood(np.array(found), *customers()).sum() == pytest.approx(-9582.1, abs=0.05)


def test_expected_purchases_of_one_customer() -> None:
    assert PUBLISHED.expected_given(39, 2, 30.43, 38.86) == pytest.approx(1.226, abs=1e-3)
    assert PUBLISHED.p_alive(2, 30.43, 38.86) == pytest.approx(0.7266, abs=5e-5)


def test_expected_purchases_of_a_new_customer() -> None:
    weeks = np.array((0.1429, 1, 3, 31.857, 78))
    # Published from parameters with more digits.
    assert PUBLISHED.expected(weeks) == pytest.approx((0.0078, 0.0532, 0.1506, 1.0405, 1.8576), abs=5e-5, rel=2e-4)


@needs_cdnow
def test_expected_purchases_of_the_next_39_weeks_by_those_of_the_first() -> None:
    x, t_x, ages = customers()
    expected = PUBLISHED.expected_given(39, x, t_x, ages)
    by_count = [expected[np.minimum(x, 7) == count].mean() for count in range(8)]
    assert by_count == pytest.approx((0.225, 0.524, 1.043, 1.520, 2.164, 2.654, 3.504, 6.157), abs=2e-3)


def test_a_one_timer_never_leaves_in_bg_nbd_and_may_in_mbg_nbd() -> None:
    assert PUBLISHED.p_alive(0, 0, 10_000) == 1
    soon, later = (MBG.p_alive(0, 0, weeks * WEEK) for weeks in (0, 39))
    assert soon == pytest.approx(1.614 / (1.614 + 0.891))
    assert later == pytest.approx(1 / (1 + 0.891 / 1.614 * ((6.183 + 39) / 6.183) ** 0.525))
    assert later < soon < 1
