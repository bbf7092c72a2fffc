"""Thresholds of the top: read off the rows, adopted through the log."""

import random

import pytest

from pipeline.context import Context
from pipeline.partition import Partition
from pipeline.policy import parse
from pipeline.quantiles import Histogram, measure, thresholds
from pipeline.records import UnreadableBody
from tests.builders import adopt_quantiles, at, fold, history, order, quantiles, registry, tick
from tests.unit.test_segments import before, said, time

POLICY = """
version: 1
mode: live
source_guard: {dark_below: 0}
consent: {email: {basis: opt_out, trait: email}}
segments: [{id: best, where: {spent: {top: 0.1}}}]
rules: [{id: thank, kind: grow, when: {segment: best}, holdout: 0}]
"""
LOW, HIGH = {"spent": {0.1: 5_000.0}}, {"spent": {0.1: 20_000.0}}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_threshold_is_within_one_percent_of_the_value_of_that_rank(share: float) -> None:
    rng = random.Random(1)
    values = [rng.lognormvariate(5, 2) for _ in range(20_000)]
    parts = [Histogram(), Histogram()]
    for number, value in enumerate(values):
        parts[number % 2].add(value)
    parts[0].merge(parts[1])
    exact = sorted(values, reverse=True)[int(share * len(values)) - 1]
    assert parts[0].top(share) == pytest.approx(exact, rel=0.0101)
    assert len(parts[0].buckets) < 1_000


def test_nobody_without_anything_is_at_the_top() -> None:
    histogram = Histogram()
    assert histogram.top(0.5) is None
    for value in (0, 0, 0, 100):
        histogram.add(value)
    assert histogram.top(0.9) == pytest.approx(100, rel=0.01)


def test_what_a_policy_asks_for_is_measured_over_users_who_were_active() -> None:
    policy = parse(POLICY)
    rows = fold(history(tick(at(1)), *(order(at(1), f"u{n}", n) for n in range(1, 101)), policy=POLICY), POLICY).users
    context = Context(policy, "default", clock=at(1))
    found = thresholds(policy, measure(rows.values(), context))
    assert list(found) == ["spent"]
    assert found["spent"] == {0.1: pytest.approx(9_100, rel=0.0101)}
    assert measure(rows.values(), Context(parse("version: 1"), "default")) == {}


def test_thresholds_come_by_the_log_and_open_nothing() -> None:
    entries = [tick(at(1)), order(at(1), revenue=100), tick(at(2)), adopt_quantiles(LOW), tick(at(2, 2))]
    later = [adopt_quantiles(HIGH), tick(at(3)), order(at(3), revenue=150), tick(at(4))]
    folded = fold(history(*entries, *later, policy=POLICY), POLICY, extra=quantiles(LOW, HIGH))
    assert said(folded) == [
        ("enter", "best", before(1, 23)),
        ("leave", "best", before(2, 1)),
        ("enter", "best", time(3)),
    ]
    assert [(m["data"]["rule_id"], m["time"]) for m in folded.triggers] == [("thank", time(3))]
    again = Partition(0, 1, registry(POLICY) | quantiles(LOW, HIGH))
    again.restore(folded.changelog)
    assert again._context.quantiles == HIGH


def test_without_thresholds_nobody_is_in_a_segment_by_them() -> None:
    assert said(fold(history(tick(at(1)), order(at(1)), tick(at(9)), policy=POLICY), POLICY)) == []


def test_a_body_that_is_no_quantiles_stops_the_partition() -> None:
    [key] = quantiles(LOW)
    with pytest.raises(UnreadableBody, match="the adopted quantiles"):
        fold(history(adopt_quantiles(LOW)), extra={key: b'{"features": 1}'})
