"""The recall test: published figures, and the promise of at most 5 % false alarms however often one looks."""

import csv
import gzip
import os
from collections import Counter
from math import comb, inf, log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln

from pipeline.experiment import (
    ALPHA,
    SMALLEST,
    VERDICTS,
    Arm,
    Stratum,
    anytime_p,
    converters_needed,
    holdout_ratio,
    incremental_users,
    incremental_value,
    judge,
    ratio_bounds,
    uplift,
)
from pipeline.experiment.arms import wilson
from pipeline.experiment.evidence import log_evidence

DATA = Path(os.environ.get("REKINDLE_DATA", Path(__file__).parents[3] / "shared" / "data"))
CAMPAIGNS = 1_000
LOOKS = 5_000


def stratum(share: float, n1: int, k1: int, n0: int, k0: int, *, v1: int = 0, v0: int = 0) -> Stratum:
    return Stratum(share, Arm(n1, k1, v1), Arm(n0, k0, v0))


def rows(name: str) -> list[dict[str, str]]:
    path = DATA / name / "data.csv.gz"
    if not path.exists():
        pytest.skip(f"no {path}; set REKINDLE_DATA")
    with gzip.open(path, "rt") as lines:
        return list(csv.DictReader(lines))


# ---- intervals


def test_intervals_as_newcombe_published_them() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table II, examples (a) and (h), method 10
    assert uplift([stratum(0.5, 70, 56, 80, 48)]) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert uplift([stratum(0.5, 10, 10, 10, 0)]) == pytest.approx((1.0, 0.6075, 1.0), abs=5e-5)


def test_wilson_as_published() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I: 81/263, 15/148, 0/20, 1/29
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (part, whole), bounds in published.items():
        assert wilson(part, whole)[1:] == pytest.approx(bounds, abs=5e-5)


counts = st.tuples(st.integers(1, 500), st.floats(0, 1)).map(lambda pair: (pair[0], round(pair[0] * pair[1])))


@given(counts, counts, st.floats(0.05, 0.95), st.integers(0, 10_000))
def test_figures_hold_together(one: tuple[int, int], other: tuple[int, int], share: float, worth: int) -> None:
    s = stratum(share, *one, *other, v1=one[1] * worth, v0=other[1] * worth)
    gained, users, value = uplift([s]), incremental_users([s]), incremental_value([s])
    assert gained is not None
    assert users is not None
    assert value is not None
    for found in (gained, users, value):
        assert found.low <= found.at <= found.high
    assert -1 <= gained.low <= gained.high <= 1
    assert users.at == pytest.approx(gained.at * one[0])
    assert value.at == pytest.approx(users.at * worth, abs=1e-6)
    assert judge([s]).verdict in VERDICTS
    mirrored = uplift([stratum(share, *other, *one)])
    assert mirrored is not None
    assert mirrored == pytest.approx((-gained.at, -gained.high, -gained.low))


def test_strata_are_compared_each_with_itself() -> None:
    # In neither does the recall add anything; pooled it seems to, as the share fell while more came back (Simpson).
    strata = [stratum(0.5, 1000, 100, 1000, 100), stratum(0.1, 9000, 2700, 1000, 300)]
    apart = uplift(strata)
    assert apart is not None
    assert apart.at == pytest.approx(0, abs=1e-12)
    assert apart.low < -0.02 < 0.02 < apart.high
    assert anytime_p(strata) == 1
    pooled = uplift([stratum(0.2, 10_000, 2800, 2000, 400)])
    assert pooled is not None
    assert pooled.low > 0.05


def test_the_value_interval_holds_what_it_should() -> None:
    rng = np.random.default_rng(3)
    n1, n0, p1, p0, mean = 4000, 1000, 0.12, 0.1, 2000
    k1, k0 = rng.binomial(n1, p1, 600), rng.binomial(n0, p0, 600)
    true = n1 * mean * (p1 - p0)
    held = 0
    for a, b in zip(k1.tolist(), k0.tolist(), strict=True):
        spent = [round(float(rng.gamma(k, mean))) for k in (a, b)]  # a sum of k exponential amounts
        found = incremental_value([stratum(0.2, n1, a, n0, b, v1=spent[0], v0=spent[1])])
        assert found is not None
        held += found.low <= true <= found.high
    assert 0.93 <= held / 600 <= 0.975


