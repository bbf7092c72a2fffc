"""How events move a user's stage, by small logs and by the function itself."""

import pytest

from pipeline.lifecycle import ACTIVE, AT_RISK, DORMANT, NEW, RETURNED, STAGES, UNSEEN, Lifecycle, after_event
from pipeline.units import DAY
from tests.builders import Entry, Folded, at, event, fold, history, identify, log, now, ticks

STANDARD = Lifecycle()


@pytest.mark.parametrize(
    ("stage", "since", "first", "expected"),
    [
        (UNSEEN, 0, 100, NEW),
        (NEW, 95, 95, NEW),
        (NEW, 93, 93, ACTIVE),  # new_for is over
        (ACTIVE, 0, 0, ACTIVE),
        (AT_RISK, 99, 0, ACTIVE),
        (DORMANT, 99, 0, RETURNED),
        (RETURNED, 94, 0, RETURNED),
        (RETURNED, 93, 0, ACTIVE),  # returned_for is over
    ],
)
def test_stages_after_an_event_on_day_100(stage: int, since: int, first: int, expected: int) -> None:
    assert after_event(stage, since * DAY, first * DAY, 100 * DAY, STANDARD) == expected


def stage_of(folded: Folded, user: str = "ann") -> str:
    return STAGES[folded.users[user].stage]


def growth(folded: Folded, kind: str = "user") -> dict[int, list[int]]:
    """Days after T0 -> new, retained, returned, dormant, expired."""
    first = at(0) // DAY
    cells = folded.cells.items()
    return {int(dims[0]) - first: cell for (name, dims), cell in cells if name == "growth" and dims[1] == kind}


def test_a_life() -> None:
    entries: list[Entry] = [event(at(0))]
    life = {}
    for day, then in (
        (1, event(at(1))),
        (8, event(at(8))),
        (23, None),
        (39, None),
        (40, event(at(40))),
        (48, event(at(48))),
    ):
        entries += [*ticks(at(day), at(day, 2)), *([then] if then else [])]
        life[day] = stage_of(fold(history(entries)))
    assert life == {1: "new", 8: "active", 23: "at_risk", 39: "dormant", 40: "returned", 48: "active"}
    grown = growth(fold(history(entries)))
    assert grown == {
        0: [1, 0, 0, 0, 0],
        1: [0, 1, 0, 0, 0],
        8: [0, 1, 0, 0, 0],
        38: [0, 0, 0, 1, 0],  # dated by the deadline, whenever it was noticed
        40: [0, 0, 1, 0, 0],
        48: [0, 1, 0, 0, 0],
    }


def test_what_happened_before_the_silence_does_not_end_it() -> None:
    folded = fold(history(event(at(0)), ticks(at(30), at(32)), event(at(-20), backfill=True)))
    assert stage_of(folded) == "dormant"
    assert growth(folded) == {-20: [0, 1, 0, 0, 0], 0: [1, 0, 0, 0, 0], 30: [0, 0, 0, 1, 0]}


def test_history_that_is_filled_in_has_its_own_silences() -> None:
    folded = fold(history(ticks(at(1), at(2)), event(at(-200), backfill=True), event(at(-100), backfill=True)))
    assert growth(folded) == {-200: [1, 0, 0, 0, 0], -170: [0, 0, 0, 1, 0], -100: [0, 0, 1, 0, 0]}
    assert folded.decisions == []


def test_a_visitor_goes_after_30_days_and_is_never_decided_about() -> None:
    folded = fold(history(event(at(0), None, anonymous="v"), ticks(at(29), at(32))))
    assert (folded.users, folded.decisions) == ({}, [])
    assert growth(folded, "visitor") == {0: [1, 0, 0, 0, 0], 30: [0, 0, 0, 0, 1]}


def test_a_visitor_who_turns_out_to_be_a_user_is_a_new_user() -> None:
    folded = fold(history(event(at(0), None, anonymous="x"), event(at(0, 1), "x")))
    assert growth(folded, "visitor") == {0: [1, 0, 0, 0, 1]}
    assert growth(folded) == {0: [1, 0, 0, 0, 0]}
    assert folded.users["x"].activity.days == 1


def test_a_visitor_who_turns_out_to_be_a_user_by_a_passive_event_leaves_nothing_behind() -> None:
    passive = [event(at(0, 1), "x", "Email Delivered", id=f"m{i}") for i in range(3)]
    folded = fold(history(event(at(0), None, anonymous="x"), passive))
    assert folded.users == {}
    assert growth(folded, "visitor") == {0: [1, 0, 0, 0, 1]}


def test_consent_without_activity_is_in_no_sum() -> None:
    folded = fold(history(identify(at(0), consent={"email": True}, active=False)))
    assert stage_of(folded) == "unseen"
    assert folded.cells == {}


def test_visitors_have_no_consent_to_keep() -> None:
    consent = event(at(0), None, anonymous="v", kind="identify", traits={"consent": {"email": True}}, active=False)
    assert fold(history(consent)).users == {}


def test_erasure_takes_the_user_out_of_the_stocks() -> None:
    folded = fold(log(now(at(0)), event(at(0)), event(at(1), kind="delete"), now(at(90))))
    assert folded.users == {}
    assert not any(name in ("stage", "risk") for name, _ in folded.cells)
    assert growth(folded) == {0: [1, 0, 0, 0, 0], 1: [0, 0, 0, 0, 1]}
