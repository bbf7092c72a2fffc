"""Each safety rule of the fold by its smallest log. `tests/mutants.py` takes the rules away, one by one."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest

from pipeline import partition as core
from pipeline.case import trigger_id
from pipeline.lifecycle import AT_RISK, DORMANT
from pipeline.partition import Partition
from pipeline.records import CoreError, LogRecord, MissingBody, UnknownVersion
from pipeline.risk import Recency
from pipeline.state import FIRST_EPOCH
from pipeline.sums.channels import ORDERS
from pipeline.units import DAY
from schemas.codec import encode_json
from schemas.control import CONTROL_HEADER, CONTROL_KEY, Adopt, Skip
from schemas.partitioner import partition_of
from tests.builders import (
    POLICY,
    Entry,
    Folded,
    _control,
    adopt,
    adopt_core,
    at,
    digest,
    event,
    fold,
    history,
    hold,
    identify,
    log,
    milliseconds,
    models,
    now,
    order,
    pause,
    played,
    registry,
    release,
    resume,
    tick,
    ticks,
)

TWO = POLICY.replace(
    "goal: {within: 7d}", "goal: {within: 7d}\n  - {id: later, when: {silence: 31d}, goal: {within: 7d}}"
)
SHORT = POLICY.replace("30d", "20d").replace("salt: test", "salt: short")
SOON = POLICY.replace("30d", "5d").replace("salt: test", "salt: soon")
GUARDED = POLICY.replace("rules:", "source_guard: {min_expected: 2, dark_below: 0.5}\nrules:")
QUICK = POLICY.replace("silence: 30d", "silence: 2d").replace("rules:", "lifecycle: {at_risk: 1d, dormant: 2d}\nrules:")


def live(*entries: Entry | Sequence[Entry]) -> list[LogRecord]:
    """A live log that adopts POLICY at its beginning."""
    return log(now(at(0)), adopt(appended=at(0)), *entries)


def restarted(folded: Folded, *policies: str) -> Folded:
    """Another worker takes over what was committed."""
    partition = Partition(0, 1, registry(*(policies or (POLICY,))))
    partition.restore(list(folded.table.items()))
    return Folded(partition, folded.changelog, folded.outputs)


def verdicts(folded: Folded) -> list[str]:
    return [verdict for _, _, verdict, _ in folded.decisions]


def after(folded: Folded, *entries: Entry | Sequence[Entry]) -> Folded:
    """The log goes on."""
    return folded.feed(log(*entries, start=folded.partition.offset))


# ---- duplicates


def test_a_repeated_message_has_one_effect() -> None:
    once = order(at(0))
    folded = fold(history(once, once))
    assert folded.counts["duplicate"] == 1
    assert folded.cells["channels", (at(0) // DAY, "direct")][ORDERS] == 1


def test_a_repeated_message_has_one_effect_after_a_restart() -> None:
    once = order(at(0))
    assert after(restarted(fold(history(once))), once).counts["duplicate"] == 1


def test_a_duplicate_does_not_move_the_clock() -> None:
    folded = fold(history(event(at(0), id="m"), tick(at(5)), event(at(5, 1), id="m")))
    assert folded.partition.position.horizon == at(5)


# ---- what is refused


def test_one_bad_record_costs_one_dead_letter_and_nothing_else() -> None:
    bad = [Entry(b"ann", b'{"messageId"'), Entry(b"ann", None), Entry(b"ann", b'{"messageId":1}'), Entry(None, b"{}")]
    folded = fold(history(*bad, event(at(0, 1))))
    reasons = ["malformed_json", "tombstone", "wrong_type", "null_key"]
    assert folded.deadletters == list(enumerate(reasons, start=3))
    assert (folded.counts["read"], folded.counts["applied"], folded.counts["rejected"]) == (5, 1, 4)


def test_a_time_in_the_future_never_moves_the_clock() -> None:
    folded = fold(live(event(at(400), appended=at(1))))
    assert folded.deadletters == [(2, "time_in_future")]
    assert folded.partition.position.horizon == at(0)


def test_without_a_tick_played_time_has_not_begun() -> None:
    assert fold(log(played(), event(at(400)))).deadletters == [(1, "time_in_future")]


def test_the_key_is_the_user() -> None:
    assert fold(history(event(at(0), "ann", key=b"bob"))).deadletters == [(3, "key_mismatch")]


def test_a_user_is_on_one_partition_only() -> None:
    elsewhere = 1 - partition_of(b"ann", 2)
    assert fold(history(event(at(0))), number=elsewhere, count=2).deadletters == [(3, "wrong_partition")]


def test_what_is_a_week_late_is_refused_but_not_its_withdrawals() -> None:
    profile = identify(at(20), consent={"email": True})
    folded = fold(history(tick(at(20)), profile, event(at(1)), identify(at(1), consent={"email": False})))
    assert folded.deadletters == [(5, "too_late")]
    assert folded.users["ann"].profile is not None
    assert folded.users["ann"].profile.consent == {"email": False}


@pytest.mark.parametrize(
    "forged",
    [
        Entry(CONTROL_KEY, b'{"type":"tick"}', (), at(0)),
        Entry(b"ann", b'{"type":"tick"}', [(CONTROL_HEADER, b"tick")], at(0)),
        event(at(0))._replace(headers=[(CONTROL_HEADER, b"tick")]),
        tick(at(400))._replace(appended=at(0)),
    ],
)
def test_nobody_speaks_as_rekindle(forged: Entry) -> None:
    folded = fold(live(forged, event(at(0, 1))))
    assert folded.deadletters == [(2, "forged_control")]
    assert folded.partition.position.horizon == at(0, 1)


def test_only_the_first_record_declares_the_time_domain() -> None:
    assert fold(live(played(), event(at(0)))).deadletters == [(2, "bad_control")]


# ---- what the core fails on


def _fails(*_: Any) -> Any:
    raise ZeroDivisionError


def test_a_bug_in_the_core_stops_it_and_nothing_of_the_record_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    folded = fold(history())
    monkeypatch.setattr(core, "step", _fails)
    with pytest.raises(CoreError) as failure:
        after(folded, event(at(0)))
    assert failure.value.offset == folded.partition.offset == 3
    with pytest.raises(CoreError):
        folded.partition.commit()


def test_a_record_that_the_core_fails_on_can_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "step", _fails)
    folded = fold(history(event(at(0))), extra={"skip/0/3": encode_json(Skip(0, 3, "a bug"))})
    assert folded.deadletters == [(3, "skipped")]
    assert folded.counts["skipped"] == 1


def test_a_control_message_that_the_core_fails_on_can_be_skipped() -> None:
    folded = fold(history(tick(at(9))), extra={"skip/0/3": encode_json(Skip(0, 3, "a bug"))})
    assert folded.partition.position.horizon == at(0)


def test_a_policy_that_is_not_there_yet_is_waited_for() -> None:
    partition = Partition(0, 1, {})
    with pytest.raises(MissingBody):
        list(partition.fold(history()))
    assert partition.offset == 2


def test_of_what_is_adopted_at_once_all_is_there_or_nothing_is_done() -> None:
    model, policy = Recency(DAY, 0.0, 0.0, 1.0).to_json(), digest(POLICY)
    known = models(model)
    partition = Partition(0, 1, known)
    both = _control(Adopt(policy=policy, model=sha256(model).hexdigest()))
    with pytest.raises(MissingBody):
        list(partition.fold(log(both)))
    before = partition.position.epoch
    known[f"policy/{policy}"] = POLICY.encode()
    list(partition.fold(log(both)))
    assert partition.position.epoch == before + 2
    assert before == FIRST_EPOCH


def test_a_newer_core_and_newer_rows_are_refused() -> None:
    with pytest.raises(UnknownVersion, match="core"):
        fold(history(adopt_core(99)))
    folded = fold(history())
    folded.partition.position.version = 99
    folded.partition._moved = True
    folded.take(folded.partition.commit())
    with pytest.raises(UnknownVersion, match="state"):
        restarted(folded)


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


# ---- when nothing is sent


def test_what_is_revealed_after_its_expiry_is_stale() -> None:
    folded = fold(history(event(at(0)), tick(at(34))))
    assert folded.decisions == [("ann", "silent", "stale", ["expired"])]


def test_a_late_event_opens_no_episode() -> None:
    folded = fold(history(tick(at(9)), event(at(4)), ticks(at(9), at(11)), policy=QUICK), QUICK)
    assert folded.counts["late"] == 1
    assert folded.decisions == []


def test_backfill_never_sends_and_never_moves_the_clock() -> None:
    folded = fold(live(event(at(9), backfill=True)))
    assert folded.partition.position.horizon == at(0)
    folded = fold(history(tick(at(40)), event(at(9), backfill=True), ticks(at(40), at(41))))
    assert folded.counts["backfilled"] == 1
    assert folded.decisions == []


def test_what_history_runs_past_is_nobodys_return() -> None:
    folded = fold(history(event(at(0)), tick(at(30)), event(at(30, minutes=30), backfill=True)))
    assert folded.counts["backfilled"] == 1
    assert folded.decisions == []


def test_live_backfill_opens_nothing_before_it_was_sent() -> None:
    folded = fold(live(event(at(2), backfill=True, appended=at(40)), now(at(33))))
    assert folded.decisions == []


def test_an_adoption_opens_no_backlog() -> None:
    records = log(played(), tick(at(0)), event(at(0)), tick(at(21)), adopt(SHORT), ticks(at(21), at(33)))
    assert fold(records, SHORT).decisions == []


def test_a_live_adoption_that_is_read_late_opens_no_backlog() -> None:
    records = log(now(at(0)), event(at(0)), now(at(1)), adopt(appended=at(32)), now(at(32)))
    assert fold(records).decisions == []


def test_the_adopted_policy_decides_from_then_on() -> None:
    records = history(event(at(0)), tick(at(1)), adopt(SOON), tick(at(6)))
    assert verdicts(fold(records, POLICY, SOON)) == ["send"]


def test_the_adopted_policy_decides_after_a_restart() -> None:
    folded = fold(history(event(at(0)), tick(at(1)), adopt(SOON)), POLICY, SOON)
    assert verdicts(after(restarted(folded, POLICY, SOON), tick(at(6)))) == ["send"]


def test_an_episode_belongs_to_the_first_rule_that_took_it() -> None:
    folded = fold(history(event(at(0)), ticks(at(30), at(33)), policy=TWO), TWO)
    assert folded.decisions == [
        ("ann", "silent", "send", []),
        ("ann", "later", "episode_taken", ["episode_taken", "cooldown"]),
    ]


def test_a_suppressed_decision_takes_the_episode_too() -> None:
    folded = fold(
        history(pause(), event(at(0)), ticks(at(30), at(31)), resume(), ticks(at(31), at(33)), policy=TWO), TWO
    )
    assert verdicts(folded) == ["suppressed", "episode_taken"]


def test_an_episode_stays_taken_after_a_restart() -> None:
    folded = restarted(fold(history(event(at(0)), ticks(at(30), at(31)), policy=TWO), TWO), TWO)
    assert verdicts(after(folded, ticks(at(31), at(33)))) == ["send", "episode_taken"]


def test_the_arm_is_drawn_after_all_gates() -> None:
    half = POLICY.replace("holdout: 0", "holdout: 0.99")
    folded = fold(history(pause(), event(at(0)), tick(at(31)), policy=half), half)
    assert folded.decisions == [("ann", "silent", "suppressed", ["paused"])]
    assert folded.messages("decisions")[0]["data"]["experiment"] is None
    assert folded.outcomes == []


def test_a_shadow_rule_sends_nothing() -> None:
    shadow = POLICY.replace("mode: live", "mode: shadow")
    folded = fold(history(event(at(0)), tick(at(31)), policy=shadow), shadow)
    assert folded.decisions == [("ann", "silent", "shadow", ["shadow_mode"])]
    assert folded.triggers == []


def test_a_contact_is_followed_by_its_cooldown() -> None:
    quick = QUICK.replace("goal: {within: 7d}", "goal: {within: 1d}")
    folded = fold(history(event(at(0)), ticks(at(0), at(3)), event(at(3)), ticks(at(3), at(8)), policy=quick), quick)
    assert [(verdict, reasons) for _, _, verdict, reasons in folded.decisions] == [("send", [])]
    assert [(verdict, reasons) for _, _, verdict, reasons in after(folded, tick(at(9))).decisions] == [
        ("send", []),
        ("suppressed", ["cooldown", "expired"]),
    ]


@pytest.mark.parametrize(
    ("traits", "reason"), [({"consent": {"email": False}}, "no_consent"), ({"unsubscribed": True}, "unsubscribed")]
)
def test_without_consent_nothing_is_sent(traits: dict[str, Any], reason: str) -> None:
    folded = fold(history(event(at(0)), tick(at(9)), identify(at(9), active=False, **traits), tick(at(31))))
    assert folded.decisions == [("ann", "silent", "suppressed", [reason])]


def test_a_grant_that_comes_late_does_not_undo_a_withdrawal() -> None:
    folded = fold(
        history(tick(at(2)), identify(at(2), consent={"email": False}), identify(at(1), consent={"email": True}))
    )
    assert folded.users["ann"].profile is not None
    assert folded.users["ann"].profile.consent == {"email": False}


def test_a_paused_rule_sends_nothing() -> None:
    assert verdicts(fold(history(event(at(0)), pause("silent"), tick(at(31))))) == ["suppressed"]


def test_a_pause_holds_after_a_restart() -> None:
    assert verdicts(after(restarted(fold(history(event(at(0)), pause()))), tick(at(31)))) == ["suppressed"]


def test_the_id_of_a_trigger_is_fixed_by_its_episode() -> None:
    (sent,) = fold(history(event(at(0)), tick(at(31)))).triggers
    assert sent["id"] == trigger_id("default", "ann", "silent", at(0))


def test_an_outcome_is_written_once() -> None:
    folded = fold(history(event(at(0)), ticks(at(30), at(31)), event(at(31)), event(at(31, 1)), tick(at(45))))
    assert [outcome["recalled"] for outcome in folded.outcomes] == [True]


def test_erasure_leaves_a_tombstone() -> None:
    folded = fold(history(event(at(0)), tick(at(1))))
    after(folded, event(at(1), kind="delete"))
    assert (b"uann", None) in folded.changelog
    assert folded.users == {}


# ---- the source


def _spoken(days: int) -> list[Entry]:
    """Four events an hour, one of them ann's only in the first."""
    return [
        entry
        for hour in range(days * 24)
        for entry in [tick(at(0, hour)), *(event(at(0, hour, 10 * n), f"user-{n}", id=f"{hour}/{n}") for n in range(4))]
    ]


