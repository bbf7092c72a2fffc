"""The value of a user: published figures of Gamma-Gamma and BG/NBD, and what holds for any numbers."""

import csv
import gzip
import os
from math import exp, log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import hyp2f1

from pipeline.risk.mbgnbd import MbgNbd
from pipeline.units import DAY
from pipeline.value import GammaGamma, ValueModel, at_stake, expected_days
from pipeline.value.gamma_gamma import fit

DATA = Path(os.environ.get("REKINDLE_DATA", Path(__file__).parents[3] / "shared" / "data"))
WEEK = 7 * DAY
CDNOW = GammaGamma(6.25, 3.74, 15.44)
# For x > 0 BG/NBD is MBG/NBD with b one less (Fader, Hardie & Lee 2005).
BG = MbgNbd(r=0.243, alpha=4.414, a=0.793, b=1.426)


def weeks(span: float) -> int:
    return round(span * WEEK)


def repeaters() -> tuple[list[float], list[float]]:
    path = DATA / "cdnow_sample" / "cbs_money.csv.gz"
    if not path.exists():
        pytest.skip(f"no {path}; set REKINDLE_DATA")
    with gzip.open(path, "rt") as lines:
        found = [(float(row["x"]), float(row["zbar"])) for row in csv.DictReader(lines) if float(row["x"]) > 0]
    return [x for x, _ in found], [m for _, m in found]


# ---- Gamma-Gamma


def test_gamma_gamma_on_cdnow_as_published() -> None:
    orders, means = repeaters()
    assert len(orders) == 946
    model, likelihood = fit(orders, means)
    print(model, likelihood)
    assert (model.p, model.q, model.gamma) == pytest.approx((6.25, 3.74, 15.44), abs=0.01)
    assert likelihood == pytest.approx(-4055.92, abs=0.005)
    assert fit(orders, means) == (model, likelihood)


def test_the_fit_is_the_same_in_any_currency() -> None:
    orders, means = repeaters()
    dollars, yen = fit(orders, means)[0], fit(orders, [150 * m for m in means])[0]
    assert (yen.p, yen.q, yen.gamma) == pytest.approx((dollars.p, dollars.q, 150 * dollars.gamma), rel=1e-4)


def test_the_density_integrates_to_one_and_has_the_mean() -> None:
    def density(m: float) -> float:
        return exp(CDNOW.log_likelihood([1], [m]))

    assert quad(density, 0, 5000, limit=400, points=[20, 200])[0] == pytest.approx(1, abs=1e-6)
    assert quad(lambda m: m * density(m), 0, 1e5, limit=800, points=[20, 200, 2000])[0] == pytest.approx(
        CDNOW.mean(0, 0), rel=1e-3
    )


@given(st.integers(1, 500), st.floats(0.01, 10_000))
def test_an_expectation_lies_between_the_users_mean_and_that_of_all(orders: int, mean: float) -> None:
    everybody, expected = CDNOW.mean(0, 0), CDNOW.mean(orders, mean)
    assert min(mean, everybody) - 1e-9 <= expected <= max(mean, everybody) + 1e-9
    assert abs(CDNOW.mean(2 * orders, mean) - mean) <= abs(expected - mean) + 1e-9


def test_the_conditional_expectation_as_it_is_written() -> None:
    # Fader & Hardie 2013, equation 5: a weighted mean of all users' and the user's own.
    weight = 6.25 * 2 / (6.25 * 2 + 3.74 - 1)
    assert CDNOW.mean(2, 22.35) == pytest.approx((1 - weight) * 6.25 * 15.44 / 2.74 + weight * 22.35)
    assert CDNOW.mean(0, 0) == pytest.approx(35.22, abs=0.01)


def test_what_cannot_be_fitted_is_said() -> None:
    for orders, means in (([1.0], [2.0]), ([1.0] * 20, [0.0] * 20), ([0.0] * 20, [1.0] * 20), ([1.0] * 20, [1.0] * 19)):
        with pytest.raises(ValueError, match="orders"):
            fit(orders, means)
    for wrong in ((0, 1, 1), (1, float("nan"), 1), (1, 1, float("inf"))):
        with pytest.raises(ValueError, match="above 0"):
            GammaGamma(*wrong)
    with pytest.raises(ValueError, match="no mean"):
        GammaGamma(6, 0.9, 15).mean(0, 0)


