"""Segments and tiers: who is in, since when, what is said of it, and which rules that opens."""

from typing import Any

import pytest

from agents.cli.lines import describe
from pipeline.records import LogRecord
from schemas.control import CONTROL_KEY
from tests.builders import (
    Folded,
    adopt,
    at,
    event,
    fold,
    history,
    hold,
    identify,
    iso,
    log,
    now,
    order,
    played,
    release,
    tick,
    ticks,
)

SEGMENTS = """
version: 1
mode: live
salt: test
lifecycle: {at_risk: 14d, dormant: 30d}
consent: {email: {basis: opt_out, trait: email}}
source_guard: {dark_below: 0}
tiers:
  - {id: gold, where: {value_365d: {at_least: 100}}}
  - {id: silver, where: {orders: {at_least: 1}}}
segments:
  - {id: buyers, where: {orders: {at_least: 2}}}
  - {id: lapsed, where: {orders_90d: {below: 1}, orders: {at_least: 1}}}
  - {id: quiet, where: {silence_days: {at_least: 7, below: 10}}}
  - {id: quiet-gold, where: {tier: gold, silence_days: {at_least: 7}}}
  - {id: sleepers, where: {lifecycle: dormant}}
rules:
  - {id: thank, kind: grow, when: {segment: buyers}, holdout: 0, cooldown: 14d}
  - {id: miss, when: {segment: quiet}, holdout: 0, cooldown: 14d}
"""
NONE = "version: 1\nsource_guard: {dark_below: 0}"


def run(*entries: Any, policy: str | None = SEGMENTS) -> Folded:
    """A played history; time comes to every event before it does."""
    flat = [e for some in entries for e in (some if isinstance(some, list) else [some])]
    timed = [e for entry in flat for e in ((tick(entry.appended), entry) if entry.key != CONTROL_KEY else (entry,))]
    return fold(history(timed, policy=policy), *filter(None, (policy, SEGMENTS, NONE)))


def said(folded: Folded, user: str = "ann") -> list[tuple[str, str, str]]:
    """(change, segment or tier, time)."""
    found = [m for m in folded.messages("segments") if m["subject"] == user]
    return [(m["data"]["change"], m["data"]["segment"], m["time"]) for m in found]


def sum_of(folded: Folded) -> dict[tuple[Any, ...], int]:
    return {dims: cell[0] for (name, dims), cell in folded.cells.items() if name == "segments"}


def time(days: float, hours: float = 0) -> str:
    return iso(at(days, hours)).replace("+00:00", "Z")


def before(days: float, hours: float = 0) -> str:
    """A ms before."""
    return iso(at(days, hours) - 1).replace("+00:00", "Z")


def test_an_activity_enters_and_leaves_at_its_own_time() -> None:
    folded = run(order(at(0), revenue=60), order(at(1), revenue=60), tick(at(2)))
    assert said(folded) == [
        ("enter", "silver", time(0)),
        ("leave", "silver", time(1)),
        ("enter", "gold", time(1)),
        ("enter", "buyers", time(1)),
    ]
    groups = folded.users["ann"].groups
    assert groups is not None
    assert ([m.segment for m in groups.segments], groups.tier, groups.tier_since) == (["buyers"], "gold", at(1))
    assert sum_of(folded) == {("tier", "gold"): 1, ("segment", "buyers"): 1}


def test_silence_enters_and_leaves_at_its_deadline_once_each_however_late_it_is_seen() -> None:
    expected = [("enter", "quiet", time(7)), ("leave", "quiet", time(10)), ("enter", "sleepers", time(30))]
    assert said(run(event(at(0)), ticks(at(0), at(40)))) == expected
    assert said(run(event(at(0)), tick(at(40)))) == expected
    assert said(run(event(at(0)), event(at(40)), tick(at(40)))) == [*expected, ("leave", "sleepers", time(40))]


def test_tiers_come_before_segments_and_the_first_that_holds_wins() -> None:
    folded = run(order(at(0), revenue=100), tick(at(400)))
    assert said(folded) == [
        ("enter", "gold", time(0)),
        ("enter", "quiet", time(7)),
        ("enter", "quiet-gold", time(7)),
        ("leave", "quiet", time(10)),
        ("enter", "sleepers", time(30)),
        ("enter", "lapsed", time(90)),
        ("leave", "gold", time(365)),
        ("enter", "silver", time(365)),
        ("leave", "quiet-gold", time(365)),
    ]


