"""Every churn model of the registries answers as `RiskModel` or `ChurnModel` says."""

import random
import subprocess
import sys
from functools import cache
from math import isclose, isfinite, log

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.activity import Activity, observe
from pipeline.risk import CHURN_MODELS, FAR, MODELS, ChurnModel, RiskModel, Sample, TooLittle, crossing, from_json
from pipeline.risk.words import addends, effect, reasons, strongest
from pipeline.units import DAY, HOUR

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


# -- models that are fitted

HORIZON = 30 * DAY
START = 20_000 * DAY


@cache
def samples() -> tuple[Sample, ...]:
    """Six snapshots of 300 users of whom each has a rhythm and leaves for good at some day."""
    rng = random.Random(7)
    found = []
    for number in range(300):
        gap, time, end = rng.choice((2, 5, 12, 30)), rng.uniform(0, 200), rng.uniform(30, 500)
        days = []
        while time < end:
            days.append(time)
            time += rng.expovariate(1 / gap)
        for at in range(150, 420, 45):
            activity = Activity()
            for day in days:
                if day <= at:
                    observe(activity, START + int(day * DAY), 0)
            if activity.days:
                silent = not any(at < day <= at + HORIZON // DAY for day in days)
                found.append(Sample(b"%d" % number, activity, START + at * DAY, int(silent)))
    return tuple(found)


@cache
def fitted(name: str) -> ChurnModel:
    return CHURN_MODELS[name].fit(samples(), HORIZON)


every_churn_model = pytest.mark.parametrize("name", CHURN_MODELS)

DAYS = st.integers(1, 4000)
COUNT = st.floats(0, 150)


@st.composite
def activities(draw: st.DrawFn) -> Activity:
    """Any state that a row may hold, the absurd ones too."""
    days = draw(DAYS)
    first = draw(st.integers(-(10**13), 10**13))
    last = first + (draw(st.integers(0, FAR)) if days > 1 else draw(st.integers(0, DAY)))
    counts = sorted((draw(COUNT), draw(COUNT), draw(COUNT)))
    return Activity(first, last, days, *counts, 1, draw(st.integers(0, 10_000)))


def of_days(*days: float) -> Activity:
    activity = Activity()
    for day in days:
        observe(activity, START + int(day * DAY), 0)
    return activity


@every_churn_model
@given(activities(), st.integers(0, FAR))
def test_any_state_has_finite_features_and_a_probability(name: str, activity: Activity, quiet: int) -> None:
    model = fitted(name)
    features = model.features(activity, activity.last - activity.dark * HOUR + quiet)
    assert len(features) == len(model.feature_names)
    assert all(map(isfinite, features))
    assert 0 < model.predict(features) < 1


@every_churn_model
@given(activities(), st.integers(0, FAR))
def test_the_explanation_adds_up_to_the_score(name: str, activity: Activity, quiet: int) -> None:
    model = fitted(name)
    features = model.features(activity, activity.last - activity.dark * HOUR + quiet)
    terms = model.explain(features)
    assert tuple(term.code for term in terms) == model.feature_names
    score = model.score(features)
    assert isclose(model.base + sum(term.contribution for term in terms), score, rel_tol=1e-9, abs_tol=1e-9)
    probability = model.predict(features)
    assert isclose(log(probability / (1 - probability)), model.calibration.logit(score), rel_tol=1e-6, abs_tol=1e-9)
    assert all(isfinite(term.value) for term in terms)
    whole = addends(model, features)
    assert [term.code for term in whole] == ["base", *model.feature_names, "calibration"]
    if abs(score) < 12:
        assert isclose(
            log(probability / (1 - probability)), sum(t.contribution for t in whole), rel_tol=1e-6, abs_tol=1e-9
        )
    assert len(reasons(model, features)) == len(reasons(model, features, "zh")) == len(whole)
    assert all("risk (" in effect(term) and "风险（" in effect(term, "zh") for term in strongest(terms))


@pytest.mark.parametrize("name", [name for name, model in CHURN_MODELS.items() if model.rises])
@given(activities(), st.integers(0, FAR), st.integers(0, FAR))
def test_what_promises_to_rise_with_silence_does(name: str, activity: Activity, quiet: int, more: int) -> None:
    model = fitted(name)
    start = activity.last - activity.dark * HOUR
    soon, later = (model.predict(model.features(activity, start + span)) for span in (quiet, quiet + more))
    assert later >= soon - 1e-12


@every_churn_model
def test_a_long_silence_is_a_greater_risk_than_none_for_a_regular(name: str) -> None:
    model, regular = fitted(name), of_days(*range(0, 100, 5))
    risks = [model.predict(model.features(regular, regular.last + days * DAY)) for days in (0, 20, 60, 200)]
    assert risks == sorted(risks)
    assert risks[0] < 0.3
    assert risks[-1] > 0.7


@every_churn_model
def test_before_the_last_activity_counts_as_at_it_and_dark_hours_are_no_silence(name: str) -> None:
    model, activity = fitted(name), of_days(0, 3, 9)
    features = model.features(activity, activity.last)
    assert model.features(activity, activity.last - DAY) == features
    activity.dark = 24
    assert model.features(activity, activity.last) == model.features(of_days(0, 3, 9), activity.last + DAY)


@every_churn_model
def test_json_is_the_whole_model_and_strict(name: str) -> None:
    model = fitted(name)
    body = model.to_json()
    assert from_json(body) == model
    assert from_json(body).to_json() == body
    document = msgspec.json.decode(body)
    assert document["kind"].startswith(f"{name}/")
    for broken in (
        document | {"kind": f"{name}/0"},
        document | {"more": 1},
        document | {"horizon": None},
        document | {"horizon": 0},
        document | {"calibration": {"scores": [0.0, 1.0], "logits": [1.0, 0.0]}},
        {key: value for key, value in document.items() if key != "horizon"},
    ):
        with pytest.raises(ValueError, match=r"."):
            from_json(msgspec.json.encode(broken))


@every_churn_model
def test_the_same_samples_give_the_same_model(name: str) -> None:
    assert CHURN_MODELS[name].fit(samples(), HORIZON).to_json() == fitted(name).to_json()


@every_churn_model
def test_nothing_is_learned_from_too_little(name: str) -> None:
    with pytest.raises(TooLittle):
        CHURN_MODELS[name].fit(samples()[:5], HORIZON)
    with pytest.raises(TooLittle):
        CHURN_MODELS[name].fit([sample._replace(silent=1) for sample in samples()], HORIZON)


@every_churn_model
@given(st.integers(1, 40), st.integers(1, 30), st.floats(0.05, 0.95), st.integers(0, 90 * 24))
def test_the_crossing_is_the_hour_at_which_the_threshold_is_reached(
    name: str, days: int, gap: int, threshold: float, floor: int
) -> None:
    model, activity = fitted(name), of_days(*range(0, days * gap, gap))
    start, least = activity.last, activity.last + floor * HOUR
    found = crossing(model, activity, threshold, start, least)

    def risk(at: int) -> float:
        return model.predict(model.features(activity, at))

    assert least <= found <= start + FAR
    if found < start + FAR:
        assert risk(found) >= threshold
    if found > least:
        assert (found - start) % HOUR == 0
        assert risk(found - HOUR) < threshold
        assert risk(least) < threshold
        # Asked later, but before it: the same answer.
        assert crossing(model, activity, threshold, start, (least + found) // 2) in {found, (least + found) // 2}


@every_churn_model
def test_a_threshold_that_is_never_reached_is_far(name: str) -> None:
    activity = of_days(0)
    assert crossing(fitted(name), activity, 1.0, activity.last, activity.last) == activity.last + FAR


def test_a_worker_never_loads_what_fitting_needs() -> None:
    script = "import sys, agents.users, pipeline.risk; print({'numpy', 'scipy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