# ---- expected active days


def test_the_expectation_of_bg_nbd_as_published() -> None:
    assert expected_days(BG, 2, weeks(30.43), weeks(38.86), weeks(39)) == pytest.approx(1.226, abs=5e-4)


MODELS = st.builds(
    MbgNbd, r=st.floats(0.05, 5), alpha=st.floats(0.5, 50), a=st.floats(0.1, 4).filter(lambda a: abs(a - 1) > 1e-3),
    b=st.floats(0.1, 6),
)  # fmt: skip


@given(MODELS, st.integers(0, 60), st.floats(0, 150), st.floats(0, 150), st.floats(0.1, 150))
def test_the_expectation_as_it_is_written(model: MbgNbd, x: int, t_x: float, quiet: float, horizon: float) -> None:
    r, alpha, a, b = model.r, model.alpha, model.a, model.b
    age = t_x + quiet
    whole, pace = alpha + age + horizon, r + x
    tail = ((alpha + age) / whole) ** pace * float(hyp2f1(pace, b + x + 1, a + b + x, horizon / whole))
    written = (a + b + x) / (a - 1) * (1 - tail) / (1 + a / (b + x) * ((alpha + age) / (alpha + t_x)) ** pace)
    found = expected_days(model, x, weeks(t_x), weeks(age), weeks(horizon))
    assert found == pytest.approx(written, rel=1e-5, abs=1e-7)


@given(MODELS, st.integers(0, 4000), st.integers(0, 4000), st.integers(0, 4000), st.integers(1, 1000))
def test_more_time_brings_more(model: MbgNbd, x: int, lived: int, quiet: int, horizon: int) -> None:
    t_x, age = lived * DAY, (lived + quiet) * DAY
    soon, late = (expected_days(model, x, t_x, age, span * DAY) for span in (horizon, 2 * horizon))
    assert 0 < soon + 1e-300 <= late + 1e-300
    assert soon <= model.p_alive(x, t_x, age) * (model.r + x) * horizon * DAY / (model.alpha * model.unit + age) + 1e-9
    assert 1 - model.p_none(x, t_x, age, horizon * DAY) <= soon + 1e-9, "P(any) is at most the expected number"


def test_a_of_1_is_no_hole() -> None:
    around = [expected_days(MbgNbd(a=a), 3, weeks(20), weeks(30), weeks(52)) for a in (1 - 1e-7, 1.0, 1 + 1e-7)]
    assert around == pytest.approx([around[1]] * 3, rel=1e-5)


# ---- worth


def test_the_worth_of_a_user() -> None:
    def worth(days: int = 3, orders: int = 3, spent: int = 6705) -> int:
        return ValueModel(horizon=39 * WEEK).worth(
            BG, days=days, lived=weeks(30.43), age=weeks(38.86), orders=orders, spent=spent, currency="USD"
        )

    assert worth() == pytest.approx(100 * CDNOW.mean(3, 22.35) * 1.226, rel=1e-3)
    assert worth(orders=0, spent=0) == 0
    assert 0 < worth(spent=0) < worth()
    assert worth() / 2 < worth(days=6), "more active days are to come, with an order on every second"
    assert at_stake(worth(), 0.25) == pytest.approx(worth() / 4, abs=0.5)
    assert at_stake(worth(), 0.0) == 0


def test_minor_units_are_those_of_the_currency() -> None:
    assert ValueModel().order_value(0, 0, "USD") == pytest.approx(100 * 35.22, abs=1)
    assert ValueModel(gamma=1544).order_value(2, 4470, "JPY") == pytest.approx(ValueModel().order_value(2, 4470, "USD"))


def test_a_value_without_a_mean_or_a_horizon_is_refused() -> None:
    for wrong in ({"q": 1.0}, {"p": -1.0}, {"gamma": 0.0}, {"horizon": 0}):
        with pytest.raises(ValueError, match=r"must be above 0|no mean"):
            ValueModel(**wrong)  # type: ignore[arg-type]


def test_the_log_likelihood_by_hand() -> None:
    # x = 1, p = q = 1: density gamma / (gamma + m)^2
    assert GammaGamma(1, 1, 2).log_likelihood([1], [3]) == pytest.approx(log(2 / 25))