def test_a_message_explains_itself_in_the_policy_s_units() -> None:
    folded = run(order(at(0), revenue=100.5), tick(at(8)))
    gold = folded.messages("segments")[0]
    assert gold["type"] == "rekindle.segment.v1"
    assert gold["data"]["explain"] == [
        {"feature": "value_365d", "value": 100.5, "threshold": "at_least 100.0", "passed": True, "contribution": None}
    ]
    quiet = folded.messages("segments")[1]
    assert [(g["value"], g["threshold"], g["passed"]) for g in quiet["data"]["explain"]] == [
        (7.0, "at_least 7.0, below 10.0", True)
    ]
    assert (quiet["data"]["since"], quiet["data"]["tier"]) == (time(7), "gold")


def test_every_change_has_an_id_of_its_own_and_the_same_one_anew() -> None:
    entries = [order(at(0), revenue=60), order(at(1), revenue=60), event(at(20)), event(at(40)), tick(at(60))]
    ids = [m["id"] for m in run(*entries).messages("segments")]
    assert len(set(ids)) == len(ids) == len(said(run(*entries)))
    assert ids == [m["id"] for m in run(*entries, tick(at(61))).messages("segments")][: len(ids)]


def test_entering_by_an_activity_makes_its_rules_due_then() -> None:
    folded = run(order(at(0)), order(at(1, 2)), tick(at(1, 5)))
    [trigger] = folded.triggers
    assert (trigger["data"]["rule_id"], trigger["time"]) == ("thank", time(1, 2))


def test_entering_by_silence_makes_its_rules_due_then() -> None:
    folded = run(event(at(0)), ticks(at(0), at(8)))
    [trigger] = folded.triggers
    assert (trigger["data"]["rule_id"], trigger["time"]) == ("miss", time(7))


def test_who_comes_back_in_the_hour_in_which_they_enter_is_not_recalled() -> None:
    folded = run(event(at(0)), tick(at(7)), event(at(7, 0.5)), tick(at(8)))
    assert said(folded)[:2] == [("enter", "quiet", time(7)), ("leave", "quiet", time(7, 0.5))]
    assert folded.triggers == []
    assert [(rule, verdict) for _, rule, verdict, _ in folded.decisions] == [("miss", "returned")]


def test_an_adoption_establishes_what_holds_and_opens_nothing() -> None:
    folded = run(
        order(at(0)), order(at(1)), event(at(9), "bob"), tick(at(10)), adopt(SEGMENTS), tick(at(12)), policy=None
    )
    moment = before(9, 23)  # the clock at the adoption: an hour of lateness
    assert said(folded) == [
        ("enter", "silver", moment),
        ("enter", "buyers", moment),
        ("enter", "quiet", moment),
        ("leave", "quiet", time(11)),
    ]
    assert folded.decisions == []
    assert sum_of(folded) == {("tier", "silver"): 1, ("segment", "buyers"): 1}


def test_a_live_adoption_is_that_of_its_append_time() -> None:
    records = log(order(at(0)), order(at(1)), now(at(3)), adopt(SEGMENTS, at(3, 0.5)), now(at(4)), now(at(6)))
    folded = fold(records, SEGMENTS)
    assert said(folded)[0][:2] == ("enter", "silver")
    assert time(2, 12) < said(folded)[0][2] < time(3, 0.5)
    assert folded.decisions == []


def test_a_policy_without_a_segment_lets_its_users_leave() -> None:
    folded = run(order(at(0)), order(at(1)), tick(at(2)), adopt(NONE), tick(at(3)))
    assert said(folded)[-2:] == [("leave", "silver", before(1, 23)), ("leave", "buyers", before(1, 23))]
    assert folded.messages("segments")[-1]["data"]["explain"] == []
    assert sum_of(folded) == {}


def test_history_is_looked_at_once_when_it_is_over_and_opens_nothing() -> None:
    past = [order(at(days), revenue=60, backfill=True) for days in (0, 100, 101)]
    folded = run(tick(at(150)), past, tick(at(151)))
    moment = before(149, 23)
    assert said(folded) == [
        ("enter", "gold", moment),
        ("enter", "buyers", moment),
        ("enter", "quiet-gold", moment),
        ("enter", "sleepers", moment),
    ]
    assert folded.decisions == []
    assert said(run(tick(at(150)), past, tick(at(250))))[4:] == [("enter", "lapsed", time(191))]


def test_history_of_before_the_first_tick_opens_nothing() -> None:
    past = [order(at(days), backfill=True) for days in (0, 1, 2)]
    folded = fold(log(played(), adopt(SEGMENTS), past, tick(at(3)), tick(at(4))), SEGMENTS)
    assert folded.decisions == []


