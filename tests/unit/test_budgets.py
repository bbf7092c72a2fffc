"""What may be spent and how much be sent in an hour: each rule of budgets and ceilings by its smallest log."""

from hashlib import sha256

import msgspec

from pipeline.perks import SLOTS, slot_of
from schemas import control
from tests.builders import (
    Entry,
    adopt_lease,
    at,
    event,
    fold,
    history,
    log,
    resume,
    ticks,
)
from tests.unit.contacting import hours, policy, run, said


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