def test_nobody_to_compare_with() -> None:
    alone = [stratum(0.1, 40, 10, 0, 0)]
    assert (uplift(alone), incremental_users(alone), incremental_value(alone)) == (None, None, None)
    assert uplift([]) is None


# ---- the anytime-valid test


def test_evidence_is_the_beta_mixture_over_bernoulli() -> None:
    for k, n, pi in ((0, 0, 0.9), (3, 3, 0.9), (40, 60, 0.5), (870, 1000, 0.8)):
        expected = betaln(100 * pi + k, 100 * (1 - pi) + n - k) - betaln(100 * pi, 100 * (1 - pi))
        assert log_evidence(k, n, pi) == pytest.approx(expected - k * log(pi) - (n - k) * log(1 - pi), abs=1e-9)


def test_evidence_is_a_martingale_when_nothing_works() -> None:
    for n in (1, 7, 30):
        expected = sum(comb(n, k) * 0.8**k * 0.2 ** (n - k) * np.exp(log_evidence(k, n, 0.8)) for k in range(n + 1))
        assert expected == pytest.approx(1)


def quiet(share: float, most: int) -> tuple[Any, Any]:
    """The fewest and the most treated among n = 1..most converters that are no alarm, by the code itself."""
    low, high = np.zeros(most, int), np.zeros(most, int)
    fewest = top = 0

    def alarm(k: int, n: int) -> bool:
        return anytime_p([Stratum(share, Arm(n, k), Arm(n, n - k))]) <= ALPHA

    for n in range(1, most + 1):
        while alarm(fewest, n) and fewest < n * (1 - share):
            fewest += 1
        while top < n and not alarm(top + 1, n):
            top += 1
        low[n - 1], high[n - 1] = fewest, top
    return low, high


@pytest.mark.parametrize(("share", "seed"), [(0.1, 1), (0.2, 2), (0.5, 3)])
def test_false_alarms_stay_below_5_percent_when_looked_at_after_every_conversion(share: float, seed: int) -> None:
    looks = np.arange(1, LOOKS + 1)
    treated = (np.random.default_rng(seed).random((CAMPAIGNS, LOOKS)) < 1 - share).cumsum(axis=1)
    low, high = quiet(share, LOOKS)
    alarms = ((treated < low) | (treated > high)).any(axis=1).mean()
    far = np.abs(treated - looks * (1 - share)) > 1.96 * np.sqrt(looks * share * (1 - share))
    naive = far.any(axis=1).mean()
    print(f"holdout {share}: {alarms:.1%} false alarms in {CAMPAIGNS} campaigns; a z-test at every look: {naive:.1%}")
    assert alarms <= 0.05
    assert naive > 0.4


@pytest.mark.parametrize("lift", [0.1, 0.2, 0.5])
def test_power_against_a_test_of_fixed_size(lift: float) -> None:
    share, z = 0.5, 1.96 + 0.8416
    chance = (1 + lift) / (2 + lift)
    fixed = round(z * z * chance * (1 - chance) / (chance - 0.5) ** 2)  # converters for 80 % with one look at the end
    most = converters_needed(share, lift)
    treated = (np.random.default_rng(5).random((CAMPAIGNS, most)) < chance).cumsum(axis=1)
    found = treated > quiet(share, most)[1]
    by_fixed, by_needed = found[:, :fixed].any(axis=1).mean(), found.any(axis=1).mean()
    stopped = np.where(found.any(axis=1), found.argmax(axis=1) + 1, most).mean() / fixed
    print(
        f"lift {lift:.0%}: {by_fixed:.0%} power at the {fixed} converters of a fixed test with 80 %, "
        f"{by_needed:.0%} at {most} ({most / fixed:.2f} x); it ends after {stopped:.2f} x on average"
    )
    assert 0.8 <= by_needed <= 0.92
    assert 0.35 <= by_fixed <= 0.65
    assert stopped < 1.3


