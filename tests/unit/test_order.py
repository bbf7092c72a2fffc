"""Each rule of the order of things, by its smallest log: within a record, over a restart, over a cut."""

from itertools import pairwise

import pytest

from pipeline import partition as core
from pipeline.lifecycle import AT_RISK
from pipeline.partition import Partition
from pipeline.sums.channels import ORDERS
from pipeline.units import DAY
from tests.builders import (
    POLICY,
    Entry,
    at,
    event,
    fold,
    history,
    hold,
    log,
    order,
    registry,
    tick,
    ticks,
)
from tests.unit.folding import after, live, restarted, verdicts

# ---- the order of a record's effects: advance, fire, settle, apply


def test_what_the_clock_makes_due_is_decided_before_the_event() -> None:
    assert verdicts(fold(live(event(at(0)), event(at(31))))) == ["send"]


def test_what_the_clock_has_not_reached_is_a_return() -> None:
    folded = fold(history(event(at(0)), tick(at(30)), event(at(30, minutes=30))))
    assert folded.decisions == [("ann", "silent", "returned", ["returned"])]
    assert folded.triggers == []


def test_due_users_are_woken_by_hour_and_key() -> None:
    users = [event(at(0, minutes=59 - n), f"user-{n * 7 % 10}") for n in range(10)]
    folded = fold(history(*users, event(at(0, 1), "a"), ticks(at(30), at(31))))
    assert [user for user, *_ in folded.decisions] == [f"user-{n}" for n in range(10)] + ["a"]


def test_an_event_that_brings_a_deadline_forward_is_noticed() -> None:
    folded = fold(history(event(at(0)), event(at(10), "bob"), tick(at(15)), event(at(15, 2)), tick(at(29, 5))))
    assert folded.users["ann"].stage == AT_RISK


def test_late_events_do_not_turn_the_clock_back() -> None:
    folded = fold(history(tick(at(9)), event(at(8))))
    assert folded.partition.position.horizon == at(9)
    assert folded.counts["late"] == 1


# ---- restarts and cuts


def test_a_hold_survives_a_restart() -> None:
    folded = restarted(fold(history(event(at(0)), hold(), tick(at(9)))))
    assert after(folded, tick(at(40))).decisions == []


def test_a_restart_remembers_place_sums_and_deadlines() -> None:
    folded = restarted(fold(history(order(at(0)))))
    assert folded.partition.offset == 4
    after(folded, order(at(0, 1)), tick(at(31)))
    assert folded.cells["channels", (at(0) // DAY, "direct")][ORDERS] == 2
    assert verdicts(folded) == ["send"]


def test_records_that_were_folded_are_passed_over() -> None:
    records = history(order(at(0)))
    folded = restarted(fold(records)).feed(records)
    assert folded.counts["read"] == 1


def _crowd(size: int) -> list[Entry]:
    return [event(at(0), f"user-{n}") for n in range(size)]


def test_a_sweep_pauses_and_a_restart_in_it_wakes_nobody_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_PAUSE_WAKES", 50)
    folded = fold(history(_crowd(120)))
    records = log(tick(at(31)), start=folded.partition.offset)
    sweep = folded.partition.fold(records)
    next(sweep)
    folded.take(folded.partition.commit())
    first = len(folded.outputs.get("decisions", []))
    again = restarted(folded).feed(records)
    triggers = [trigger["id"] for trigger in again.triggers]
    assert first < 120
    assert len(triggers) == len(set(triggers)) == 120
    whole = fold(history(_crowd(120), tick(at(31))))
    assert again.table == whole.table


def test_a_sweep_that_was_given_up_wakes_everyone_when_its_record_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a rebalance that leaves the partition where it is: the same core folds the record once more."""
    monkeypatch.setattr(core, "_PAUSE_WAKES", 50)
    folded = fold(history(_crowd(120)))
    records = log(tick(at(31)), start=folded.partition.offset)
    given_up = folded.partition.fold(records)
    for _ in range(2):
        next(given_up)
        folded.take(folded.partition.commit())
    folded.feed(records)
    assert folded.table == fold(history(_crowd(120), tick(at(31)))).table
    assert len(folded.triggers) == 120


@pytest.mark.parametrize("hours", [1, 30])
def test_a_sweep_is_cut_into_slices(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """Also one over many hours in each of which few are due."""
    monkeypatch.setattr(core, "_PAUSE_WAKES", 50)
    crowd = [event(at(0, n * hours // 120), f"user-{n}") for n in range(120)]
    folded = fold(history(tick(at(2)), crowd))
    partition = folded.partition
    pauses = partition.fold(log(tick(at(31)), start=partition.offset))
    woken = [0, *(partition.position.counts.woken for _ in pauses), partition.position.counts.woken]
    assert max(b - a for a, b in pairwise(woken)) <= 50 < woken[-1]


def test_a_long_chunk_is_cut_into_slices() -> None:
    partition = Partition(0, 1, registry(POLICY))
    places = [partition.offset for _ in partition.fold(history(_crowd(9_000)))]
    assert max(b - a for a, b in pairwise(places)) <= 2_000
