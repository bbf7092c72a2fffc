"""Whom a rule may contact, when, and by what: each rule of a contact by its smallest log."""

from typing import Any

import pytest

from pipeline.recall import draw_holdout
from pipeline.units import DAY
from tests.builders import (
    adopt,
    at,
    event,
    fold,
    history,
    identify,
    ticks,
)
from tests.unit.contacting import hours, policy, run, said, sent_at

# ---- consent


@pytest.mark.parametrize(
    ("traits", "decision", "channel"),
    [
        ({}, "send", "email"),
        ({"consent": {"email": False}}, "suppressed", "email"),
        ({"consent": {"email": False, "push": True}}, "send", "push"),
        ({"consent": {"push": True}}, "send", "email"),
    ],
)
def test_the_fallback_is_used_where_the_channel_may_not_be(traits: dict[str, Any], decision: str, channel: str) -> None:
    text = policy("fallback: push")
    folded = run(text, event(at(0)), identify(at(0, 1), active=False, **traits), ticks(at(0), at(3)))
    (message,) = folded.messages("decisions")
    assert (message["data"]["decision"], message["data"]["channel"]) == (decision, channel)


def test_who_has_not_opted_in_is_not_sent_to() -> None:
    text = policy("channel: push")
    assert said(run(text, event(at(0)), ticks(at(0), at(3)))) == [(0, "suppressed", ["no_consent"])]
    asked = identify(at(0, 1), active=False, consent={"push": True})
    assert said(run(text, event(at(0)), asked, ticks(at(0), at(3)))) == [(0, "send", [])]


# ---- what waits


def test_quiet_hours_postpone_to_their_end_on_the_users_clock() -> None:
    text = policy(top='quiet_hours: {from: "21:00", to: "08:00", timezone: UTC}')
    woken = run(text, event(at(0, 23)), ticks(at(1), at(4)))
    assert sent_at(woken) == [2 * 24 + 24 + 8]
    (trigger,) = woken.triggers
    assert trigger["data"]["episode"]["entered_at"] == "2024-01-03T23:00:00.000Z"
    assert trigger["data"]["expires_at"] == "2024-01-06T23:00:00.000Z"
    there = identify(at(0, 23), timezone="America/New_York")
    assert sent_at(run(text, there, ticks(at(1), at(4)))) == [2 * 24 + 23]


def test_who_comes_back_while_it_waits_is_returned() -> None:
    text = policy(top='quiet_hours: {from: "21:00", to: "08:00", timezone: UTC}')
    folded = run(text, event(at(0, 23)), ticks(at(1), at(3, 3)), event(at(3, 3)), ticks(at(3, 4), at(4)))
    assert said(folded) == [(0, "returned", ["quiet_hours", "returned"])]
    assert folded.users["ann"].recall is not None
    assert folded.users["ann"].recall.pending == []


def test_what_cannot_be_sent_before_it_expires_is_suppressed_once_with_all_reasons() -> None:
    text = policy(top="caps: {per_week: 1}").replace("cooldown: 4d", "cooldown: 4d, priority: 1")
    folded = run(text, event(at(0)), ticks(at(0), at(3)), event(at(3)), ticks(at(3), at(12)))
    assert said(folded) == [(0, "send", []), (0, "suppressed", ["cooldown", "cap_week", "expired"])]
    assert folded.messages("decisions")[-1]["time"] == "2024-01-09T00:00:00.000Z"  # three days after the deadline
    late = policy(top="caps: {per_week: 1}").replace("expires_after: 3d", "expires_after: 5d")
    folded = run(late, event(at(0)), ticks(at(0), at(4)), event(at(4)), ticks(at(4), at(12)))
    assert said(folded) == [(0, "send", []), (0, "send", [])]
    assert sent_at(folded) == [48, 48 + 7 * 24]


def test_a_failed_message_gives_its_place_under_the_cap_back() -> None:
    text = policy(top="caps: {channels: {email: {per_week: 1}}}")
    first = run(text, event(at(0)), ticks(at(0), at(2, 4)))
    report = {"trigger_id": first.triggers[0]["id"]}
    failed = event(at(2, 5), name="Message Failed", properties=report)
    sent = event(at(2, 5), name="Message Sent", properties=report)
    for entry, expected in ((failed, [(0, "send", [])] * 2), (sent, [(0, "send", [])])):
        folded = run(
            text, event(at(0)), ticks(at(0), at(2, 4)), entry, ticks(at(2, 5), at(5)), event(at(5)), ticks(at(5), at(8))
        )
        assert said(folded) == expected


def test_a_bounce_closes_the_channel_and_a_click_opens_it() -> None:
    first = run(policy(), event(at(0)), ticks(at(0), at(2, 4)))
    report = {"trigger_id": first.triggers[0]["id"]}
    bounced = event(at(2, 5), name="Email Bounced", properties=report)
    clicked = event(at(2, 6), name="Email Link Clicked", properties=report)
    before = [event(at(0)), *ticks(at(0), at(2, 4)), bounced]
    assert said(run(policy(), before, event(at(5)), ticks(at(5), at(8)))) == [
        (0, "send", []),
        (0, "suppressed", ["unreachable"]),
    ]
    assert said(run(policy(), before, clicked, event(at(5)), ticks(at(5), at(8))))[-1] == (0, "send", [])


