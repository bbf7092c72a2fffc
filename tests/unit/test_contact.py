"""Whom a rule may contact, when, and by what: each rule of a contact by its smallest log."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from pipeline.perks import SLOTS, slot_of
from pipeline.recall import draw_holdout
from pipeline.units import DAY, HOUR
from schemas import control
from tests.builders import (
    Entry,
    Folded,
    adopt,
    adopt_lease,
    at,
    event,
    fold,
    history,
    identify,
    log,
    milliseconds,
    played,
    resume,
    tick,
    ticks,
)

BASE = """
version: 1
mode: live
salt: test
lifecycle: {{at_risk: 1d, dormant: 2d}}
activation: {{event: Signed Up, within: 7d}}
consent:
  email: {{basis: opt_out, trait: email}}
  push: {{basis: opt_in, trait: push}}
perks: [{{id: ten-off, cost: 10, budget: 2560}}]
{top}
rules:
  - {{id: silent, when: {{silence: 2d}}, holdout: 0, expires_after: 3d, cooldown: 4d, goal: {{within: 4d}}{rule}}}
"""


def policy(rule: str = "", top: str = "") -> str:
    """A live rule after two days of silence; `rule` and `top` are more of its fields and of the policy's."""
    return BASE.format(rule=f", {rule}" if rule else "", top=top)


def hours(*entries: Entry | Sequence[Entry]) -> list[Entry]:
    """Entries as they came, each after the ticks of the hours before it."""
    flat = [e for entry in entries for e in ([entry] if isinstance(entry, Entry) else entry)]
    told, found = at(0), []
    for entry in flat:
        if not entry.headers:
            found += ticks(told + HOUR, entry.appended)
            told = max(told, entry.appended // HOUR * HOUR)
        else:
            told = max(told, entry.appended)
        found.append(entry)
    return found


def run(text: str, *entries: Entry | Sequence[Entry], extra: dict[str, bytes] | None = None) -> Folded:
    return fold(history(hours(*entries), policy=text), text, extra=extra)


def said(folded: Folded) -> list[tuple[int, str, list[str]]]:
    """(step, decision, reasons) of every decision."""
    return [(m["data"]["step"], m["data"]["decision"], m["data"]["reasons"]) for m in folded.messages("decisions")]


def sent_at(folded: Folded) -> list[int | None]:
    """When each trigger is to be sent, in hours after the beginning."""
    return [((milliseconds(m["time"]) or 0) - at(0)) // HOUR for m in folded.triggers]


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


# ---- budgets and ceilings


def lease(*amounts: int) -> tuple[Entry, dict[str, bytes]]:
    """A lease of so much for every slot, one after the other."""
    body = msgspec.json.encode(control.Lease({"ten-off": list(amounts) * (SLOTS // len(amounts))}))
    return adopt_lease(body), {f"lease/{sha256(body).hexdigest()}": body}


def test_a_slot_spends_its_lease_and_not_more() -> None:
    text = policy("perk: ten-off")
    users = [f"u{i}" for i in range(600)]
    events = [event(at(0), user) for user in users]
    adopted, body = lease(1000)
    folded = run(text, adopted, events, ticks(at(0), at(3)), extra=body)
    slots: dict[str, int] = {}
    for user, _, decision, reasons in folded.decisions:
        slots[slot_of(user)] = slots.get(slot_of(user), 0) + 1
        assert (decision, reasons) == (("send", []) if slots[slot_of(user)] == 1 else ("suppressed", ["budget_spent"]))
    spent = {dims[1]: cell for (name, dims), cell in folded.cells.items() if name == "perks"}
    assert spent == {slot: [1000, 1] for slot in slots}


def test_without_a_lease_nothing_is_spent() -> None:
    assert said(run(policy("perk: ten-off"), event(at(0)), ticks(at(0), at(3)))) == [
        (0, "suppressed", ["budget_spent"])
    ]


def test_a_perk_is_spent_by_whom_it_is_sent_to_only() -> None:
    text = policy("perk: ten-off").replace("holdout: 0,", "holdout: 0.999999,")
    adopted, body = lease(1000)
    folded = run(text, adopted, event(at(0)), ticks(at(0), at(3)), extra=body)
    assert said(folded) == [(0, "holdout", [])]
    assert not any(name == "perks" for name, _ in folded.cells)


def test_two_decisions_that_one_event_reveals_do_not_spend_the_same_money() -> None:
    rule = (
        "  - {{id: {}, kind: activate, when: {{not_activated: {}}}, holdout: 0, cooldown: 1h, goal: {{within: 1h}},"
        " perk: ten-off}}\n"
    )
    head = policy(top="time: {lateness: 1d}")
    two = head[: head.index("  - {id: silent")] + rule.format("hello", "2h") + rule.format("again", "4h")
    adopted, body = lease(1000)
    folded = fold(history(hours(adopted, event(at(0)), event(at(0, 10), id="later")), policy=two), two, extra=body)
    assert said(folded) == [(0, "send", []), (0, "suppressed", ["budget_spent"])]
    assert [cell for (name, _), cell in folded.cells.items() if name == "perks"] == [[1000, 1]]


def test_a_crossed_ceiling_pauses_the_rule_until_it_is_resumed() -> None:
    text = policy("ceiling: 2")
    users = [event(at(0), f"u{i}") for i in range(5)]
    folded = run(text, users, ticks(at(0), at(3)))
    assert [why for _, _, why in said(folded)] == [[], [], ["ceiling"], ["paused"], ["paused"]]
    assert folded.partition.position.paused == ["silent"]
    on = log(resume(), event(at(3, 1), "v"), ticks(at(3, 2), at(6)), start=folded.partition.offset)
    assert said(folded.feed(on))[-1] == (0, "send", [])


def test_the_ceiling_is_by_the_hour() -> None:
    text = policy("ceiling: 1")
    folded = run(text, event(at(0), "a"), event(at(0, 1), "b"), ticks(at(0, 1), at(3)))
    assert [decision for _, decision, _ in said(folded)] == ["send", "send"]


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


def test_switching_a_rule_on_sends_to_nobody_who_lapsed_before() -> None:
    records = log(
        played(),
        tick(at(0)),
        event(at(0)),
        ticks(at(1), at(20)),
        adopt(policy()),
        ticks(at(20), at(40)),
    )
    assert fold(records, policy()).decisions == []


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
