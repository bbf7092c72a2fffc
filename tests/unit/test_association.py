"""The statistics against scipy and published examples, and their promises against simulations."""

import random
from math import exp, log

import pytest
from scipy.stats import false_discovery_control, hypergeom

from pipeline.association import benjamini_hochberg, compare, fisher, lift_of_part


def test_fisher_is_twice_the_smaller_tail_of_the_hypergeometric_distribution() -> None:
    draw = random.Random(1)
    for _ in range(100):
        n, m = draw.randint(1, 200), draw.randint(1, 200)
        a, b = draw.randint(0, n), draw.randint(0, m)
        split = hypergeom(n + m, a + b, n)
        assert fisher(a, n, b, m) == pytest.approx(min(1, 2 * min(split.cdf(a), split.sf(a - 1))), abs=1e-9)


def test_fishers_lady_tasting_tea() -> None:
    assert fisher(3, 4, 1, 4) == pytest.approx(2 * 17 / 70)  # one-sided .243, Fisher 1935
    assert fisher(4, 4, 0, 4) == pytest.approx(2 / 70)


def test_large_counts_and_nothing_at_all_are_no_trouble() -> None:
    assert fisher(60_000, 100_000, 40_000, 100_000) == 0
    assert fisher(50_000, 100_000, 50_000, 100_000) == 1
    assert fisher(0, 5, 0, 5) == 1


def test_benjamini_hochberg_as_published_and_as_scipy_does_it() -> None:
    """The 15 p values of Benjamini & Hochberg 1995, section 3.2: four are rejected at .05 (Bonferroni's: three)."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1,
    ]
    shuffled = random.Random(2).sample(p, len(p))
    adjusted = benjamini_hochberg(shuffled)
    assert [value for value, q in sorted(zip(shuffled, adjusted, strict=True)) if q <= 0.05] == p[:4]
    assert adjusted == pytest.approx(list(false_discovery_control(shuffled)))
    assert benjamini_hochberg([]) == []


def test_a_ratio_with_its_interval() -> None:
    found = compare(104, 11_037, 189, 11_034)  # heart attacks with aspirin and with placebo, Physicians' Health Study
    assert (found.lift, found.low, found.high) == pytest.approx((1 / 1.8178, 1 / 2.3059, 1 / 1.4330), rel=1e-3)
    assert found.p < 1e-5
    nobody = compare(0, 50, 10, 50)
    assert nobody.share == 0
    assert 0 < nobody.low < nobody.lift < nobody.high < 1


def test_windows_that_are_not_independent_tell_less() -> None:
    alone, together = compare(60, 100, 30, 100), compare(60, 100, 30, 100, 4)
    assert together.lift == alone.lift == 2
    assert log(together.high / together.low) == pytest.approx(2 * log(alone.high / alone.low))
    assert alone.p < 0.001
    assert together.p > 0.01
    assert compare(60, 100, 30, 100, 0.5) == alone


def test_the_interval_of_a_parts_lift_covers_the_truth() -> None:
    """Two kinds of users, a fifth worth twice as much as the others: the lift is 2 / 1.2. 400 samples of 500."""
    draw, truth, covered = random.Random(3), 2 / 1.2, 0
    for _ in range(400):
        part, whole = [0, 0, 0], [0, 0, 0]
        for _ in range(500):
            inside = draw.random() < 0.2
            spent = round(1000 * (1 + inside) * exp(draw.gauss(0, 0.8))) if draw.random() < 0.7 else 0
            for sums in (whole, part) if inside else (whole,):
                sums[0] += 1
                sums[1] += spent
                sums[2] += spent * spent
        lift = lift_of_part((part[0], part[1], part[2]), (whole[0], whole[1], whole[2]))
        assert lift.low is not None
        assert lift.high is not None
        covered += lift.low <= truth <= lift.high
    assert 0.92 <= covered / 400 <= 0.98


def test_a_part_without_value_and_one_that_is_everybody() -> None:
    assert lift_of_part((3, 0, 0), (9, 90, 900)) == (0, None, None)
    assert lift_of_part((9, 90, 900), (9, 90, 900)) == (1, 1, 1)
