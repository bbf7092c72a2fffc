"""Why users leave: a planted cause is found and confirmed, and where there is none nothing is made up."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agents.cli import main
from agents.replay import read_line
from pipeline.activity import Activity
from pipeline.partition import Partition
from pipeline.play import Raw, in_order, play
from pipeline.reports.reasons import LEAST, Pair, Reasons, Window, _windows, half_of, reasons, search
from pipeline.state import Groups, UserState
from pipeline.units import DAY
from pipeline.visits import EVENT, FAILURE, Factor, Visit, Visits, read_factor, standing
from schemas.control import Domain, Hold, Tick
from tests.builders import Entry, at, event, identify

DAYS = 120
DORMANT = 30 * DAY
FAILED = (FAILURE, "Payment Failed")


def left_for_a_reason(users: int = 500, *, failing: float = 0.35, seed: int = 1) -> Iterator[Entry]:
    """Everybody comes every few days and sees things; a payment that fails makes half of those it hits leave, some
    leave anyway.
    """
    draw = random.Random(seed)
    for number in range(users):
        user, day = f"u{number}", draw.uniform(0, 60)
        while day < DAYS:
            for name in draw.sample(["Viewed", "Searched", "Saved", "Shared", "Rated"], 2):
                yield event(at(day), user, name)
            failed = draw.random() < failing / 5
            if failed:
                yield event(at(day, 0.01), user, "Payment Failed")
            if draw.random() < (0.5 if failed else 0.03):
                break
            day += draw.uniform(1, 8)


def collected(entries: Sequence[Entry]) -> Visits:
    raws = in_order(read_line(entry.value or b"") for entry in entries)
    visits = Visits()
    for _ in visits.collect(play(raws, None), Partition(0, 1, {})):
        pass
    return visits


@pytest.fixture(scope="module")
def history() -> list[Entry]:
    return list(left_for_a_reason())


@pytest.fixture(scope="module")
def found(history: list[Entry]) -> Reasons:
    return reasons(collected(history), DORMANT)


def test_a_planted_cause_is_found_and_confirmed_and_nothing_else(found: Reasons) -> None:
    assert found.too_few is None
    assert found.left > 2 * LEAST
    assert [(reason.factor, reason.confirmed) for reason in found.found] == [(FAILED, True)]
    (reason,) = found.found
    assert reason.discovery.lift > reason.discovery.low > 1
    assert reason.confirmation.share > 2 * reason.confirmation.other
    assert found.tested > 5


def test_the_order_of_the_lines_makes_no_difference(history: list[Entry], found: Reasons) -> None:
    shuffled = random.Random(4).sample(history, len(history))
    assert reasons(collected(shuffled), DORMANT) == found


def simulated(draw: random.Random, pairs: int, factors: int) -> list[Pair]:
    """Windows that differ by chance only; some factors are rare, and each two of them go together."""
    rates = [0.02 + 0.9 * i / factors for i in range(factors)]

    def window(number: int) -> Window:
        having = [rate for rate in rates if draw.random() < rate]
        return Window(b"%d" % number, frozenset((kind, f"{rate:.3f}") for rate in having for kind in ("a", "b")))

    return [Pair(window(2 * n), window(2 * n + 1)) for n in range(pairs)]


def test_where_nothing_is_associated_hardly_anything_is_found() -> None:
    """200 simulated reports: whatever is found is false, so the false discovery rate is the share that find anything.
    .05 is promised; 3 standard errors of 200 draws are allowed. Confirmed is much less.
    """
    draw, any_found, any_confirmed = random.Random(5), 0, 0
    for _ in range(200):
        tested, found = search(simulated(draw, 60, 10), simulated(draw, 60, 10), frozenset())
        assert tested >= 14
        any_found += bool(found)
        any_confirmed += any(reason.confirmed for reason in found)
    assert any_found / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    assert any_confirmed <= 2


def test_a_whole_history_without_a_cause_gives_nothing() -> None:
    result = reasons(collected(list(left_for_a_reason(failing=0, seed=6))), DORMANT)
    assert result.too_few is None
    assert not [reason for reason in result.found if reason.confirmed]


def test_the_confirming_half_is_never_searched() -> None:
    """A factor that stands out in the other half only is not found, and one of the first half only not confirmed."""
    quiet, loud = marked(0, 100), marked(60, 100)
    kept = frozenset({FAILED})
    assert search(quiet, loud, kept) == (0, [])
    (reason,) = search(loud, quiet, kept)[1]
    assert not reason.confirmed
    (opposite,) = search(loud, [Pair(stayed, left) for left, stayed in loud], kept)[1]
    assert opposite.confirmation.p < 0.01
    assert not opposite.confirmed
    assert search(loud, loud, frozenset()) == (0, [])  # its name is not among the most frequent ones


def marked(having: int, of: int, each: int = 1) -> list[Pair]:
    """So many pairs, `each` of a user who left; before so many a payment failed, and before none who stayed."""
    return [
        Pair(
            Window(b"left %d" % (n // each), frozenset({FAILED} if n < having else ())),
            Window(b"stayed %d" % n, frozenset()),
        )
        for n in range(of)
    ]


def test_a_user_who_leaves_again_and_again_does_not_count_as_many() -> None:
    many, few = (search(marked(12, 100, each), marked(12, 100), frozenset({FAILED}))[1] for each in (1, 6))
    assert [reason.factor for reason in many] == [FAILED]
    assert few == []


def test_a_difference_that_the_other_half_cannot_show_is_not_confirmed() -> None:
    (reason,) = search(marked(60, 100), marked(3, 100), frozenset({FAILED}))[1]
    assert reason.confirmation.lift > 1
    assert not reason.confirmed


def test_what_hardly_anybody_has_is_not_tested() -> None:
    kept = frozenset({FAILED})
    assert search(marked(9, 100), marked(9, 100), kept)[0] == 0
    assert search(marked(10, 100), marked(10, 100), kept)[0] == 1


def visits_of(users: dict[str, list[tuple[int, str]]], end: int = 100) -> Visits:
    """Users by their active days, each with one event."""
    visits = Visits()
    visits.end = end
    for name, days in users.items():
        visits.by_user[name.encode()] = [Visit(day, 0, frozenset({(EVENT, seen)}), frozenset()) for day, seen in days]
    return visits


def test_what_belongs_to_a_season_is_not_taken_for_a_reason() -> None:
    """In the week of a sale nine of ten leave, later one of ten: at the same time nobody differs."""
    users = {}
    for n in range(2_000):
        start, seen, leaves = (0, "Sale", n % 10 > 0) if n % 2 else (35, "Viewed", n % 10 == 0)
        users[f"u{n}"] = [(start, seen)] if leaves else [(start, seen), (start + 20, seen)]
    result = reasons(visits_of(users), DORMANT)
    assert result.too_few is None
    assert result.found == []


def test_who_was_there_more_often_is_not_compared_with_who_came_once() -> None:
    """Each day shows a thing or not, at even chances; who came once mostly leaves, and had fewer chances to see it."""
    draw, users = random.Random(7), {}
    for n in range(1_200):
        days, left = (1, n % 10 > 1) if n % 2 else (3, n % 10 == 0)
        seen = [(day, draw.choice(["Viewed", "Saved"])) for day in range(days)]
        users[f"u{n}"] = seen if left else [*seen, (days + 20, "Back")]
    result = reasons(visits_of(users), DORMANT)
    assert result.too_few is None
    assert not [reason for reason in result.found if reason.confirmed]


def test_a_visit_tells_nothing_until_the_silence_had_time_to_pass() -> None:
    users = {f"left{n}": [(70, "Viewed")] for n in range(300)} | {f"late{n}": [(71, "Viewed")] for n in range(300)}
    result = reasons(visits_of(users, end=101), DORMANT)
    assert (result.left, result.departures, result.pairs) == (300, 300, (0, 0))


def test_a_window_holds_three_days_of_the_dormant_span() -> None:
    days = [(0, "Long ago"), (40, "First"), (41, "Second"), (42, "Third"), (43, "Last"), (200, "Back"), (300, "Again")]
    left, stayed = _windows(visits_of({"ann": days}, end=301), DORMANT)
    seen = {stratum[1]: {value for _, value in window.factors} for stratum, [(_, window)] in left.items()}
    assert seen == {0: {"Long ago"}, 43 // 7: {"Second", "Third", "Last"}, 200 // 7: {"Back"}}
    assert sum(map(len, stayed.values())) == 3
    assert {stratum[2] for stratum in left} == {1, 3}


def test_while_the_source_is_down_nobody_leaves() -> None:
    raw = read_line(event(at(0), "ann").value or b"")
    first, *hours = [Tick(at(0, hour)) for hour in range(33 * 24)]
    for held, left in ([], 1), ([Hold()], 0):
        visits = Visits()
        steps = [Domain("played"), first, raw, *held, *hours]
        for _ in visits.collect(steps, Partition(0, 1, {})):
            pass
        assert reasons(visits, DORMANT).left == left


def test_dark_hours_between_two_visits_are_no_silence() -> None:
    visits = visits_of({"ann": [(0, "Viewed"), (31, "Viewed")]}, end=32)
    assert reasons(visits, DORMANT).left == 1
    visits.by_user[b"ann"][1] = visits.by_user[b"ann"][1]._replace(dark=24)
    visits.dark = 24
    assert reasons(visits, DORMANT).left == 0


def test_halves_are_sticky_and_even() -> None:
    ones = sum(half_of(f"user-{n}".encode()) for n in range(2_000))
    assert 900 < ones < 1_100


def test_windows_know_only_what_was_known_then() -> None:
    """The last window is one of three days within the dormant span; how the user stood is of its end."""
    days = [0, 1, 2, 3]
    entries = [event(at(day), "ann", f"Day {day}", source=["google", "facebook"][day % 2]) for day in days]
    entries += [event(at(50), "ann", "Back"), event(at(90), "bob", "Viewed")]
    visits = collected(entries)
    assert [visit.day - at() // DAY for visit in visits.by_user[b"ann"]] == [0, 1, 2, 3, 50]
    fourth, back = visits.by_user[b"ann"][3:]
    assert fourth.seen == {(EVENT, "Day 3")}
    assert {("lifecycle", "new"), ("tenure", "1-6 days"), ("cohort", "2024-01")} <= fourth.standing
    first, second = visits.by_user[b"ann"][:2]
    assert ("first channel", "organic-search") in first.standing & second.standing
    assert {kind: value for kind, value in second.standing if kind == "last channel"} == {
        "last channel": "organic-social"
    }
    assert not [kind for kind, _ in first.standing if kind == "last channel"]
    assert {("lifecycle", "returned"), ("tenure", "30-89 days")} <= back.standing
    assert visits.end == at(90) // DAY


@pytest.mark.parametrize(
    ("days", "band"),
    [
        (0, "first day"),
        (1, "1-6 days"),
        (7, "7-29 days"),
        (30, "30-89 days"),
        (90, "90-364 days"),
        (365, "365 days or more"),
    ],
)
def test_how_a_user_stands_has_tier_and_tenure(days: int, band: str) -> None:
    state = UserState(activity=Activity(first=at(), last=at(days), days=2), groups=Groups(tier="gold"))
    assert {("tier", "gold"), ("tenure", band), ("cohort", "2024-01")} <= set(standing(state))
    assert "tier" not in dict(standing(UserState(groups=Groups())))


def test_visitors_erased_users_and_passive_events_are_no_visits() -> None:
    entries = [
        event(at(0), None, "Viewed", anonymous="somebody"),
        event(at(0), "ann", "Viewed"),
        event(at(1), "ann", "Email Sent"),
        event(at(0), "gone", "Viewed"),
        event(at(2), "gone", None, kind="delete", id="d1"),
        event(at(2, 1), "gone", "Viewed"),
        event(at(3), "lost", "Viewed"),
        event(at(4), "lost", None, kind="delete", id="d2"),
        identify(at(5), "quiet", active=False, consent={"email": True}),
        event(at(9), "bob", "Viewed"),
    ]
    visits = collected(entries)
    assert {user: len(days) for user, days in visits.by_user.items()} == {b"ann": 1, b"bob": 1, b"gone": 1}


@pytest.mark.parametrize(
    ("name", "properties", "factor"),
    [
        ("Payment Failed", None, FAILED),
        ("Checkout Error", None, (FAILURE, "Checkout Error")),
        ("Terror Film Watched", None, (EVENT, "Terror Film Watched")),
        ("Played", {"error": "stalled"}, (FAILURE, "Played, with an error")),
        ("Played", {"error": None}, (EVENT, "Played")),
        ("Played", {"status": "timed out"}, (FAILURE, "Played, with an error")),
        ("Played", {"status": "ok"}, (EVENT, "Played")),
        ("Played", ["error"], (EVENT, "Played")),
    ],
)
def test_failures_are_told_by_names_and_by_two_properties(name: str, properties: Any, factor: Factor) -> None:
    entry = event(at(0), "ann", name, **({} if properties is None else {"properties": properties}))
    assert read_factor(entry.value or b"") == factor


def test_a_call_without_a_name_and_what_is_no_event() -> None:
    assert read_factor(event(at(0), "ann", None, kind="page").value or b"") == (EVENT, "(page)")
    assert read_factor(b"{") is None


def test_too_few_say_so() -> None:
    few = collected([event(at(day), f"u{day}", "Viewed") for day in range(90)])
    assert reasons(few, DORMANT).too_few == "too few dormant users to tell: 59, at least 100"
    alone = collected([event(at(day / 10), f"u{day}", "Viewed") for day in range(900)])
    assert "counterpart" in (reasons(alone, DORMANT).too_few or "")
    assert reasons(Visits(), DORMANT).too_few == "too few dormant users to tell: 0, at least 100"


def run(path: Path, *options: str) -> str:
    result = CliRunner().invoke(main, ["report", "reasons", str(path), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_says_association_and_never_why(tmp_path: Path, history: list[Entry]) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(entry.value or b"" for entry in history))
    text = run(path)
    assert "associated with leaving" in text
    assert "Payment Failed" in text
    assert "because" not in text
    document = json.loads(run(path, "--json"))
    assert [(f["value"], f["associated_with"], f["confirmed"]) for f in document["factors"]] == [
        ("Payment Failed", "leaving", True)
    ]
    assert document["pairs"]["discovery"] >= LEAST // 2
    path.write_bytes(b"")
    assert "too few dormant users to tell: 0" in run(path)


def test_an_empty_raw_tells_nothing() -> None:
    visits = Visits()
    for _ in visits.collect(play([Raw(b"", b"{", None)], None), Partition(0, 1, {})):
        pass
    assert not visits.by_user
