import pytest

from pipeline.guard import HOURS_OF_WEEK, Guard
from pipeline.policy import SourceGuard
from pipeline.units import HOUR

WATCH = SourceGuard(min_expected=10, dark_below=0.3)
WEEK = HOURS_OF_WEEK


def listened(*counts: int) -> Guard:
    """The same hour of the week, week after week."""
    guard = Guard()
    for week, count in enumerate(counts):
        for _ in range(count):
            guard.count(week * WEEK)
        guard.close(week * WEEK, WATCH)
    return guard


def test_it_learns_a_rate_for_each_hour_of_the_week() -> None:
    assert listened(20).rates[0] == 20 * 16
    assert listened(20, 24).rates[0] == 21 * 16
    assert listened(20, 24).rates[1] == -1


def test_an_hour_without_events_teaches_nothing_where_nothing_is_known() -> None:
    assert listened(0, 0).rates[0] == -1
    assert listened(20, 20, 8).rates[0] == 17 * 16


@pytest.mark.parametrize(("count", "dark"), [(5, True), (6, False), (0, True), (100, False)])
def test_an_hour_that_brings_too_little_is_dark(count: int, dark: bool) -> None:
    guard = listened(20)
    for _ in range(count):
        guard.count(WEEK)
    assert guard.close(WEEK, WATCH) == dark
    assert guard.dark == dark
    assert (guard.rates[0] == 20 * 16) == dark  # a dark hour teaches nothing


def test_it_abstains_where_little_is_expected() -> None:
    guard = listened(9)
    assert not guard.close(WEEK, WATCH)


def test_0_is_never() -> None:
    guard = listened(1000)
    assert not guard.close(WEEK, SourceGuard(min_expected=1, dark_below=0))


def test_hold_and_release() -> None:
    guard = listened(20)
    guard.held = True
    assert guard.close(1, WATCH)
    guard.release()
    assert not guard.held
    assert set(guard.rates) == {-1}
    assert not guard.close(2, WATCH)


def test_dark_hours_before_a_moment() -> None:
    guard = Guard(held=True)
    for hour in (5, 6, 9):
        guard.close(hour, WATCH)
    moments = (5 * HOUR, 6 * HOUR - 1, 6 * HOUR, 8 * HOUR, 9 * HOUR + 1, 10 * HOUR)
    assert [guard.dark_before(moment) for moment in moments] == [0, 0, 1, 2, 2, 3]


def test_it_forgets_which_hours_were_dark_but_not_how_many() -> None:
    guard = Guard(held=True)
    for hour in range(1000):
        guard.close(hour, WATCH)
    assert guard.dark == 1000
    assert len(guard.recent) == 8 * 24
    assert guard.open == {}