def test_a_changed_share_or_salt_begins_a_new_stratum_and_the_evidence_is_multiplied() -> None:
    one, other = stratum(0.5, 900, 130, 900, 90), stratum(0.1, 900, 170, 100, 11)
    assert anytime_p([one]) > ALPHA
    assert anytime_p([one, other]) == pytest.approx(anytime_p([one]) * np.exp(-log_evidence(170, 181, 0.9)))


def test_the_ratio_interval_says_the_same_as_the_test() -> None:
    for k1, k0 in ((130, 90), (140, 80), (180, 80), (80, 180), (0, 0), (40, 0), (0, 40)):
        found = [stratum(0.5, 900, k1, 900, k0)]
        low, high = ratio_bounds(found)
        assert low <= (k1 / k0 if k0 else inf)
        assert high is None or high >= k1 / max(k0, 1e-9)
        assert (anytime_p(found) <= ALPHA) == (low > 1 or (high is not None and high < 1))
        if k0:
            mirrored = ratio_bounds([stratum(0.5, 900, k0, 900, k1)])
            assert mirrored[1] is not None or low == 0
            assert mirrored[1] is None or mirrored[1] == pytest.approx(1 / low, rel=1e-6)
    assert ratio_bounds([]) == (0, None)
    assert ratio_bounds([stratum(0.5, 900, 40, 900, 0)])[1] is None
    assert ratio_bounds([stratum(0.5, 900, 0, 900, 40)])[0] == 0


# ---- the arms' sizes


def test_the_sample_ratio_is_exact_when_small_and_agrees_when_large() -> None:
    exact = 2 * sum(comb(20, k) * 0.1**k * 0.9 ** (20 - k) for k in range(6, 21))
    assert holdout_ratio([stratum(0.1, 14, 0, 6, 0)]) == pytest.approx(exact)
    assert holdout_ratio([stratum(0.1, 0, 0, 0, 0)]) == 1
    assert holdout_ratio([stratum(0.5, 5000, 0, 5000, 0)]) == 1
    small, large = (holdout_ratio([stratum(0.1, n - h, 0, h, 0)]) for n, h in ((10_000, 1060), (10_001, 1060)))
    assert small == pytest.approx(large, rel=0.1)
    one = stratum(0.1, 940, 0, 60, 0)
    assert holdout_ratio([one, stratum(0.2, 80, 0, 20, 0)]) == pytest.approx(2 * holdout_ratio([one]))


def test_a_sample_ratio_mismatch_voids_the_verdict() -> None:
    works = stratum(0.1, 9000, 1800, 1000, 100)
    assert judge([works]).verdict == "works"
    lost = works._replace(holdout=Arm(880, 88))
    found = judge([lost])
    assert found.verdict == "mismatch"
    assert found.mismatch < 0.001
    assert judge([works, stratum(0.5, 100, 10, 20, 2)]).verdict == "mismatch", "one stratum is enough"


def test_sound_arms_rarely_alarm_even_if_looked_at_daily() -> None:
    daily = np.random.default_rng(4).binomial(50, 0.1, (CAMPAIGNS, 120)).cumsum(axis=1)
    drawn = 50 * np.arange(1, 121)
    alarms = 0
    for held in daily[:100, ::10].tolist():
        alarms += any(
            holdout_ratio([stratum(0.1, n - h, 0, h, 0)]) < 0.001
            for h, n in zip(held, drawn[::10].tolist(), strict=True)
        )
    assert alarms / 100 <= 0.02


# ---- verdicts


