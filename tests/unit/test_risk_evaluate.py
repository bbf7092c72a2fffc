"""Snapshots, their labels, the split in time and the figures: against what is counted by hand or by scikit-learn."""

import bisect
import random
from collections.abc import Iterator
from functools import cache

import msgspec
import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from agents.churn import digest, samples
from agents.history import Past
from benchmarks.histories import BARS, history
from pipeline.activity import Activity, observe
from pipeline.partition import Partition
from pipeline.play import Raw, history_span, in_order, play, read_raw
from pipeline.policy import parse
from pipeline.risk import CHURN_MODELS, Fitted, Recency, Sample, TooLittle, from_json
from pipeline.risk.document import Events
from pipeline.risk.evaluate import auc, ece, evaluate, judge, lift10, log_loss, split
from pipeline.risk.fitting import fit
from pipeline.risk.learn import platt
from pipeline.risk.picture import calibration, lift
from pipeline.risk.report import markdown
from pipeline.samples import collect
from pipeline.units import DAY, HOUR
from schemas.codec import rfc3339
from tests.property.histories import DATA

START = 20_000 * DAY
HORIZON = 30 * DAY
_WATCHFUL = b"version: 1\nsource_guard: {min_expected: 3}\n"


def raw(user: str, time: int, number: int = 0, **more: object) -> Raw:
    body = {
        "messageId": f"{user}-{time}-{number}",
        "type": "track",
        "event": "Visit",
        "userId": user,
        "timestamp": rfc3339(time),
    }
    return read_raw(msgspec.json.encode(body | more))


@cache
def visits() -> dict[str, list[int]]:
    """80 users over 300 days, each with a rhythm, most of them leaving some day; times in ms."""
    rng = random.Random(3)
    found = {}
    for number in range(80):
        gap, day, end = rng.choice((2, 5, 12)), rng.uniform(0, 150), rng.uniform(60, 400)
        days = [day]
        while day < min(end, 300):
            day += rng.expovariate(1 / gap)
            days.append(day)
        found[f"u{number}"] = [START + int(day * DAY) for day in days if day <= 300]
    return found


@cache
def raws() -> tuple[Raw, ...]:
    return tuple(in_order(raw(user, time) for user, times in visits().items() for time in times))


@cache
def collected() -> tuple[Sample, ...]:
    return tuple(samples(Past(list(raws())), HORIZON, "test").samples)


