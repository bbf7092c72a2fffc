"""Every churn model of the registry answers as `RiskModel` says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.risk import FAR, MODELS, RiskModel
from pipeline.units import DAY

X = st.integers(0, 4000)
SPAN = st.integers(0, 10 * 365 * DAY)
THRESHOLD = st.floats(0.001, 0.999)

every_model = pytest.mark.parametrize("model", [pytest.param(model(), id=name) for name, model in MODELS.items()])


@every_model
@given(X, SPAN, SPAN, SPAN)
def test_p_alive_is_a_probability_that_falls_with_silence(
    model: RiskModel, x: int, t_x: int, quiet: int, more: int
) -> None:
    soon, later = (model.p_alive(x, t_x, t_x + span) for span in (quiet, quiet + more))
    assert 0 <= later <= soon <= 1


@every_model
@given(X, SPAN, SPAN, SPAN)
def test_p_none_is_a_probability_that_falls_with_the_horizon(
    model: RiskModel, x: int, t_x: int, quiet: int, horizon: int
) -> None:
    age, more = t_x + quiet, horizon // 3
    short, long = (model.p_none(x, t_x, age, span) for span in (horizon, horizon + more))
    assert 1 - model.p_alive(x, t_x, age) - 1e-12 <= long <= short <= 1
    assert model.p_none(x, t_x, age, 0) == 1


@every_model
@given(X, SPAN, THRESHOLD)
def test_crossing_is_where_p_alive_falls_below(model: RiskModel, x: int, t_x: int, threshold: float) -> None:
    age = model.crossing(x, t_x, threshold)
    assert min(t_x, FAR) <= age <= FAR
    if age < FAR:
        assert model.p_alive(x, t_x, age) < threshold
    if age > t_x:
        assert model.p_alive(x, t_x, age - 2) > threshold * (1 - 1e-9)


@every_model
@given(X, SPAN, THRESHOLD, THRESHOLD)
def test_a_lower_threshold_is_crossed_later(model: RiskModel, x: int, t_x: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert model.crossing(x, t_x, low) >= model.crossing(x, t_x, high)


@every_model
@given(st.integers(0, 10**9), st.integers(0, FAR), st.integers(0, FAR), st.floats(1e-9, 1 - 1e-9))
def test_no_input_overflows(model: RiskModel, x: int, t_x: int, quiet: int, threshold: float) -> None:
    assert 0 <= model.p_alive(x, t_x, t_x + quiet) <= 1
    assert 0 <= model.p_none(x, t_x, t_x + quiet, FAR) <= 1
    assert 0 <= model.crossing(x, t_x, threshold) <= FAR
