"""History that is filled in decides nothing, however it meets the clock."""

from tests.builders import adopt, at, event, fold, log, now


def test_history_that_runs_past_a_deadline_ahead_of_the_clock_is_silent() -> None:
    quiet = [now(at(day)) for day in range(1, 31)]
    ahead = event(at(30, 0, 30), backfill=True, appended=at(30))
    records = log(now(at(0)), adopt(appended=at(0)), event(at(0)), quiet, ahead, now(at(31)))
    folded = fold(records)
    assert folded.decisions == []
    assert folded.users["ann"].activity.last == at(30, 0, 30)


def test_an_event_in_its_place_is_a_return() -> None:
    quiet = [now(at(day)) for day in range(1, 31)]
    records = log(
        now(at(0)), adopt(appended=at(0)), event(at(0)), quiet, event(at(30, 0, 30), appended=at(30)), now(at(31))
    )
    assert fold(records).decisions == [("ann", "silent", "returned", ["returned"])]
