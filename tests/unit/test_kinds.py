"""Rules that remind, show items or have a backlog: each by its smallest log."""

import pytest

from tests.builders import (
    adopt,
    at,
    event,
    fold,
    history,
    log,
    played,
    tick,
    ticks,
)
from tests.unit.contacting import policy, run, said, sent_at

# ---- kinds


def test_who_misses_the_key_moment_is_reminded_once_though_active() -> None:
    text = policy().replace("silent, when: {silence: 2d}", "hello, kind: activate, when: {not_activated: 2d}")
    folded = run(text, [event(at(day, 12), id=f"d{day}") for day in range(5)], tick(at(5)))
    assert said(folded) == [(0, "send", [])]
    assert sent_at(folded) == [12 + 48]
    reached = event(at(1), name="Signed Up")
    assert said(run(text, event(at(0)), reached, ticks(at(1), at(4)))) == []


def test_the_items_are_the_last_and_the_usual_ones() -> None:
    text = policy("content: {feature_id: shelf, items: 2}")
    bought = [
        event(
            at(0, hour),
            name="Order Completed",
            id=f"o{hour}",
            properties={"revenue": 1, "currency": "USD", "products": [{"product_id": item} for item in items]},
        )
        for hour, items in enumerate((["tea"], ["milk", "tea"], ["milk"], ["tea"], ["jam"]))
    ]
    (trigger,) = run(text, bought, ticks(at(1), at(4))).triggers
    assert trigger["data"]["content"] == {"feature_id": "shelf", "items": ["jam", "tea"]}


# ---- backlog


OTHER = "  - {id: other, when: {silence: 300d}, goal: {within: 4d}, cooldown: 4d, backlog: {spread: 1d}}\n"


@pytest.mark.parametrize("other", ["", OTHER], ids=["alone", "beside_one_that_has_one"])
def test_switching_a_rule_on_sends_to_nobody_who_lapsed_before(other: str) -> None:
    text = policy() + other
    records = log(played(), tick(at(0)), event(at(0)), ticks(at(1), at(20)), adopt(text), ticks(at(20), at(40)))
    assert fold(records, text).decisions == []


def test_a_backlog_is_spread_over_its_time() -> None:
    text = policy("backlog: {spread: 10d}")
    users = [event(at(0), f"u{i}") for i in range(30)]
    records = log(played(), tick(at(0)), users, ticks(at(1), at(20)), adopt(text), ticks(at(20), at(40)))
    folded = fold(records, text)
    assert len(folded.triggers) == 30
    days = [hour // 24 for hour in sent_at(folded) if hour is not None]
    assert min(days) < 23
    assert 27 < max(days) < 30
    again = log(adopt(text), ticks(at(40), at(60)), start=folded.partition.offset)
    assert len(folded.feed(again).decisions) == 30


def test_a_backlog_of_a_rule_that_was_off_for_a_while_has_nobody_whom_it_contacted_or_waits_to() -> None:
    live = policy(top='quiet_hours: {from: "10:00", to: "09:00", timezone: UTC}').replace(
        "silent, when: {silence: 2d}", "hello, kind: activate, when: {not_activated: 2d}, backlog: {spread: 20h}"
    )
    live = live.replace("cooldown: 4d", "cooldown: 1d").replace("within: 4d", "within: 1d")
    off = live.replace("mode: live", "mode: shadow")
    users = [[tick(at(0, hour)), event(at(0, hour), f"u{hour}")] for hour in range(24)]
    on_and_off = [ticks(at(1), at(3, 1)), adopt(off), ticks(at(3, 2), at(3, 6)), adopt(live)]
    records = log(played(), tick(at(0)), adopt(live), *users, *on_and_off, ticks(at(3, 7), at(12)))
    folded = fold(records, live, off)
    assert len(folded.triggers) == len({trigger["id"] for trigger in folded.triggers}) == 24


def test_a_changed_policy_reminds_nobody_again() -> None:
    first = policy().replace(
        "silent, when: {silence: 2d}", "hello, kind: activate, when: {not_activated: 2d}, backlog: {spread: 1h}"
    )
    first = first.replace("cooldown: 4d", "cooldown: 1d").replace("within: 4d", "within: 1d")
    later = first.replace("not_activated: 2d", "not_activated: 5d").replace("salt: test", "salt: other")
    gone = first.replace("hello", "greeting").replace("not_activated: 2d", "not_activated: 30d")
    for changes in ([adopt(later)], [adopt(gone), tick(at(3, 2)), adopt(later)]):
        folded = fold(
            history(event(at(0)), ticks(at(0), at(3, 1)), *changes, ticks(at(3, 3), at(8)), policy=first),
            first,
            later,
            gone,
        )
        assert said(folded) == [(0, "send", [])]
