"""Each rule of a source that does not speak, by its smallest log."""

from pipeline.lifecycle import DORMANT
from tests.builders import (
    POLICY,
    Entry,
    at,
    event,
    fold,
    history,
    hold,
    milliseconds,
    release,
    tick,
    ticks,
)
from tests.unit.folding import after

GUARDED = POLICY.replace("rules:", "source_guard: {min_expected: 2, dark_below: 0.5}\nrules:")


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