def test_what_was_reported_is_counted_once_a_message() -> None:
    first = run(policy(), event(at(0)), ticks(at(0), at(2, 4)))
    report = {"trigger_id": first.triggers[0]["id"]}
    told = [event(at(2, 4, i), name="Email Delivered", properties=report, id=f"m{i}") for i in range(1, 4)]
    folded = run(policy(), event(at(0)), ticks(at(0), at(2, 4)), told)
    cell = folded.cells["outcomes", (at(2) // DAY, "silent", "0/test", "treatment")]
    assert cell == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_what_waits_is_not_due_again_by_a_changed_policy() -> None:
    early = policy(top='quiet_hours: {from: "01:00", to: "00:00", timezone: UTC}')
    later = early.replace("silence: 2d", "silence: 51h")
    entries = [event(at(0, 1)), *ticks(at(0, 2), at(2, 3)), adopt(later), *ticks(at(2, 4), at(4))]
    folded = fold(history(entries, policy=early), early, later)
    assert said(folded) == [(0, "send", [])]


def test_two_entries_that_wait_are_both_decided() -> None:
    text = policy(
        top="channels: [{name: letters, source: letter}]\nsegments: [{id: readers, where: {last_channel: letters}}]"
    ).replace("when: {silence: 2d}", "kind: grow, when: {segment: readers}")
    visits = [event(at(0, hour), source=source) for hour, source in enumerate(("letter", "google") * 2 + ("letter",))]
    folded = run(text, visits, ticks(at(0, 4), at(4)))
    assert said(folded) == [(0, "send", []), *[(0, "suppressed", ["cooldown", "expired"])] * 2]
    assert len({m["id"] for m in folded.messages("decisions")}) == 3


# ---- steps


def test_steps_follow_one_another_while_the_user_stays_away() -> None:
    text = policy("steps: [{after: 1d, template: second}, {after: 1d, template: third}]")
    folded = run(text, event(at(0)), ticks(at(0), at(6)))
    assert [(m["data"]["step"], m["data"]["template_id"]) for m in folded.triggers] == [
        (0, "silent"),
        (1, "second"),
        (2, "third"),
    ]
    assert sent_at(folded) == [48, 72, 96]
    assert len({m["id"] for m in folded.triggers}) == 3
    unpaid = text.replace("goal: {within: 4d}", "goal: {event: Paid, within: 4d}")
    for goal in (text, unpaid):
        back = run(goal, event(at(0)), ticks(at(0), at(3, 12)), event(at(3, 12)), ticks(at(3, 13), at(5)))
        assert [step for step, _, _ in said(back)] == [0, 1]


def test_a_suppressed_first_message_has_no_second() -> None:
    text = policy("steps: [{after: 1d}]").replace(
        "cooldown: 4d, goal: {within: 4d}", "cooldown: 9d, goal: {event: Paid, within: 9d}"
    )
    folded = run(text, event(at(0)), ticks(at(0), at(2, 3)), event(at(2, 3)), ticks(at(2, 4), at(10)))
    assert said(folded) == [(0, "send", []), (0, "suppressed", ["cooldown", "expired"])]


def test_each_step_passes_the_gates_anew() -> None:
    text = policy("steps: [{after: 1d, channel: push}, {after: 1d}]")
    folded = run(text, event(at(0)), ticks(at(0), at(6)))
    assert said(folded) == [(0, "send", []), (1, "suppressed", ["no_consent"]), (2, "send", [])]


def test_a_holdouts_steps_are_held_out_and_measured_once() -> None:
    text = policy("steps: [{after: 1d}]").replace("holdout: 0,", "holdout: 0.999999,")
    folded = run(text, event(at(0)), ticks(at(0), at(8)))
    assert [decision for _, decision, _ in said(folded)] == ["holdout", "holdout"]
    assert folded.triggers == []
    assert len(folded.outcomes) == 1


# ---- arms


def test_the_global_holdout_is_held_out_by_every_rule_and_measured_over_all() -> None:
    text = policy(top="holdout: 0.5")
    users = [f"u{i}" for i in range(40)]
    folded = run(text, [event(at(0), user) for user in users], ticks(at(0), at(7)))
    withheld = {user for user in users if draw_holdout("test", user, "*", 0.5)}
    decided = {user: (decision, reasons) for user, _, decision, reasons in folded.decisions}
    assert {user for user in users if decided[user] == ("holdout", ["global_holdout"])} == withheld
    assert 0 < len(withheld) < 40
    day = at(2) // DAY
    assert folded.cells["outcomes", (day, "*", "0.5/test", "holdout")][0] == len(withheld)
    assert folded.cells["outcomes", (day, "*", "0.5/test", "treatment")][0] == 40 - len(withheld)


def test_a_changed_share_starts_a_new_stratum() -> None:
    other = policy().replace("holdout: 0,", "holdout: 0.1,")
    entries = hours(event(at(0)), ticks(at(0), at(3)), adopt(other, at(3)), event(at(7), "bob"), ticks(at(7), at(10)))
    folded = fold(history(entries, policy=policy()), policy(), other)
    assert {dims[2] for (name, dims) in folded.cells if name == "outcomes"} == {"0/test", "0.1/test"}