def test_dark_time_is_no_silence() -> None:
    ann = event(at(7, 1), "ann")
    records = history(_spoken(8), ann, ticks(at(8), at(9, 8)), policy=GUARDED.replace("30d", "2d"))
    folded = fold(records, GUARDED.replace("30d", "2d"))
    assert folded.partition.guard.dark > 0
    assert folded.decisions == []
    assert folded.users["ann"].stage != DORMANT


def test_a_deadline_in_a_dark_hour_comes_when_the_silence_is_full() -> None:
    folded = fold(history(event(at(0)), tick(at(30, 1)), hold(), tick(at(30, 3))))
    assert folded.partition.guard.dark == 2
    assert folded.decisions == []
    after(folded, release(), ticks(at(30, 3), at(31)))
    assert [milliseconds(sent["time"]) for sent in folded.triggers] == [at(30, 2)]


def test_dark_time_before_an_activity_is_no_part_of_its_silence() -> None:
    folded = fold(
        history(tick(at(1)), hold(), tick(at(2)), release(), tick(at(3)), event(at(3)), ticks(at(32), at(35)))
    )
    assert folded.partition.guard.dark == 24
    assert [milliseconds(sent["time"]) for sent in folded.triggers] == [at(33)]


def test_the_guard_abstains_where_little_is_expected() -> None:
    cautious = GUARDED.replace("min_expected: 2", "min_expected: 100")
    folded = fold(history(_spoken(8), ticks(at(8), at(9)), policy=cautious), cautious)
    assert folded.partition.guard.dark == 0


def test_an_operator_holds_the_source() -> None:
    folded = fold(history(event(at(0)), hold(), ticks(at(1), at(40))))
    assert folded.decisions == []
    assert folded.partition.guard.dark > 24 * 30


def test_late_events_know_the_dark_hours_before_them() -> None:
    dark = [hold(), tick(at(2)), release()]
    folded = fold(
        history(event(at(0)), tick(at(1)), dark, tick(at(2, 2)), event(at(0, 20), id="l"), ticks(at(2), at(32)))
    )
    assert folded.counts["late"] == 1
    hours = folded.partition.guard.dark
    assert [milliseconds(sent["time"]) for sent in folded.triggers] == [at(30, 20 + hours)]


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
