"""Every feature of the registry says by itself when silence changes it: held against looking at every hour and day."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from pipeline.activity import observe
from pipeline.context import Context
from pipeline.features import FEATURES, NEVER, Feature
from pipeline.features.base import first_flip
from pipeline.journey import arrive, touch
from pipeline.lifecycle import ACTIVE, AT_RISK, DORMANT, NEW, RETURNED, STAGES
from pipeline.policy import DEFAULT
from pipeline.purchases import buy
from pipeline.risk import Logistic, MbgNbd, Recency
from pipeline.state import Groups, Orders, Profile, UserState, decode_row, encode_row
from pipeline.units import DAY, HOUR
from tests.builders import T0

YEAR = 365 * DAY
every_feature = pytest.mark.parametrize("feature", [pytest.param(f, id=name) for name, f in FEATURES.items()])
every_scene = pytest.mark.parametrize("model", [None, Recency(90 * DAY, 0.0, 2.0, 0.9)], ids=["closed form", "recency"])


def scene(model: Any = None, dark: int = 0) -> Context:
    return Context(DEFAULT, "default", dark=dark, model=model)


def somebody(seed: int) -> UserState:
    """Active on up to 40 days within two years, with orders, after up to 30 dark hours."""
    rng = random.Random(seed)
    state = UserState(stage=rng.choice((NEW, ACTIVE, AT_RISK, DORMANT, RETURNED)))
    orders = Orders()
    for time in sorted(T0 + rng.randrange(700 * DAY) for _ in range(rng.randint(1, 40))):
        if not state.activity.days:
            arrive(state.journey, rng.choice(("email", "referral", None)), time)
        observe(state.activity, time, (time - T0) // DAY // 25)
        if rng.random() < 0.4:
            buy(orders, time, rng.randrange(20_000), ())
        if rng.random() < 0.3:
            touch(state.journey, rng.choice(("email", "referral")), time)
    state.orders = orders if orders.count else None
    state.activity.activated = rng.random() < 0.5
    state.profile = Profile(locale=rng.choice(("de", "en", None)))
    state.groups = Groups(tier=rng.choice(("gold", "")))
    return state


def start(state: UserState) -> int:
    return state.activity.last - state.activity.dark * HOUR


def thresholds(feature: Feature, state: UserState, at: int, known: Context) -> Iterator[Any]:
    """What makes the most of a feature: around its value now, and where it goes in half a year."""
    if feature.unit in {"text", "flag"}:
        yield 0
        return
    values = [feature.value(state, at + days * DAY, known) for days in (0, 1, 20, 180)]
    for value in values:
        assert isinstance(value, int | float)
        yield value or 1
    yield from {"count": (1, 3), "days": (7 * DAY,), "share": (0.3, 0.9), "money": (1, 10_000)}[feature.unit]


def truth(feature: Feature, state: UserState, at: int, known: Context, threshold: Any) -> Any:
    value = feature.value(state, at, known)
    return value if feature.unit in {"text", "flag"} else value >= threshold


@every_scene
@every_feature
def test_nothing_changes_before_the_next_change_and_there_it_does(feature: Feature, model: Any) -> None:
    for seed in range(6):
        state = somebody(seed)
        known = scene(model, dark=28 + seed)
        at = start(state) + random.Random(seed).randrange(40 * DAY)
        for threshold in thresholds(feature, state, at, known):
            now = truth(feature, state, at, known, threshold)
            change = feature.next_change(state, at, known, threshold)
            assert change > at
            first_hour = start(state) + ((at - start(state)) // HOUR + 1) * HOUR
            hours = range(first_hour, min(change, at + 20 * DAY), HOUR)
            days = range(first_hour, min(change, at + YEAR), DAY)
            before = [*hours, *days, *((change - HOUR, change - 1) if change < NEVER else ())]
            assert {truth(feature, state, moment, known, threshold) for moment in before if moment > at} <= {now}
            if change < NEVER:
                assert truth(feature, state, change, known, threshold) != now


@every_feature
def test_it_is_of_its_unit_and_survives_the_row(feature: Feature) -> None:
    types = {"text": str | None, "flag": bool, "share": float, "count": int, "days": int, "money": int}[feature.unit]
    for seed in range(20):
        state = somebody(seed)
        at = start(state) + seed * 9 * DAY
        value = feature.value(state, at, scene())
        assert isinstance(value, types)
        if isinstance(value, int | float):
            assert 0 <= value <= (1 if feature.unit == "share" else NEVER)
        assert feature.value(decode_row(encode_row(state)), at, scene()) == value


@every_feature
def test_it_is_known_of_whoever_was_active_once(feature: Feature) -> None:
    state = UserState(stage=NEW)
    observe(state.activity, T0, 0)
    assert feature.value(state, T0, scene()) == {
        "silence_days": 0,
        "age_days": 0,
        "active_days": 1,
        "lifecycle": "new",
        "activated": False,
        "first_channel": "direct",
        "last_channel": "direct",
        "tier": "",
        "locale": None,
        "p_alive": pytest.approx(DEFAULT.risk.p_alive(0, 0, 0)),
        "risk": pytest.approx(DEFAULT.risk.p_none(0, 0, 0, 30 * DAY)),
    }.get(feature.name, 0)


def test_dark_hours_are_no_silence_but_days_go_by_the_calendar() -> None:
    state = UserState(stage=ACTIVE, orders=Orders())
    observe(state.activity, T0, 0)
    buy(state.orders or Orders(), T0, 500, ())
    known = scene(dark=30)
    at = T0 + 90 * DAY - 31 * HOUR  # effective: an hour before the real midnight that ends the 90 days
    assert FEATURES["silence_days"].value(state, at, known) == 90 * DAY - 31 * HOUR
    assert FEATURES["orders_90d"].value(state, at, known) == 1
    assert FEATURES["orders_90d"].next_change(state, at, known, 1) == at + HOUR
    assert FEATURES["orders_90d"].value(state, at + HOUR, known) == 0


def test_the_lifecycle_is_foreseen() -> None:
    state = UserState(stage=ACTIVE)
    observe(state.activity, T0, 0)
    found = [(T0, "active")]
    while (at := FEATURES["lifecycle"].next_change(state, found[-1][0], scene(), 0)) < NEVER:
        found.append((at, str(FEATURES["lifecycle"].value(state, at, scene()))))
    assert found == [(T0, "active"), (T0 + 14 * DAY, STAGES[AT_RISK]), (T0 + 30 * DAY, STAGES[DORMANT])]


def test_a_model_that_falls_back_is_followed_both_ways() -> None:
    falling = Logistic(90 * DAY, 0.0, (0.0,) * 8, (0, 0, 0, 3.0, 0, 0, -2.9, 0), 7.0, MbgNbd())
    state = UserState(stage=ACTIVE)
    observe(state.activity, T0, 0)
    observe(state.activity, T0 + 300 * DAY, 0)
    known, risk = scene(falling), FEATURES["risk"]
    at = start(state)
    up = risk.next_change(state, at, known, 0.01)
    assert at < up < NEVER
    assert risk.value(state, up - HOUR, known) < 0.01 <= risk.value(state, up, known)  # type: ignore[operator]
    up_and_down = msgspec.structs.replace(falling, weights=(0, 0, 0, -3.0, 0, 0, 0, 0))
    down = risk.next_change(state, at, scene(up_and_down), 0.4)
    assert risk.value(state, down, scene(up_and_down)) < 0.4 <= risk.value(state, down - HOUR, scene(up_and_down))  # type: ignore[operator]


def test_a_flip_is_found_to_the_hour_wherever_it_lies() -> None:
    for hours in (1, 2, 3, 17, 100, 12_345):
        for asked in (0, hours // 2):
            flip = first_flip(lambda at, hours=hours: at >= T0 + hours * HOUR, T0, T0 + asked * HOUR)  # type: ignore[misc]
            assert flip == T0 + hours * HOUR
    assert first_flip(lambda _: True, T0, T0 + DAY) == NEVER