@pytest.mark.parametrize(
    ("verdict", "strata"),
    [
        ("no_holdout", []),
        ("no_holdout", [Stratum(0.0, Arm(500, 50), Arm())]),
        ("too_early", [stratum(0.1, 0, 0, 1, 0)]),
        ("too_early", [stratum(0.1, 900, 100, 100, 10)]),
        ("too_early", [stratum(0.1, 900, 0, 100, 0)]),
        ("works", [stratum(0.1, 9000, 1800, 1000, 100)]),
        ("harms", [stratum(0.5, 5000, 400, 5000, 600)]),
        ("no_effect", [stratum(0.5, 20_000, 2000, 20_000, 2010)]),
        ("mismatch", [stratum(0.5, 5000, 400, 5500, 600)]),
        ("works", [Stratum(0.0, Arm(500, 50), Arm()), stratum(0.1, 9000, 1800, 1000, 100)]),
    ],
)
def test_verdicts(verdict: str, strata: list[Stratum]) -> None:
    found = judge(strata)
    assert found.verdict == verdict
    assert judge(strata[::-1]) == found
    assert judge([*strata, Stratum(0.3, Arm(), Arm())]) == found


def test_too_early_says_how_many_more() -> None:
    early = judge([stratum(0.1, 900, 90, 100, 10)])
    wanted = converters_needed(0.1, SMALLEST)
    assert early.needed == wanted * 10 - 1000
    assert judge([stratum(0.1, 9 * wanted, wanted * 9 // 10, wanted, wanted // 10)]).needed == pytest.approx(0, abs=11)
    assert judge([stratum(0.1, 900, 0, 100, 0)]).needed is None
    assert converters_needed(0.1, 0.1) > 3 * wanted > 3 * converters_needed(0.1, 0.5)


# ---- published experiments


def test_hillstrom_reproduces_its_figures() -> None:
    arms: dict[str, Arm] = {}
    squares: Counter[str] = Counter()
    for row in rows("hillstrom"):
        arm, spend = arms.get(row["segment"], Arm(payers=0)), round(100 * float(row["spend"]))
        arms[row["segment"]] = Arm(
            arm.users + 1, arm.recalled + int(row["visit"]), arm.value + spend, arm.paying + (spend > 0)
        )
        squares[row["segment"]] += spend * spend
    rates = {segment: round(100 * arm.recalled / arm.users, 2) for segment, arm in arms.items()}
    assert rates == {"No E-Mail": 10.62, "Mens E-Mail": 18.28, "Womens E-Mail": 15.14}

    def variance(segment: str) -> float:  # of the mean spend, with the squares that sums do not have
        users = arms[segment].users
        return (squares[segment] / users - (arms[segment].value / users) ** 2) / users

    held = arms["No E-Mail"]
    for segment, gain, dollars in (("Mens E-Mail", 0.0766, 16_402), ("Womens E-Mail", 0.0452, 9_077)):
        found = judge([Stratum(0.5, arms[segment], held)])
        assert found.verdict == "works"
        assert found.uplift is not None
        assert found.value is not None
        assert found.uplift.at == pytest.approx(gain, abs=1e-4)
        assert found.mismatch > 0.5
        assert found.value.at == pytest.approx(100 * dollars, abs=200)
        reach = 1.96 * sqrt(variance(segment) + variance("No E-Mail")) * arms[segment].users
        assert found.value.high - found.value.low == pytest.approx(2 * reach, rel=0.12)
        print(segment, found, reach)


def test_cookie_cats_reproduces_its_figures() -> None:
    arms = {}
    for version in ("gate_30", "gate_40"):
        kept = [row["retention_7"] == "True" for row in rows("cookie_cats") if row["version"] == version]
        arms[version] = Arm(len(kept), sum(kept))
    old, new = arms["gate_30"], arms["gate_40"]
    assert [round(100 * arm.recalled / arm.users, 2) for arm in (old, new)] == [19.02, 18.2]
    pooled = (old.recalled + new.recalled) / (old.users + new.users)
    found = judge([Stratum(0.5, new, old)])
    assert found.uplift is not None
    z = found.uplift.at / sqrt(pooled * (1 - pooled) * (1 / old.users + 1 / new.users))
    assert z == pytest.approx(-3.16, abs=5e-3)
    assert found.uplift.high < 0
    assert found.mismatch == pytest.approx(0.0086, abs=1e-3)
    print(found)
