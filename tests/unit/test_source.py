"""What a dead SDK, a gateway that flushes late and an operator do to silence. Ten users, an event an hour each."""

from collections.abc import Iterable

from tests.builders import Entry, Folded, adopt, at, event, fold, hold, log, now, release

WATCHED = """
version: 1
mode: live
source_guard: {min_expected: 10, dark_below: 0.3}
lifecycle: {at_risk: 6h, dormant: 12h}
consent: {email: {basis: opt_out, trait: email}}
rules:
  - {id: silent, when: {silence: 12h}, holdout: 0, expires_after: 3d, cooldown: 1d, goal: {within: 1d}}
"""
USERS = [f"u{n}" for n in range(10)]
WEEK = 7 * 24


def busy(hours: Iterable[int], *, appended: int | None = None) -> list[Entry]:
    """Everyone is active in each of these hours, and a tick follows."""
    entries = []
    for hour in hours:
        entries += [event(at(0, hour, n), user, appended=appended) for n, user in enumerate(USERS)]
        entries += [] if appended else [now(at(0, hour + 1))]
    return entries


def silent(hours: Iterable[int]) -> list[Entry]:
    return [now(at(0, hour + 1)) for hour in hours]


def folded(*parts: list[Entry]) -> Folded:
    return fold(log(now(at(0)), adopt(WATCHED, at(0)), *parts), WATCHED)


def test_a_dead_sdk_makes_nobody_dormant() -> None:
    outage = folded(busy(range(WEEK)), silent(range(WEEK, WEEK + 48)))
    assert outage.decisions == []
    assert outage.partition.guard.dark == 47  # the clock is an hour behind
    assert outage.cells["stage", ("user", "new")] == [10]


def test_without_the_guard_it_would() -> None:
    blind = WATCHED.replace("0.3", "0")
    assert (
        len(
            fold(
                log(now(at(0)), adopt(blind, at(0)), busy(range(WEEK)), silent(range(WEEK, WEEK + 48))), blind
            ).triggers
        )
        == 10
    )


def test_after_the_outage_silence_counts_on_from_where_it_stood() -> None:
    others = [f"v{n}" for n in range(10)]
    crowd = [
        entry
        for hour in range(WEEK + 24, WEEK + 40)
        for entry in (*(event(at(0, hour, n), user) for n, user in enumerate(others)), now(at(0, hour + 1)))
    ]
    after = folded(busy(range(WEEK)), silent(range(WEEK, WEEK + 24)), crowd)
    assert {user for user, *_ in after.decisions} == set(USERS)
    starts = {t["time"][:13] for t in after.triggers}
    assert starts == {"2024-01-09T11"}  # last seen 2024-01-07T23, 12 h of silence and a day of dark


def test_a_gateway_that_flushes_late_is_applied_and_decides_nothing() -> None:
    flushed = busy(range(WEEK, WEEK + 24), appended=at(0, WEEK + 24))
    late = folded(busy(range(WEEK)), silent(range(WEEK, WEEK + 24)), flushed, busy(range(WEEK + 24, WEEK + 30)))
    assert late.decisions == []
    assert late.counts["rejected"] == 0
    assert late.counts["late"] == 230
    assert all(state.activity.last >= at(0, WEEK + 29) for state in late.users.values())


def test_an_operator_who_holds_the_source_stops_silence() -> None:
    held = folded(busy(range(3)), [hold()], silent(range(3, 60)), [release()], busy(range(60, 63)))
    assert held.decisions == []
    assert held.partition.guard.dark == 57


def test_after_a_release_it_learns_afresh() -> None:
    fewer = [now(at(0, WEEK)), release()]
    half = [e for hour in range(WEEK, WEEK + 30) for e in (event(at(0, hour), "u0"), now(at(0, hour + 1)))]
    again = folded(busy(range(WEEK)), fewer, half)
    assert again.partition.guard.dark == 0
    assert len(again.triggers) == 9
