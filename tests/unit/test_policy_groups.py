"""Segments, tiers and value in a policy: what is read, and how it is said that something is wrong."""

from typing import Any

import pytest

from pipeline.features import FEATURES
from pipeline.policy import DEFAULT, InSegment, parse
from pipeline.policy.compiled import Segment
from pipeline.units import DAY, HOUR
from pipeline.value import ValueModel
from tests.unit.test_policy import problems

TEXT = """\
version: 1
currency: {reporting: JPY}
channels: [{name: letters, source: newsletter}]
tiers:
  - {id: gold, where: {value_365d: {at_least: 50000}}}
  - {id: silver, where: {spent: {at_least: 10000}, orders: {at_least: 2}}}
segments:
  - {id: lapsing, where: {silence_days: {at_least: 7.5, below: 30}, orders_90d: {below: 1}, tier: [gold, silver]}}
  - {id: lettered, where: {last_channel: letters, lifecycle: active, activated: false, locale: [de, de-AT]}}
  - {id: best, where: {value_365d: {top: 0.1}, risk: {at_least: 0.5}}}
consent: {email: {basis: opt_out, trait: email}}
rules: [{id: thank, kind: grow, when: {segment: best}}]
"""


def read(group: Segment) -> dict[str, Any]:
    """By feature: (at_least, below, top), or what it is among."""
    return {t.feature.name: t.among or (t.at_least, t.below, t.top) for t in group.where}


def test_every_comparison_is_read() -> None:
    policy = parse(TEXT)
    assert [(tier.id, read(tier)) for tier in policy.tiers] == [
        ("gold", {"value_365d": (50000, None, None)}),
        ("silver", {"orders": (2, None, None), "spent": (10000, None, None)}),
    ]
    lapsing, lettered, best = policy.segments
    assert read(lapsing) == {
        "silence_days": (7.5 * DAY, 30 * DAY, None),
        "orders_90d": (None, 1, None),
        "tier": ("gold", "silver"),
    }
    assert read(lettered) == {
        "lifecycle": ("active",),
        "activated": (False,),
        "last_channel": ("letters",),
        "locale": ("de", "de-AT"),
    }
    assert read(best) == {"value_365d": (None, None, 0.1), "risk": (0.5, None, None)}
    assert policy.rules[0].when == InSegment("best")
    assert all(
        [test.feature.name for test in s.where] == [n for n in FEATURES if n in read(s)] for s in policy.segments
    )


def test_the_first_look_after_an_activity_is_no_later_than_the_shortest_silence_that_matters() -> None:
    text = "version: 1\nsegments: [{id: a, where: {silence_days: {below: 3}}}]"
    assert parse(text).min_silence == 3 * DAY
    assert parse(TEXT).min_silence == HOUR  # the risk is looked at anew
    assert [test.feature.name for test in parse(TEXT).windows] == ["value_365d", "orders_90d", "value_365d"]
    assert parse("version: 1\nsegments: [{id: a, where: {orders: {at_least: 3}}}]").min_silence == 14 * DAY


def test_amounts_are_in_major_units_of_the_reporting_currency() -> None:
    euros = parse("version: 1\ncurrency: {reporting: EUR}\ntiers: [{id: a, where: {spent: {at_least: 100.5}}}]")
    assert read(euros.tiers[0]) == {"spent": (10050, None, None)}


def test_the_parameters_of_the_value_belong_together() -> None:
    assert parse("version: 1\nvalue: {horizon: 90d}").value == ValueModel(horizon=90 * DAY)
    fitted = parse("version: 1\nvalue: {p: 2, q: 3, gamma: 4.5}").value
    assert fitted == ValueModel(2, 3, 4.5, DEFAULT.value.horizon)
    assert problems("version: 1\nvalue: {p: 2, q: 3}") == [
        "policy.yaml:2: value needs the field 'gamma': a number above 0 such as 1.08"
    ]
    [problem] = problems("version: 1\nvalue: {p: 0.1, q: 0.5, gamma: 1}")
    assert problem.startswith("policy.yaml:2: value: Gamma-Gamma")


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("{orders_90: {at_least: 1}}", "unknown field 'orders_90'; did you mean 'orders_90d'?"),
        ("{orders: 3}", "orders: expected a comparison such as {at_least: 3}, not '3'"),
        ("{orders: {at_least: 1.5}}", "at_least: expected a whole number from 1 to 1000000000, not '1.5'"),
        ("{orders: {}}", "orders: expected one of at_least, below, top"),
        ("{orders: {atleast: 3}}", "unknown field 'atleast'; did you mean 'at_least'?"),
        ("{risk: {at_least: 70}}", "at_least: expected a share above 0 and below 1, such as 0.1, not '70'"),
        ("{spent: {at_least: 1, below: 1}}", "spent: nothing is at least the one and below the other"),
        ("{spent: {top: 0.1, below: 1}}", "spent: top is a threshold itself, at_least and below can't go with it"),
        ("{age_days: {top: 0.1}}", "age_days: it grows by itself for everybody, a threshold would be old at once"),
        ("{silence_days: {at_least: 0.01}}", "at_least: expected a number of days from an hour (0.05) on, such as 7"),
        ("{activated: maybe}", "activated: expected true or false, not 'maybe'"),
        ("{lifecycle: dormat}", "lifecycle: there is no 'dormat'; did you mean 'dormant'?"),
        ("{first_channel: xyz}", "first_channel: there is no 'xyz'; there are: direct, organic-search,"),
        ("{tier: gold}", "tier: there is no 'gold'; there are: none"),
        ("{}", "a segment needs a comparison, such as `where: {orders_90d: {at_least: 3}}`"),
        ("[orders]", "where: expected fields with names, such as `name: value`, not a list"),
    ],
)
def test_what_is_wrong_is_named(where: str, problem: str) -> None:
    assert problems(f"version: 1\nsegments:\n  - {{id: a, where: {where}}}")[0].startswith(f"policy.yaml:3: {problem}")


def test_references_and_bounds_are_checked() -> None:
    assert problems("version: 1\ntiers: [{id: a, where: {tier: a}}]")[0].startswith(
        "policy.yaml:2: unknown field 'tier'"
    )
    same = "{id: a, where: {orders: {at_least: 1}}}"
    assert problems(f"version: 1\nsegments: [{same}, {same}]") == [
        "policy.yaml:2: the id 'a' is given twice under segments"
    ]
    many = ", ".join(f"{{id: s{n}, where: {{orders: {{at_least: 1}}}}}}" for n in range(65))
    assert problems(f"version: 1\nsegments: [{many}]") == ["policy.yaml:2: segments: 65 of them; at most 64"]
    assert problems(f"version: 1\ntiers: [{many}]") == ["policy.yaml:2: tiers: 65 of them; at most 16"]
    assert problems(f"version: 1\nsegments: [{same}]\nrules: [{{id: r, when: {{segment: b}}}}]") == [
        "policy.yaml:3: there is no segment 'b' under `segments`; there are: a"
    ]