def expected(end: int) -> Iterator[tuple[bytes, Activity, int, int]]:
    """By brute force: each user before each snapshot whose horizon the history holds."""
    last = end // HOUR * HOUR
    first = min(times[0] for times in visits().values()) // HOUR * HOUR
    for at in range(last - HORIZON, first - 1, -HORIZON // 6):
        for user, times in visits().items():
            seen = bisect.bisect_left(times, at)
            if seen:
                activity = Activity()
                for time in times[:seen]:
                    observe(activity, time, 0)
                activity.last_id = f"{user}-{times[seen - 1]}-0"
                yield user.encode(), activity, at, int(not any(at <= time < at + HORIZON for time in times))


def test_samples_are_what_was_known_and_what_followed() -> None:
    def order(sample: tuple[bytes, Activity, int, int]) -> tuple[int, bytes]:
        return sample[2], sample[0]

    found = sorted(map(tuple, collected()), key=order)
    wanted = sorted(expected(max(map(max, visits().values()))), key=order)
    assert [(user, at, silent) for user, _, at, silent in found] == [(u, at, silent) for u, _, at, silent in wanted]
    for (_, mine, _, _), (_, activity, _, _) in zip(found, wanted, strict=True):
        fields = ("first", "last", "days", "c7", "c30", "c90", "ring", "dark")
        assert [getattr(mine, field) for field in fields] == [getattr(activity, field) for field in fields]


def test_nothing_is_labelled_before_its_horizon_has_passed() -> None:
    end = history_span(raws())
    assert end is not None
    assert max(sample.at for sample in collected()) + HORIZON <= end[1]
    short = [event for event in raws() if (event.time or 0) < START + 29 * DAY]
    assert not samples(Past(short), HORIZON, "test").samples


def test_who_was_erased_is_no_sample() -> None:
    gone = raw("u0", START + 200 * DAY, type="delete")
    left = samples(Past(in_order([*raws(), gone])), HORIZON, "test").samples
    assert any(sample.user == b"u0" for sample in left)
    # Erased on day 200: the snapshots of the horizon before have no label that could be known.
    assert max(sample.at for sample in left if sample.user == b"u0") <= START + 170 * DAY


def test_what_is_refused_is_counted_by_reason_and_changes_nothing() -> None:
    first = raws()[0]
    bad = [raw("u0", START + day * DAY, event=None) for day in range(3)]
    late = [raw("u1", START + 100 * DAY, userId="null"), raw("u1", START + 900 * DAY)]
    found = samples(Past(in_order([*raws(), first, *bad, *late])), HORIZON, "test")
    assert found.samples == list(collected())
    count = len(raws())
    assert found.events == Events(count + 6, count, 1, 5, {"wrong_type": 3, "bad_id": 1, "time_in_future": 1})
    assert list(found.events.reasons) == ["wrong_type", "bad_id", "time_in_future"]


def test_visitors_are_no_samples() -> None:
    anonymous = [raw("u0", START + day * DAY, userId=None, anonymousId="a0") for day in range(0, 300, 5)]
    found = samples(Past(in_order([*raws(), *anonymous])), HORIZON, "test").samples
    assert {sample.user for sample in found} == {user.encode() for user in visits()}


def test_dark_hours_are_no_silence() -> None:
    # The source fails for 20 days: it is no silence of anybody, and the horizon over it ends 20 days later.
    hourly = [raw("pulse", START + hour * HOUR + n, n) for hour in range(90 * 24) for n in range(3)]
    kept = [event for event in hourly if not START + 40 * DAY <= (event.time or 0) < START + 60 * DAY]
    kept += [raw("rare", START + 30 * DAY), raw("rare", START + 75 * DAY)]
    policy = parse(_WATCHFUL)
    found = samples(Past(in_order(kept), policy, _WATCHFUL), HORIZON, "test").samples
    dark = 20 * DAY
    rare = {sample.at: sample.silent for sample in found if sample.user == b"rare"}
    effective_return = START + 75 * DAY - dark
    assert rare
    assert all(
        silent == (not at <= effective_return < at + HORIZON) for at, silent in rare.items() if at > START + 31 * DAY
    )


def test_with_too_many_samples_whole_users_are_left_out_the_same_ones_each_time() -> None:
    span = history_span(raws())
    assert span is not None

    def some(most: int) -> list[Sample]:
        return collect(play(raws(), None), Partition(0, 1, {}), HORIZON, span[1], most).samples

    few = some(1_000)
    assert len(few) <= 1_000
    kept = {sample.user for sample in few}
    assert few == [sample for sample in collected() if sample.user in kept]
    assert few == some(1_000)


def test_a_horizon_is_a_multiple_of_six_hours() -> None:
    with pytest.raises(ValueError, match="six hours"):
        collect(play(raws(), None), Partition(0, 1, {}), 7 * HOUR, START + 300 * DAY)


def test_train_labels_have_matured_before_the_first_test_snapshot() -> None:
    train, test = split(collected(), HORIZON)
    assert max(sample.at for sample in train) + HORIZON <= min(sample.at for sample in test)
    assert all(sample.at - sample.activity.last <= 2 * HORIZON for sample in test)
    assert any(sample.at - sample.activity.last > 2 * HORIZON for sample in train)  # MBG/NBD wants all users


def test_a_short_history_is_refused() -> None:
    with pytest.raises(TooLittle, match="no snapshot"):
        split([], HORIZON)
    first = min(sample.at for sample in collected())
    with pytest.raises(TooLittle, match="three horizons"):
        split([sample for sample in collected() if sample.at <= first + HORIZON // 2], HORIZON)


def test_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    risks = np.sort(rng.integers(1, 20, 400) / 20)  # many ties
    labels = (rng.random(400) < risks).astype(float)
    weights = rng.integers(0, 4, 400).astype(float)
    for given in (np.ones(400), weights):
        assert auc(risks, labels, given) == pytest.approx(roc_auc_score(labels, risks, sample_weight=given))
        assert log_loss(risks, labels, given) == pytest.approx(sklearn_log_loss(labels, risks, sample_weight=given))


def test_calibration_error_and_lift_by_hand() -> None:
    risks = np.array([0.2] * 75 + [0.8] * 75)
    labels = np.array([1.0] * 15 + [0.0] * 60 + [1.0] * 45 + [0.0] * 30)
    ones = np.ones(150)
    # Bins of ten: .2 was foretold, and all of the first ten were silent, then half of ten, then none; and so on.
    gaps = [0.8, 0.3, *[0.2] * 5, 0.0, *[0.2] * 4, *[0.8] * 3]
    assert ece(risks, labels, ones) == pytest.approx(sum(gaps) / 15)
    assert lift10(risks, labels, ones) == 0  # the last fifteen are active
    assert lift10(risks, labels[::-1], ones) == pytest.approx(1 / 0.4)
    assert lift10(risks, labels, 2 * ones) == 0
    assert np.isnan(auc(risks, ones, ones))


def test_calibration_follows_many_users_and_hardly_a_few() -> None:
    scores = np.linspace(-3, 3, 3_000)
    labels = (np.random.default_rng(2).random(3_000) < 1 / (1 + np.exp(-(2 * scores + 1)))).astype(int)
    many, few = platt(scores, labels, 3_000), platt(scores, labels, 5)
    assert many.logit(0) == pytest.approx(1, abs=0.15)
    assert many.logit(1) - many.logit(0) == pytest.approx(2, abs=0.2)
    assert few.logit(0) == pytest.approx(0, abs=0.15)
    assert few.logit(1) == pytest.approx(1, abs=0.3)
    upside_down = platt(-scores, labels, 3_000)
    assert upside_down.logit(3) == upside_down.logit(-3)


def test_a_judgement_is_the_same_each_time_and_its_intervals_hold_it() -> None:
    train, test = split(collected(), HORIZON)
    model = CHURN_MODELS["mbg"].fit(train, HORIZON)
    found = judge(model, test)
    assert found == judge(model, test)
    for measure in (found.auc, found.logloss, found.lift10):
        assert measure.low < measure.value < measure.high
    assert sum(count for _, _, count in found.bins) == len(test)
    assert found.gains[-1] == 1
    assert list(found.gains) == sorted(found.gains)


def test_every_model_beats_chance_out_of_time() -> None:
    found = evaluate(CHURN_MODELS.values(), collected(), HORIZON)
    assert list(found) == list(CHURN_MODELS)
    assert all(each.auc.low > 0.5 for each in found.values())
    assert found["logistic"].auc.value > found["recency"].auc.value


def test_a_fitted_model_says_where_it_comes_from() -> None:
    fitted = fit(CHURN_MODELS["recency"], collected(), HORIZON, digest(raws()))
    body = fitted.to_json()
    assert msgspec.json.decode(body, type=Fitted) == fitted
    assert from_json(body) == fitted.model
    assert isinstance(fitted.model, Recency)
    assert fitted.trained.last == max(sample.at for sample in collected())
    assert fitted.tested.last == fitted.trained.last
    assert fitted.tested.first > fitted.trained.first
    assert fit(CHURN_MODELS["recency"], collected(), HORIZON, digest(raws())).to_json() == body
    with pytest.raises(ValueError, match="date"):
        from_json(body.replace(b'"data"', b'"date"'))


def test_report_and_pictures_show_what_was_found() -> None:
    fitted = fit(CHURN_MODELS["recency"], collected(), HORIZON, digest(raws()))
    events = Events(1_000, 900, 60, 40, {"bad_id": 30, "too_late": 10})
    text = markdown(fitted, "0" * 64, "c.svg", "l.svg", events)
    assert "- 1,000 events read: 900 applied, 60 duplicate, 40 refused (bad_id 30, too_late 10)\n" in text
    assert "**4.0% of the events were refused: nothing was learned from them.**\n" in text
    assert "nothing was learned" not in markdown(fitted, "0" * 64, "c.svg", "l.svg", Events(101, 100, 0, 1, {}))
    assert f"| AUC | {fitted.held_out.auc.value:.3f} |" in text
    assert f"| silence_days | {fitted.model.weight:+.3f} |" in text
    assert "![calibration](c.svg) ![lift](l.svg)" in text
    assert calibration(fitted.held_out).count("<circle") == len(fitted.held_out.bins)
    assert lift(fitted.held_out).count("<circle") == len(fitted.held_out.gains)


@pytest.mark.parametrize("name", ["CDNOW", "grocery"])
def test_the_bars_are_reached(name: str) -> None:
    # All four: `make evaluate`.
    bar = BARS[name]
    if not (DATA / bar.folder / "events.csv.gz").exists():
        pytest.skip(f"no {bar.folder} in {DATA}; set REKINDLE_DATA")
    train, test = split(samples(Past(history(DATA / bar.folder)), bar.horizon, "test").samples, bar.horizon)
    recency, logistic = (judge(CHURN_MODELS[m].fit(train, bar.horizon), test, 2) for m in ("recency", "logistic"))
    assert logistic.auc.value >= bar.logistic[0] - 0.01
    assert logistic.ece.value <= 0.05
    assert logistic.auc.value >= recency.auc.value + 0.07
