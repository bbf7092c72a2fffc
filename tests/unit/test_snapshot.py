"""Snapshots as files: what is written is read back, and whatever happened to it since is noticed."""

import gzip
from pathlib import Path

import msgspec
import pytest

from agents.exits import Exit, Refusal
from agents.restore import missing_entries
from agents.snapshot import Origin, Table, being_written, check, read, registry_of, write_manifest, write_part
from pipeline.partition import Partition
from pipeline.records import LogRecord, UnknownVersion
from schemas.partitioner import partition_of
from tests.builders import POLICY, at, event, history, order, registry, ticks

BODIES = registry(POLICY)
ORIGIN = Origin("2025-01-01T00:00:00.000Z", "0.1.0", "cluster", "rekindle.")


def inputs(number: int) -> list[LogRecord]:
    names = [u for u in (f"user-{n}" for n in range(60)) if partition_of(u.encode(), 2) == number][:5]
    return history(
        [event(at(0, 0, n), name, source="google") for n, name in enumerate(names)],
        order(at(0, 1), names[0], 30),
        ticks(at(0, 6), at(33), 12 * 3_600_000),
    )


def table_of(number: int) -> Table:
    partition = Partition(number, 2, BODIES)
    for _ in partition.fold(inputs(number)):
        pass
    return {key: value for key, value in partition.commit().changelog if value is not None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "snapshot"
    with being_written(out) as part:
        parts = [write_part(part, number, table_of(number)) for number in range(2)]
        write_manifest(part, ORIGIN, parts, BODIES)
    return out


def test_what_was_written_is_read_back(folder: Path) -> None:
    manifest = check(folder)
    assert manifest.origin == ORIGIN
    assert manifest.partitions == 2
    for part in manifest.parts:
        table = dict(read(folder, part.file))
        assert table == table_of(part.partition)
        assert list(table)[-1] == b"p"
        assert part.offset == len(inputs(part.partition))
        assert part.users == 5
        assert part.file.records == len(table)
        assert part.file.bytes == (folder / part.file.name).stat().st_size
    assert registry_of(folder, manifest) == BODIES
    assert not list(folder.parent.glob("*.part"))


def test_the_same_state_is_the_same_file(folder: Path, tmp_path: Path) -> None:
    again = write_part(tmp_path, 0, table_of(0))
    assert again == check(folder).parts[0]


def test_a_partition_that_was_never_folded_is_empty(tmp_path: Path) -> None:
    part = write_part(tmp_path, 0, {})
    write_manifest(tmp_path, ORIGIN, [part], {})
    assert part.offset == -1
    assert check(tmp_path).parts == [part]


@pytest.mark.parametrize("name", ["state-000.jsonl.gz", "state-001.jsonl.gz", "registry.jsonl.gz"])
def test_a_changed_cut_or_missing_file_is_refused_by_its_name(folder: Path, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], b"", None):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        with pytest.raises(Refusal, match=name) as refusal:
            check(folder)
        assert refusal.value.code is Exit.USAGE


def test_rows_that_do_not_add_up_are_refused_though_their_checksum_is_right(folder: Path) -> None:
    table = table_of(1)
    del table[next(key for key in table if key[:1] == b"u")]
    parts = [check(folder).parts[0], write_part(folder, 1, table)]
    write_manifest(folder, ORIGIN, parts, BODIES)
    with pytest.raises(Refusal, match="does not add up: partition 1: the sums say") as refusal:
        check(folder)
    assert refusal.value.code is Exit.BUG


def test_a_policy_that_the_registry_lost_is_named(folder: Path) -> None:
    write_manifest(folder, ORIGIN, check(folder).parts, {})
    with pytest.raises(Refusal, match="which the registry does not hold") as refusal:
        check(folder)
    assert refusal.value.code is Exit.POLICY


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 9}, "use the release that wrote it"),
        ({"partitions": 3}, "does not name every partition once"),
        ({"registry": 1}, "can't be read"),
    ],
)
def test_another_manifest_is_refused(folder: Path, change: dict[str, int], words: str) -> None:
    path = folder / "manifest.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | change))
    with pytest.raises(Refusal, match=words):
        check(folder)


def test_positions_of_a_newer_release_are_not_taken(folder: Path, tmp_path: Path) -> None:
    table = table_of(0)
    table[b"p"] = msgspec.msgpack.encode(msgspec.msgpack.decode(table[b"p"]) | {"version": 99})
    with pytest.raises(UnknownVersion):
        write_part(tmp_path, 0, table)


def test_rows_without_a_position_are_refused(folder: Path) -> None:
    table, other = table_of(0), check(folder).parts[1]
    del table[b"p"]
    write_manifest(folder, ORIGIN, [write_part(folder, 0, table), other], BODIES)
    with pytest.raises(Refusal, match="state-000"):
        check(folder)


def test_half_a_snapshot_never_lies_under_its_name(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "snapshot"
    with pytest.raises(UnknownVersion), being_written(out) as folder:
        write_part(folder, 0, {b"p": msgspec.msgpack.encode({"version": 99})})
    assert not out.exists()
    assert not any(out.parent.iterdir())
    with pytest.raises(Refusal, match="holds no snapshot"):
        check(out)


def test_a_snapshot_is_never_written_over(folder: Path) -> None:
    with pytest.raises(Refusal, match="never written over") as refusal, being_written(folder):
        pass
    assert refusal.value.code is Exit.USAGE
    assert check(folder).partitions == 2


def test_files_are_plain_enough_for_other_tools(folder: Path) -> None:
    first = gzip.decompress((folder / "registry.jsonl.gz").read_bytes()).splitlines()[0]
    assert msgspec.json.decode(first, type=list[bytes]) == [next(iter(BODIES)).encode(), next(iter(BODIES.values()))]


def test_a_registry_gets_what_it_lacks_and_its_history_stays_in_order() -> None:
    snapshot = {"policy/a": b"a", "history/1": b"1", "skip/0/7": b"s"}
    assert missing_entries({}, snapshot) == snapshot
    assert missing_entries({"policy/a": b"a", "history/2": b"2"}, snapshot) == {"skip/0/7": b"s"}
    assert missing_entries(snapshot, snapshot) == {}
