"""Chunks, restarts and partitions change nothing: state = fold(snapshot, the rest of the log)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise, repeat
from typing import Any, Literal
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from pipeline import partition as core
from pipeline.partition import Partition
from pipeline.records import LogRecord
from pipeline.sums import merge
from tests.builders import Folded, fold, spread
from tests.property.strategies import REGISTRY, logs, ordered_logs
from tests.reference.agreement import plain_user

# At a pause: go on; commit; commit and restart; restart without a commit: what came since the last is folded again.
Act = Literal["go", "commit", "restart", "crash"]
acts = st.lists(st.sampled_from(("go", "commit", "restart", "crash")), min_size=1, max_size=50)


@contextmanager
def pauses_everywhere() -> Iterator[None]:
    """Every record and every wake-up is followed by a pause."""
    with patch.object(core, "_PAUSE_RECORDS", 1), patch.object(core, "_PAUSE_WAKES", 1):
        yield


def uninterrupted(records: Sequence[LogRecord]) -> Folded:
    """One fold, one commit."""
    folded = Folded(Partition(0, 1, REGISTRY))
    for _ in folded.partition.fold(records):
        pass
    folded.take(folded.partition.commit())
    return folded


def interrupted(records: Sequence[LogRecord], plan: Sequence[Act]) -> Folded:
    """As planned, pause by pause; when the plan is done, on to the end."""
    folded = Folded(Partition(0, 1, REGISTRY))
    steps, folding = chain(plan, repeat("go")), folded.partition.fold(records)
    while True:
        try:
            next(folding)
        except StopIteration:
            folded.take(folded.partition.commit())
            return folded
        act = next(steps)
        if act in ("commit", "restart"):
            folded.take(folded.partition.commit())
        if act in ("restart", "crash"):
            folded.partition = Partition(0, 1, REGISTRY)
            folded.partition.restore(folded.changelog)
            folding = folded.partition.fold(records)


def results(folded: Folded) -> dict[str, Any]:
    """Everything that was written, compacted."""
    return {**{repr(key): value for key, value in folded.table.items()}, **folded.outputs}


@given(logs(), acts)
def test_any_cut_and_any_restart_gives_the_same_rows_cells_position_and_outputs(
    records: list[LogRecord], plan: list[Act]
) -> None:
    with pauses_everywhere():
        assert results(interrupted(records, plan)) == results(uninterrupted(records))


@given(logs(), st.lists(st.integers(0, 40), max_size=4))
def test_any_cut_into_calls_of_fold_gives_the_same(records: list[LogRecord], cuts: list[int]) -> None:
    folded = Folded(Partition(0, 1, REGISTRY))
    edges = [0, *sorted(cuts), len(records)]
    for start, end in pairwise(edges):
        folded.feed(records[start:end])
    assert results(folded) == results(uninterrupted(records))


@given(logs())
def test_a_restored_partition_commits_nothing_and_folds_nothing_twice(records: list[LogRecord]) -> None:
    before = uninterrupted(records)
    after = Partition(0, 1, REGISTRY)
    after.restore(before.table.items())
    assert after.commit().changelog == []
    assert list(after.fold(records)) == []
    assert after.commit().changelog == []
    assert list(after.states()) == list(before.partition.states())
    assert after.cells.values == before.partition.cells.values


@given(ordered_logs(), st.sampled_from((2, 4, 8)))
def test_the_number_of_partitions_changes_nothing_for_a_log_in_order(records: list[LogRecord], count: int) -> None:
    whole = fold(records, extra=REGISTRY)
    parts = [fold(part, number=n, count=count, extra=REGISTRY) for n, part in enumerate(spread(records, count))]
    assert _users(parts) == _users([whole])
    assert _cells(parts) == _cells([whole])
    for topic in ("triggers", "decisions", "outcomes", "segments"):
        assert _values(parts, topic) == _values([whole], topic)
    assert sorted(r for part in parts for _, r in part.deadletters) == sorted(r for _, r in whole.deadletters)


def _users(parts: list[Folded]) -> dict[str, Any]:
    return {key: plain_user(state) for part in parts for key, state in part.users.items()}


def _cells(parts: list[Folded]) -> dict[Any, list[int]]:
    return {key: cell for key, cell in merge(part.cells for part in parts).items() if any(cell)}


def _values(parts: list[Folded], topic: str) -> list[tuple[bytes, bytes]]:
    return sorted((output.key, output.value) for part in parts for output in part.outputs.get(topic, []))
