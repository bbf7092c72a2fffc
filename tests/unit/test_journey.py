from typing import Any

import pytest

from pipeline.journey import Journey, touch
from pipeline.sums import CHANNELS
from pipeline.units import DAY
from tests.builders import Entry, Folded, at, event, fold, history, identify, order, tick

SHOP = """
version: 1
activation: {event: Order Completed, within: 2d}
currency: {reporting: USD, rates: {EUR: 1.5}}
channels: [{name: letters, source: newsletter}]
"""


def channels(folded: Folded) -> dict[tuple[int, str], dict[str, int]]:
    """(day, channel) -> the fields that aren't 0."""
    return {
        (int(dims[0]) - at(0) // DAY, str(dims[1])): {f: v for f, v in zip(CHANNELS.fields, cell, strict=True) if v}
        for (name, dims), cell in folded.cells.items()
        if name == "channels"
    }


def test_the_last_touch_is_the_last_by_time_not_by_arrival() -> None:
    journey = Journey()
    for channel, time in (("b", 20), ("a", 10), ("c", 30), ("b2", 25)):
        touch(journey, channel, time)
    assert (journey.last, journey.last_at, journey.touches) == ("c", 30, 4)


def test_the_first_channel_is_that_of_the_first_activity_whatever_brings_them_back() -> None:
    """Else whoever comes back often would seem to have come by what brings people back."""
    folded = fold(history(event(at(0)), _ticked(event(at(5), source="newsletter"))))
    assert (folded.users["ann"].journey.first, folded.users["ann"].journey.last) == ("direct", "email")
    folded = fold(history(event(at(1), source="google"), event(at(0), id="late"), event(at(2), source="bing")))
    assert folded.users["ann"].journey.first == "direct", "an activity before the first says how they came"
    folded = fold(history(event(at(1)), event(at(0), id="late", source="google")))
    assert folded.users["ann"].journey.first == "organic-search"


@pytest.mark.parametrize(
    ("context", "channel"),
    [
        (None, "direct"),
        ({"campaign": {}}, "direct"),
        ({"campaign": {"source": "newsletter"}}, "letters"),
        ({"campaign": {"source": "google", "medium": "cpc"}}, "paid-search"),
        ({"page": {"referrer": "https://www.google.co.uk/search?q=x"}}, "organic-search"),
        ({"page": {"referrer": "http://[::1"}}, "direct"),
    ],
)
def test_how_a_visit_names_its_channel(context: dict[str, Any] | None, channel: str) -> None:
    folded = fold(history(event(at(0), context=context), policy=SHOP), SHOP)
    assert channels(folded) == {(0, channel): {"visitors": 1, "new_users": 1}}


def test_what_a_day_in_the_shop_adds_up_to() -> None:
    visits = [
        event(at(0), "ann", source="google"),
        event(at(0, 1), "ann"),
        order(at(0, 2), "ann", 10),
        event(at(0, 3), "ann", source="newsletter"),
        order(at(0, 4), "ann", 10, "EUR"),
        order(at(0, 5), "ann", 10, "JPY"),
        event(at(0, 6), "bob", "Order Completed"),
    ]
    folded = fold(history([e for v in visits for e in _ticked(v)], policy=SHOP), SHOP)
    assert channels(folded) == {
        (0, "organic-search"): {
            "visitors": 1,
            "new_users": 1,
            "activated": 1,
            "buyers": 1,
            "orders": 1,
            "revenue": 1000,
        },
        (0, "letters"): {"orders": 2, "revenue": 1500, "unpriced": 1},
        (0, "direct"): {"visitors": 1, "new_users": 1, "activated": 1, "buyers": 1, "orders": 1},
    }


def _ticked(entry: Entry) -> list[Entry]:
    return [tick(entry.appended), entry]


def test_activation_comes_in_time_or_not_at_all() -> None:
    late = fold(history(event(at(0), source="google"), _ticked(order(at(2, 1))), policy=SHOP), SHOP)
    assert "activated" not in channels(late)[0, "organic-search"]
    assert channels(late)[2, "organic-search"]["buyers"] == 1


def test_a_user_who_was_a_visitor_keeps_the_first_touch_they_are_told_with() -> None:
    folded = fold(history(identify(at(0), first_touch={"source": "newsletter"}), policy=SHOP), SHOP)
    assert folded.users["ann"].journey.first == "letters"
    touched = [event(at(0), source="google"), identify(at(0, 1), first_touch={"source": "newsletter"})]
    assert fold(history(touched, policy=SHOP), SHOP).users["ann"].journey.last == "organic-search"


def test_a_buyer_is_counted_once_a_day() -> None:
    folded = fold(history(order(at(0), id="a"), order(at(0), id="b"), _ticked(order(at(1))), policy=SHOP), SHOP)
    assert [channels(folded)[day, "direct"]["buyers"] for day in (0, 1)] == [1, 1]
