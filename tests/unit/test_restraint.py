"""Each rule by which nothing is sent, or not again, by its smallest log."""

from typing import Any

import pytest

from pipeline.case import trigger_id
from tests.builders import (
    POLICY,
    adopt,
    at,
    event,
    fold,
    history,
    identify,
    log,
    now,
    pause,
    played,
    resume,
    tick,
    ticks,
)
from tests.unit.folding import after, live, restarted, verdicts

TWO = POLICY.replace(
    "goal: {within: 7d}", "goal: {within: 7d}\n  - {id: later, when: {silence: 31d}, goal: {within: 7d}}"
)
SHORT = POLICY.replace("30d", "20d").replace("salt: test", "salt: short")
SOON = POLICY.replace("30d", "5d").replace("salt: test", "salt: soon")
QUICK = POLICY.replace("silence: 30d", "silence: 2d").replace("rules:", "lifecycle: {at_risk: 1d, dormant: 2d}\nrules:")


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
