"""The projector's mirrors: what it remembers of Redis, and what it coalesces."""

import random

import msgspec
import pytest

from agents.views.batch import Batch
from agents.views.keys import Names, root_of
from agents.views.recent import PER_USER, Entry, Kept, Place, Recent, read_entry, read_place
from agents.views.wholes import Wholes
from pipeline.records import LogRecord
from pipeline.sums.base import encode_key


def entry(
    offset: int, user: str = "ann", *, partition: int = 0, started: str = "2024-01-01", sent: bool = False
) -> Entry:
    place = Place(1_704_067_200_000 + offset, partition, offset)
    return Entry(place, user.encode(), f"{offset:032x}", sent, started, offset, b"{}")


def test_places_sort_as_they_were_appended_and_read_back() -> None:
    chance = random.Random(1)
    places = [Place(chance.randrange(10**13), chance.randrange(256), chance.randrange(10**12)) for _ in range(500)]
    assert sorted(places) == [read_place(text) for text in sorted(place.encode() for place in places)]


def test_the_last_decisions_are_kept_overall_and_of_each_user() -> None:
    recent = Recent(50)
    for number in range(40):
        recent.add(entry(number, "ann"))
        recent.add(entry(number, f"user-{number}", partition=1))
    changes = recent.take()
    assert len(recent) == 50
    assert len(changes.users[b"ann"]) == PER_USER
    assert changes.users[b"ann"][0] == entry(39).place.encode()
    assert len(changes.added) == 50
    assert not changes.gone, "what was never written need not be removed"
    assert not recent.take().added


def test_what_redis_holds_is_loaded_and_replaced_by_newer() -> None:
    recent = Recent(3)
    for number in (2, 0, 1):
        recent.load(entry(number).place.encode(), Kept(b"ann", f"{number:032x}", sent=False, started="2024"))
    recent.loaded()
    recent.add(entry(1))  # read once more after a crash
    recent.add(entry(3))
    changes = recent.take()
    assert list(changes.added) == [entry(3).place.encode()]
    assert list(changes.gone) == [entry(0).place.encode()]
    assert changes.users[b"ann"] == [entry(number).place.encode() for number in (3, 2, 1)]


def test_who_is_erased_is_forgotten_and_so_is_who_had_the_id_before() -> None:
    recent = Recent(10)
    recent.add(entry(1, started="2024-01-01"))
    recent.add(entry(2, started="2024-03-01"))
    recent.take()
    recent.forget(b"ann", before="2024-02-01")
    changes = recent.take()
    assert list(changes.gone) == [entry(1).place.encode()]
    recent.forget(b"ann")
    recent.forget(b"nobody")
    assert recent.take().users == {b"ann": []}
    assert not recent.holds(b"ann")


@pytest.mark.parametrize("value", [None, b"", b"{", b"{}", b"\xff", b'{"data": {"trigger_id": 1}}'])
def test_what_is_no_decision_is_passed_over(value: bytes | None) -> None:
    assert read_entry(Place(0, 0, 0), b"ann", value, ()) is None


def test_wholes_are_the_sum_of_the_latest_partials() -> None:
    chance = random.Random(2)
    wholes, latest = Wholes(3), [{}, {}, {}]
    shown: dict[bytes, list[int]] = {}
    for _ in range(300):
        number = chance.randrange(3)
        cell = encode_key("growth", (chance.randrange(4), "user"))
        latest[number][cell] = [chance.randrange(-5, 50) for _ in range(5)]
        wholes.put(number, cell, msgspec.msgpack.encode(latest[number][cell]))
        if chance.random() < 0.3:
            for cells in wholes.take().values():
                shown |= {key: msgspec.msgpack.decode(value) for key, value in cells.items()}
    for cells in wholes.take().values():
        shown |= {key: msgspec.msgpack.decode(value) for key, value in cells.items()}
    for cell, whole in shown.items():
        assert whole == [sum(values) for values in zip(*(p[cell] for p in latest if cell in p), strict=True)]


def test_a_batch_keeps_the_latest_of_each_key() -> None:
    batch = Batch()
    pairs = [(b"uann", b"1"), (b"ubob", b"2"), (b"uann", None), (b"sgrowth", b"3"), (b"sgrowth", b"4"), (b"p", b"5")]
    batch.state(2, [LogRecord(n, 0, key, value) for n, (key, value) in enumerate([*pairs, (b"g", b"6"), (b"?", b"7")])])
    keys = (b"policy/x", b"history/x", b"model/x", b"models/x", b"lease/x")
    batch.registry([LogRecord(offset, 0, key, b"%d" % offset) for offset, key in enumerate(keys)])
    assert batch.rows[2] == {b"ann": None, b"bob": b"2"}
    assert batch.cells[2] == {b"growth": b"4"}
    assert (batch.positions, batch.guards) == ({2: b"5"}, {2: b"6"})
    assert batch.bodies == {b"policy/x": b"0", b"model/x": b"2"}
    assert batch.changes == 5
    assert batch.records == 13


def test_names_tell_how_many_partitions_there_are() -> None:
    names = Names(root_of("rekindle."), "8-00ff")
    assert names.partitions == 8
    assert names("users", 3) == "rekindle.views:8-00ff:users:3"