def test_a_late_activity_changes_memberships_and_opens_nothing() -> None:
    folded = run(order(at(0)), tick(at(3)), order(at(1)), tick(at(4)))
    assert said(folded)[1:] == [("enter", "buyers", before(2, 23))]
    assert folded.decisions == []


def test_what_is_no_activity_is_seen_at_the_next_look() -> None:
    policy = SEGMENTS.replace("sleepers, where: {lifecycle: dormant}", "german, where: {locale: de}")
    folded = run(event(at(0)), identify(at(1), active=False, locale="de"), ticks(at(1), at(8)), policy=policy)
    assert said(folded) == [("enter", "quiet", time(7)), ("enter", "german", time(7))]


def test_dark_hours_are_no_silence() -> None:
    folded = run(event(at(0)), ticks(at(0), at(1)), hold(), ticks(at(1, 1), at(3)), release(), ticks(at(3), at(12)))
    [entered, *_] = said(folded)
    assert entered == ("enter", "quiet", time(9))  # 48 h were held


def test_whoever_is_erased_leaves_in_silence() -> None:
    folded = run(order(at(0)), order(at(1)), event(at(2), kind="delete"), tick(at(3)))
    assert [change for change, _, _ in said(folded)] == ["enter", "enter"]
    assert sum_of(folded) == {}


def test_visitors_are_in_no_segment() -> None:
    policy = "version: 1\nsegments: [{id: young, where: {age_days: {below: 3}}}]"
    folded = run(event(at(0), None, anonymous="v"), event(at(0), "ann"), tick(at(20)), policy=policy)
    assert {m["subject"] for m in folded.messages("segments")} == {"ann"}


def test_without_segments_nothing_is_kept_and_nobody_is_woken_for_them() -> None:
    folded = run(order(at(0)), ticks(at(0), at(20)), policy=NONE)
    assert folded.users["ann"].groups is None
    assert folded.counts["woken"] == run(order(at(0)), ticks(at(0), at(20)), policy=None).counts["woken"]


def test_nobody_is_woken_oftener_than_something_changes() -> None:
    woken = run(event(at(0)), ticks(at(0), at(60))).counts["woken"]
    assert woken == len(("quiet and 7 days", "quiet no more", "at risk", "dormant", "goal window"))


@pytest.mark.parametrize("dark", [0, 30])
def test_a_window_of_days_ends_at_the_calendar_s_midnight(dark: int) -> None:
    ends = [hold(), *ticks(at(10), at(10, dark)), release()] if dark else []
    folded = run(order(at(0, 5)), ticks(at(0, 5), at(10)), ends, ticks(at(10, dark), at(92)))
    assert ("enter", "lapsed", time(90)) in said(folded)


def test_an_entering_is_one_line_with_its_reason() -> None:
    [first, *_, last] = run(order(at(0), revenue=100), ticks(at(0), at(11))).outputs["segments"]
    lines = [describe("segments", LogRecord(0, 0, o.key, o.value, o.headers)) for o in (first, last)]
    assert lines == [
        "2024-01-01 00:00  ann  enters the tier gold: value_365d 100 (at_least 100.0)",
        "2024-01-11 00:00  ann  leaves quiet: silence_days 10 (at_least 7.0, below 10.0)",
    ]


def test_history_that_comes_in_the_hour_that_closes_next_is_looked_at_with_it() -> None:
    past = event(at(0, -3), backfill=True, appended=at(0))
    folded = fold(log(adopt(SEGMENTS, at(0)), now(at(0)), past, now(at(0, 6))), SEGMENTS)
    assert folded.users["ann"].epoch == folded.partition.position.epoch
    groups = [order(at(0, -3), backfill=True, appended=at(0)), now(at(0, 6))]
    assert said(fold(log(adopt(SEGMENTS, at(0)), now(at(0)), *groups), SEGMENTS)) == [("enter", "silver", before(0))]


def test_an_activity_at_the_very_moment_of_a_look_is_evaluated_as_a_whole() -> None:
    policy = SEGMENTS.replace(
        "quiet, where: {silence_days: {at_least: 7, below: 10}}", "young, where: {age_days: {below: 3}}"
    )
    policy = policy.replace("segment: quiet", "segment: young")
    folded = run(event(at(0)), tick(at(3)), event(at(3)), tick(at(4)), policy=policy)
    assert said(folded) == [("enter", "young", time(0)), ("leave", "young", time(3))]
