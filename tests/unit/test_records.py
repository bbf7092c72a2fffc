"""Each rule of a record, by its smallest log: repeated, refused, or one that the core fails on."""

from hashlib import sha256
from typing import Any

import pytest

from pipeline import partition as core
from pipeline.partition import Partition
from pipeline.records import CoreError, MissingBody, UnknownVersion
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
    _control,
    adopt_core,
    at,
    digest,
    event,
    fold,
    history,
    identify,
    log,
    models,
    order,
    played,
    tick,
)
from tests.unit.folding import after, live, restarted

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


def test_erasure_and_withdrawal_apply_though_their_clock_runs_ahead() -> None:
    """Who asks for it on a phone whose clock is wrong has asked for it."""
    stated = identify(at(400), consent={"email": False})._replace(appended=at(1))
    folded = fold(live(event(at(0)), stated))
    assert not folded.deadletters
    profile = folded.users["ann"].profile
    assert profile is not None
    assert (profile.consent, profile.at) == ({"email": False}, at(1))
    assert (folded.users["ann"].activity.last, folded.partition.position.horizon) == (at(0), at(1))
    folded = fold(live(event(at(0)), event(at(400), kind="delete", appended=at(1)), event(at(2))))
    assert folded.users["ann"].activity.first == at(2)
    assert folded.deadletters == []
    played = fold(history(event(at(0)), event(at(400), kind="delete")))
    assert not played.users
    assert played.deadletters == []


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
