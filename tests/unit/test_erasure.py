"""Who was erased: nothing of before is applied again, by whatever way it comes, and what stays names nobody."""

from typing import Any

import msgspec
import pytest

from agents.statecheck import differences
from pipeline.erasure import Mark, WrongKey, decode_mark, mark_name
from pipeline.partition import Partition
from pipeline.units import DAY
from schemas.codec import rfc3339
from schemas.partitioner import partition_of
from schemas.topics import COMPLETE_WITHIN
from tests.builders import POLICY, Entry, Folded, adopt, at, event, identify, log, now, order, registry

SECRET = b"a secret of this test"
ANN = mark_name(b"ann", SECRET)


def folded(*entries: Entry | list[Entry]) -> Folded:
    return Folded(Partition(0, 1, registry(POLICY), secret=SECRET)).feed(log(now(at()), adopt(POLICY, at()), *entries))


def erased(time: int, **more: Any) -> Entry:
    return event(time, kind="delete", id=f"erase/{time}", **more)


def stock(found: Folded) -> int:
    """Users who are not dormant, by growth accounting."""
    cells = [cell for (name, dims), cell in found.cells.items() if name == "growth" and dims[1] == "user"]
    return sum(new + returned - dormant - expired for new, _, returned, dormant, expired in cells)


def test_an_erasure_takes_the_row_and_leaves_a_mark_that_names_nobody() -> None:
    found = folded(event(at(0)), order(at(1)), now(at(1)), erased(at(1, 2), appended=at(1, 3)), now(at(1, 4)))
    assert found.users == {}
    assert stock(found) == 0
    assert decode_mark(found.table[b"e" + ANN]).until == at(1, 2)
    kept = b"".join(key + value for key, value in found.table.items() if key[:1] != b"s")
    assert b"ann" not in kept
    assert mark_name(b"ann", b"another secret") != ANN


def test_the_certificate_comes_with_the_commit_that_removes_the_row() -> None:
    number = partition_of(b"ann", 8)
    partition = Partition(number, 8, registry(POLICY), secret=SECRET)
    found = Folded(partition).feed(log(now(at()), event(at(0)), now(at(1))))
    last = log(erased(at(1), appended=at(1, 1)), start=partition.offset)
    for _ in partition.fold(last):
        pass
    commit = partition.commit()
    assert (b"uann", None) in commit.changelog
    (output,) = commit.outputs["erasures"]
    assert b"ann" not in output.key + output.value
    certificate = msgspec.json.decode(output.value)
    assert certificate["subject"] == ANN.hex()
    assert certificate["data"] == {
        "state": "applied",
        "mark": ANN.hex(),
        "erased_until": rfc3339(at(1)),
        "applied_at": rfc3339(at(1, 1)),
        "complete_by": rfc3339(at(1, 1) + COMPLETE_WITHIN),
        "partition": number,
        "offset": last[0].offset,
    }
    assert found.users.keys() == {"ann"}


@pytest.mark.parametrize("backfill", [False, True])
def test_a_reimport_of_the_history_revives_nothing(backfill: bool) -> None:
    before = [event(at(0), id="a"), order(at(1), id="b"), identify(at(1, 1), consent={"email": False})]
    again = [entry._replace(appended=at(2)) for entry in before]
    if backfill:
        again = [event(at(0), id="c", backfill=True), order(at(1), id="d", backfill=True)]
    found = folded(before, now(at(2)), erased(at(2)), again, [now(at(day)) for day in range(3, 60)])
    assert found.users == {}
    assert found.triggers == []
    assert [reason for _, reason in found.deadletters] == ["erased"] * len(again)
    assert found.counts["read"] == found.counts["applied"] + found.counts["rejected"]
    assert decode_mark(found.table[b"e" + ANN]).refused == len(again)
    assert stock(found) == 0


def test_of_what_is_refused_neither_id_nor_content_is_kept() -> None:
    found = folded(
        event(at(0)), now(at(1)), erased(at(1)), order(at(0)), order(at(1, 1), revenue=-1), Entry(b"ann", b"{ann")
    )
    assert [reason for _, reason in found.deadletters] == ["erased", "negative_amount", "malformed_json"]
    for output in found.outputs["deadletters"]:
        assert (output.key, output.value) == (ANN.hex().encode(), b"")
        assert not any(b"ann" in value for name, value in output.headers if name != "message")


