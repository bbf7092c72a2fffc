"""What any release has written, this one reads: the same meaning, and the same decisions from there on."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.partition import Partition
from pipeline.position import Position, encode_position
from pipeline.records import LogRecord, UnknownVersion
from pipeline.state import STATE_VERSION, UserState
from tests.builders import Folded
from tests.golden.state import HERE, Golden, meaning, partition

FOLDERS = sorted(HERE.glob("state_v*"))
golden_states = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def read(folder: Path) -> Golden:
    return msgspec.msgpack.decode((folder / "golden.msgpack").read_bytes(), type=Golden)


def restored(folder: Path) -> Partition:
    core = partition()
    core.restore(read(folder).state)
    return core


def lacking(now: Any, then: Any, where: str = "") -> list[str]:
    """What was there then and is not so now; fields that were added since are no difference."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            line
            for key, value in then.items()
            for line in (lacking(now[key], value, f"{where}/{key}") if key in now else [f"{where}/{key} is gone"])
        ]
    return [] if now == then else [f"{where}: {now!r} instead of {then!r}"]


def test_there_is_a_state_of_every_version() -> None:
    assert {folder.name for folder in FOLDERS} == {f"state_v{n + 1}" for n in range(STATE_VERSION)}


@golden_states
def test_a_state_of_that_release_means_the_same_now(folder: Path) -> None:
    then = msgspec.json.decode((folder / "meaning.json").read_bytes())
    assert not lacking(meaning(restored(folder)), then)


@golden_states
def test_folding_on_from_it_decides_as_that_release_did(folder: Path) -> None:
    golden = read(folder)
    folded = Folded(restored(folder)).feed([LogRecord(*record) for record in golden.rest])
    assert {topic: [tuple(output) for output in found] for topic, found in folded.outputs.items()} == golden.outputs


@golden_states
def test_it_holds_all_that_a_state_can_hold(folder: Path) -> None:
    """Else it would show little."""
    core, golden = restored(folder), read(folder)
    users = dict(core.states())
    assert {state.stage for state in users.values()} >= {1, 2, 3, 4}
    for field in ("recall", "profile", "orders", "groups", "check"):
        assert any(getattr(state, field) is not None for state in users.values())
    assert any(state.recall and state.recall.window_end for state in users.values())
    for field in ("holdout", "withheld", "contacts", "pending", "program", "drawn"):
        assert any(state.recall and getattr(state.recall, field) for state in users.values()), field
    assert any(state.groups and state.groups.segments and state.groups.tier for state in users.values())
    assert any(state.orders and state.orders.items for state in users.values())
    position = core.position
    assert position.model
    assert position.lease
    assert position.since
    assert position.erasure_key
    assert position.hourly
    assert any(name[:1] == b"e" for name, _ in golden.state)
    assert not all(state.known for state in users.values())
    counts = core.position.counts
    assert all(getattr(counts, name) for name in ("late", "backfilled", "duplicate", "rejected", "woken", "lost"))
    assert core.position.paused == ["silent"]
    assert core.guard.dark
    assert set(golden.outputs) == {"triggers", "decisions", "outcomes", "segments"}


@golden_states
def test_what_a_row_remembers_is_known_again(folder: Path) -> None:
    core, golden = restored(folder), read(folder)
    before = core.position.counts.duplicate
    Folded(core).feed([LogRecord(*record) for record in golden.rest[:2]])
    assert core.position.counts.duplicate == before + 1


def test_the_row_grows_at_its_end_only() -> None:
    """A row of today, cut where an older release ended it, is read."""
    row = msgspec.msgpack.decode(msgspec.msgpack.encode(UserState(wake=500_000)))
    for length in range(2, len(row)):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(row[:length]), type=UserState).wake == 500_000


def test_a_state_of_a_newer_release_is_refused() -> None:
    with pytest.raises(UnknownVersion, match="state version"):
        partition().restore([(b"p", encode_position(Position(version=STATE_VERSION + 1)))])
    with pytest.raises(UnknownVersion, match="core version"):
        partition().restore([(b"p", encode_position(Position(core=99)))])
