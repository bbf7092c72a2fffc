import pytest

from pipeline.activity import RING_DAYS, Activity, observe
from pipeline.units import DAY, HOUR
from tests.builders import at


def observed(*times: int) -> Activity:
    activity = Activity()
    for time in times:
        observe(activity, time, 0)
    return activity


def test_a_day_is_counted_once() -> None:
    activity = Activity()
    assert observe(activity, at(0, 1), 0)
    assert not observe(activity, at(0, 23), 0)
    assert observe(activity, at(1), 0)
    assert (activity.first, activity.last, activity.days) == (at(0, 1), at(1), 2)


@pytest.mark.parametrize(("name", "half_life"), [("c7", 7), ("c30", 30), ("c90", 90)])
def test_a_counter_halves_in_its_half_life(name: str, half_life: int) -> None:
    assert getattr(observed(at(0), at(half_life)), name) == pytest.approx(1.5)
    assert getattr(observed(at(0), at(2 * half_life)), name) == pytest.approx(1.25)


def test_the_order_of_events_does_not_matter_within_the_ring() -> None:
    days = [0, 1, 5, 20, 63]
    ordered, shuffled = observed(*map(at, days)), observed(*map(at, [63, 5, 0, 20, 1, 5]))
    assert (ordered.first, ordered.last, ordered.days, ordered.ring) == (
        *(shuffled.first, shuffled.last, shuffled.days, shuffled.ring),
    )
    for name in ("c7", "c30", "c90"):
        assert getattr(ordered, name) == pytest.approx(getattr(shuffled, name))


def test_a_day_that_can_not_be_told_from_a_counted_one_is_not_counted() -> None:
    activity = observed(at(0), at(50), at(100))
    assert not observe(activity, at(30), 0)  # in a gap, but out of the ring
    assert observe(activity, at(100 - RING_DAYS + 1), 0)  # the ring's oldest day
    assert observe(activity, at(-1), 0)  # before the first
    assert activity.first == at(-1)


def test_the_ring_forgets_after_64_days() -> None:
    assert observed(at(0), at(64)).ring == 1
    assert observed(at(0), at(63)).ring == 1 | 1 << 63


def test_from_1024_days_on_the_past_is_gone() -> None:
    assert observed(at(0), at(1024)).c90 == 1.0
    assert observed(at(0), at(1023)).c90 > 1.0
    late = observed(at(1024))
    assert observe(late, at(0), 0)
    assert (late.c90, late.days) == (1.0, 2)


def test_the_dark_hours_are_those_before_the_last_activity() -> None:
    activity = Activity()
    observe(activity, at(1), 5)
    observe(activity, at(0), 3)
    assert activity.dark == 5
    observe(activity, at(1) + HOUR, 7)
    assert activity.dark == 7
    assert DAY == 24 * HOUR