def test_who_signs_up_again_is_new_and_history_stops_at_the_erasure() -> None:
    found = folded(
        event(at(0)),
        now(at(10)),
        erased(at(10)),
        event(at(11)),
        event(at(10), id="x", backfill=True),  # at the very moment of the erasure
        event(at(10, 1), id="y", backfill=True),
        now(at(12)),
        order(at(11, 1), revenue=-1),
    )
    activity = found.users["ann"].activity
    assert (activity.first, activity.last, activity.days) == (at(10, 1), at(11), 2)
    assert [reason for _, reason in found.deadletters] == ["erased", "negative_amount"]
    assert found.outputs["deadletters"][1].key == b"ann"  # theirs of now
    growth = {dims[0] - at() // DAY: cell[0] for (name, dims), cell in found.cells.items() if name == "growth"}
    assert (growth[0], growth[11]) == (1, 1)
    assert stock(found) == 1


def test_what_was_known_when_the_request_came_is_of_before_it() -> None:
    found = folded(
        event(at(0)), event(at(2)), now(at(2)), erased(at(1)), event(at(1, 12), id="x"), event(at(2), id="y")
    )
    assert found.users == {}
    assert decode_mark(found.table[b"e" + ANN]).until == at(2)


def test_an_older_request_takes_nothing_from_who_is_there_again() -> None:
    found = folded(event(at(0)), now(at(5)), erased(at(5)), event(at(6)), now(at(7)), erased(at(4)))
    assert found.users["ann"].activity.first == at(6)
    assert [reason for _, reason in found.deadletters] == ["erased"]


def test_a_second_erasure_moves_the_mark_and_never_back() -> None:
    found = folded(
        event(at(0)), now(at(5)), erased(at(5)), event(at(6)), now(at(7)), erased(at(7)), event(at(6), id="x")
    )
    assert found.users == {}
    assert decode_mark(found.table[b"e" + ANN]).until == at(7)
    assert len(found.outputs["erasures"]) == 2


def test_who_was_never_seen_can_be_erased() -> None:
    found = folded(erased(at(0)), event(at(0), id="x", backfill=True))
    assert found.users == {}
    assert len(found.outputs["erasures"]) == 1


def test_a_visitor_under_an_erased_id_stays_of_after_it_when_they_become_a_user() -> None:
    visit = event(at(6), None, anonymous="ann")
    found = folded(event(at(0)), now(at(5)), erased(at(5)), visit, now(at(6)), event(at(7)), event(at(1), id="x"))
    assert found.users["ann"].known
    assert found.users["ann"].activity.erased == at(5)
    assert [reason for _, reason in found.deadletters] == ["erased"]


def test_a_mark_survives_a_restart_and_a_snapshot_of_before_reaches_it_by_the_log() -> None:
    records = log(
        now(at()),
        adopt(POLICY, at()),
        event(at(0)),
        now(at(1)),
        erased(at(1)),
        event(at(0), id="x"),
        event(at(2)),
        now(at(2)),
    )
    whole = Folded(Partition(0, 1, registry(POLICY), secret=SECRET)).feed(records)
    for cut in range(len(records)):  # from 4 on the snapshot holds the row, and the erasure comes after it
        snapshot = Folded(Partition(0, 1, registry(POLICY), secret=SECRET)).feed(records[:cut])
        restored = Folded(Partition(0, 1, registry(POLICY), secret=SECRET))
        restored.partition.restore(snapshot.table.items())
        restored.changelog = list(snapshot.table.items())
        restored.feed(records)
        assert restored.table == whole.table, cut


def test_a_mark_that_differs_is_named() -> None:
    found = folded(event(at(0)), now(at(1)), erased(at(1)))
    without = {key: value for key, value in found.table.items() if key[:1] != b"e"}
    assert list(differences(0, found.table, without)) == [f"partition 0: the mark {ANN.hex()} is missing"]


def test_another_key_is_refused_and_a_state_of_before_there_were_marks_is_not() -> None:
    found = folded(event(at(0)), now(at(1)), erased(at(1)))
    other = Partition(0, 1, registry(POLICY), secret=b"another")
    with pytest.raises(WrongKey):
        other.restore(found.table.items())
    position = msgspec.msgpack.decode(found.table[b"p"])
    del position["erasure_key"]
    older = Partition(0, 1, registry(POLICY), secret=b"another")
    older.restore({**found.table, b"p": msgspec.msgpack.encode(position)}.items())
    assert older.offset == found.partition.offset


def test_live_time_counts_for_how_long_the_log_speaks_of_the_user() -> None:
    partition = Partition(0, 1, registry(POLICY), secret=SECRET)
    live = log(
        now(at(0)),
        event(at(0)),
        erased(at(1), appended=at(1, 1)),
        event(at(0), id="x", appended=at(9)),
        now(at(9)),
    )
    mark = decode_mark(Folded(partition).feed(live).table[b"e" + ANN])
    assert (mark.applied, mark.last, mark.refused, mark.offset) == (at(1, 1), at(9), 1, 2)


def test_an_erasure_whose_record_is_lost_is_made_up_for_by_its_certificate() -> None:
    before = log(now(at()), adopt(POLICY, at()), event(at(0)), event(at(0), "bob"), event(at(1)))
    snapshot = Folded(Partition(0, 1, registry(POLICY), secret=SECRET)).feed(before)
    restored = Folded(Partition(0, 1, registry(POLICY), secret=SECRET))
    restored.partition.restore(snapshot.table.items())
    restored.changelog = list(snapshot.table.items())
    restored.partition.forget({ANN: Mark(at(2), len(before), at(2), last=at(2))})
    restored.feed(log(event(at(1), id="x"), event(at(3), "bob"), start=len(before) + 1))
    assert restored.users.keys() == {"bob"}
    assert restored.deadletters == [(len(before) + 1, "erased")]
    assert stock(restored) == 1
    assert sum(cell[0] for (name, _), cell in restored.cells.items() if name == "stage") == 1
