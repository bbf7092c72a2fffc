"""Each score is told once at a deadline, and held against what followed: each rule by its smallest log."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.risk import Calibration, Recency
from pipeline.sums import CALIBRATION
from pipeline.sums.calibration import BANDS, band_of
from pipeline.units import DAY, HOUR
from tests.builders import (
    Entry,
    Folded,
    adopt,
    adopt_model,
    at,
    event,
    fold,
    history,
    hold,
    models,
    order,
    release,
    tick,
    ticks,
)

POLICY = """
version: 1
mode: live
salt: test
lifecycle: {at_risk: 1d, dormant: 4d}
consent: {email: {basis: opt_out, trait: email}}
"""

RISKY = (
    POLICY
    + """
rules:
  - id: leaving
    when: {risk_above: 0.74, min_silence: 1d, min_active_days: 1}
    channel: email
    holdout: 0
    expires_after: 3d
    goal: {within: 1d}
"""
)


def recency(horizon: int = 2 * DAY, weight: float = 1.0) -> bytes:
    """P(no event) = 1 - 1/(2 + days of silence), for a weight of 1."""
    return Recency(horizon, 0.0, 0.0, weight).to_json()


MODEL = recency()
VERSION = sha256(MODEL).hexdigest()[:12]


def run(*entries: Entry | Sequence[Entry], policy: str = POLICY, bodies: Sequence[bytes] = (MODEL,)) -> Folded:
    return fold(history(adopt_model(bodies[0]), *entries, policy=policy), policy, extra=models(*bodies))


def scores(folded: Folded) -> list[tuple[int, str, str, dict[str, int]]]:
    """(day of the horizon's end since T0, model, band, the fields that are not 0)."""
    found = []
    for (name, dims), cell in sorted(folded.cells.items()):
        if name == "calibration":
            day, model, band = dims
            fields = dict(zip(CALIBRATION.fields, cell, strict=True))
            found.append((int(day) - at(0) // DAY, str(model), str(band), {k: v for k, v in fields.items() if v}))
    return found


def test_a_score_is_told_at_a_deadline_and_waits() -> None:
    folded = run(event(at(0)), ticks(at(0), at(1, 3)))
    check = folded.users["ann"].check
    assert check is not None
    assert (check.model, check.percent, check.at, check.horizon) == (VERSION, 67, at(1, 1), 2 * DAY)
    assert scores(folded) == [(3, VERSION, "65", {"told": 1})]


def test_silence_to_the_horizons_end_resolves_it_once_and_by_itself() -> None:
    folded = run(event(at(0)), ticks(at(0), at(3, 2)))
    assert scores(folded) == [(3, VERSION, "65", {"told": 1})]
    folded = run(event(at(0)), ticks(at(0), at(3, 4)))
    assert scores(folded) == [(3, VERSION, "65", {"told": 1, "silent": 1, "percent": 67})]
    assert folded.users["ann"].check is None
    later = run(event(at(0)), ticks(at(0), at(40)))  # dormancy tells another one; after that nothing is due
    assert scores(later)[0] == scores(folded)[0]
    assert scores(later)[1:] == [(6, VERSION, "80", {"told": 1, "silent": 1, "percent": 83})]
    assert later.users["ann"].wake == 0xFFFFFFFF


@pytest.mark.parametrize(("hours", "field"), [(1, "came"), (2 * 24 + 1, "came"), (2 * 24 + 2, "silent")])
def test_the_first_activity_after_it_resolves_it(hours: int, field: str) -> None:
    back = at(1, hours) + (1 if hours == 1 else 0)
    folded = run(event(at(0)), ticks(at(0), max(at(1, 2), back)), event(back), event(back + 1))
    assert folded.users["ann"].check is None
    assert scores(folded)[0] == (3, VERSION, "65", {"told": 1, field: 1, "percent": 67})


def test_an_activity_of_before_the_score_leaves_it() -> None:
    late = event(at(0, 23), id="late")
    folded = run(event(at(0)), ticks(at(0), at(1, 3)), late)
    assert folded.counts["late"] == 1
    assert scores(folded) == [(3, VERSION, "65", {"told": 1})]
    folded = run(event(at(0)), ticks(at(0), at(1, 3)), late, ticks(at(1, 4), at(3, 4)))
    assert scores(folded)[0][3] == {"told": 1, "silent": 1, "percent": 67}


def test_a_late_activity_of_before_the_score_does_not_put_its_end_off() -> None:
    slow = POLICY.replace("at_risk: 1d, dormant: 4d", "at_risk: 14d, dormant: 30d")
    folded = run(
        event(at(0)), ticks(at(0), at(14, 3)), event(at(13, 23), id="late"), ticks(at(14, 4), at(16, 4)), policy=slow
    )
    assert scores(folded) == [(16, VERSION, "90", {"told": 1, "silent": 1, "percent": 94})]


def test_what_is_no_activity_resolves_nothing() -> None:
    folded = run(event(at(0)), ticks(at(0), at(1, 3)), event(at(1, 4), name="Email Delivered"))
    assert scores(folded) == [(3, VERSION, "65", {"told": 1})]


def test_dark_time_does_not_count() -> None:
    dark = [hold(), *ticks(at(1, 3), at(3)), release()]
    folded = run(event(at(0)), ticks(at(0), at(1, 2)), dark, ticks(at(3), at(4, 19)), event(at(4, 20)))
    assert scores(folded)[0][3] == {"told": 1, "came": 1, "percent": 67}  # by the calendar it was too late
    folded = run(event(at(0)), ticks(at(0), at(1, 2)), dark, ticks(at(3), at(4, 20)))
    assert scores(folded)[0][3] == {"told": 1}
    folded = run(event(at(0)), ticks(at(0), at(1, 2)), dark, ticks(at(3), at(5, 12)))
    assert scores(folded)[0][3] == {"told": 1, "silent": 1, "percent": 67}


def test_without_a_model_nothing_is_told() -> None:
    quiet = fold(history(event(at(0)), ticks(at(0), at(9)), policy=POLICY), POLICY)
    assert scores(quiet) == []
    ended = run(adopt_model(None), event(at(0)), ticks(at(0), at(9)))
    assert scores(ended) == []
    assert (ended.users["ann"].check, ended.users["ann"].wake) == (None, quiet.users["ann"].wake)


def test_visitors_are_not_scored() -> None:
    assert scores(run(event(at(0), None, anonymous="v"), ticks(at(0), at(40)))) == []


def test_whoever_comes_back_before_the_clock_is_not_scored() -> None:
    """The event that shows that a deadline has passed also shows what followed."""
    folded = run(event(at(0)), ticks(at(0), at(1)), event(at(1, 0, 30)))
    assert scores(folded) == []


def test_another_model_leaves_what_waits_to_the_one_that_told_it() -> None:
    other = recency(DAY, 2.0)
    version = sha256(other).hexdigest()[:12]
    folded = run(
        event(at(0)), ticks(at(0), at(1, 3)), adopt_model(other), ticks(at(1, 4), at(9)), bodies=(MODEL, other)
    )
    assert scores(folded) == [
        (3, VERSION, "65", {"told": 1, "silent": 1, "percent": 67}),
        (5, version, "95", {"told": 1, "silent": 1, "percent": 96}),
    ]


def test_the_end_of_a_model_leaves_what_waits() -> None:
    folded = run(event(at(0)), ticks(at(0), at(1, 3)), adopt_model(None), ticks(at(1, 4), at(9)))
    assert scores(folded) == [(3, VERSION, "65", {"told": 1, "silent": 1, "percent": 67})]


def test_a_score_of_somebody_who_is_erased_is_lost() -> None:
    folded = run(event(at(0)), ticks(at(0), at(1, 3)), event(at(1, 3), kind="delete"), ticks(at(1, 4), at(9)))
    assert scores(folded) == [(3, VERSION, "65", {"told": 1, "lost": 1})]


def test_a_restart_changes_nothing() -> None:
    records = history(adopt_model(MODEL), event(at(0)), ticks(at(0), at(9)), policy=RISKY)
    whole = fold(records, RISKY, extra=models(MODEL))
    for cut in range(0, len(records), 17):
        first = fold(records[:cut], RISKY, extra=models(MODEL))
        again = fold([], RISKY, extra=models(MODEL))
        again.partition.restore(first.changelog)
        again.feed(records[cut:])
        assert [*first.triggers, *again.triggers] == whole.triggers
        assert first.table | again.table == whole.table


# ---- rules by the adopted model


def test_a_rule_by_risk_is_due_when_the_model_says_so() -> None:
    folded = run(event(at(0)), ticks(at(0), at(4)), policy=RISKY)
    (trigger,) = folded.triggers
    assert trigger["data"]["episode"]["entered_at"] == "2024-01-02T21:00:00.000Z"
    assert trigger["data"]["risk"] == {"p": 0.7419, "horizon": 2 * DAY, "model_version": VERSION}
    gates = {gate["feature"]: gate for gate in trigger["data"]["explain"]}
    assert gates["risk"]["value"] == 0.7419
    assert gates["risk.silence_days"]["contribution"] == pytest.approx(1.0561, abs=1e-4)


def test_what_a_trigger_says_of_its_risk_adds_up_to_it() -> None:
    calibration = Calibration((0.0, 1.0), (-0.7, 0.2))
    model = Recency(2 * DAY, 0.3, 0.5, 1.2, calibration)
    records = history(adopt_model(model.to_json()), event(at(0)), ticks(at(0), at(9)), policy=RISKY)
    (trigger,) = fold(records, RISKY, extra=models(model.to_json())).triggers
    parts = {g["feature"]: g["contribution"] for g in trigger["data"]["explain"] if g["feature"].startswith("risk.")}
    assert list(parts) == ["risk.base", "risk.silence_days", "risk.calibration"]
    assert parts["risk.base"] == 0.3
    assert parts["risk.calibration"] < -0.7
    risk = trigger["data"]["risk"]["p"]
    assert sum(parts.values()) == pytest.approx(log(risk / (1 - risk)), abs=2e-3)


def test_without_a_model_a_rule_by_risk_is_never_due() -> None:
    assert run(adopt_model(None), event(at(0)), ticks(at(0), at(9)), policy=RISKY).decisions == []


def test_a_new_model_opens_no_backlog() -> None:
    """By the new one the threshold was reached before it was adopted, and nobody has looked at the user since."""
    late, soon = recency(weight=0.1), recency()
    entries = [event(at(0)), *ticks(at(0), at(3)), adopt_model(soon), *ticks(at(3, 1), at(9)), event(at(9))]
    folded = run(entries, ticks(at(9), at(12)), policy=RISKY, bodies=(late, soon))
    assert [trigger["data"]["episode"]["start"] for trigger in folded.triggers] == ["2024-01-10T00:00:00.000Z"]


# ---- the sum


def test_bands_hold_every_percent() -> None:
    assert [band_of(percent) for percent in (0, 4, 5, 99, 100)] == ["00", "00", "05", "95", "95"]
    assert {band_of(percent) for percent in range(101)} == set(BANDS)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ("event", "order", "backfill", "late", "delete", "other", "end", "first", "hold", "release")
            ),
            st.sampled_from((0, HOUR, 7 * HOUR, DAY, 2 * DAY, 5 * DAY)),
            st.sampled_from(("ann", "bob")),
        ),
        max_size=25,
    )
)
def test_every_score_is_resolved_or_waits_or_is_lost(story: list[tuple[str, int, str]]) -> None:
    other = recency(5 * DAY, 0.3)
    made: dict[str, Callable[[int, str], Entry]] = {
        "event": event,
        "order": order,
        "backfill": lambda time, user: event(time - DAY, user, backfill=True, id=f"b{time}"),
        "late": lambda time, user: event(time - 9 * HOUR, user, id=f"l{time}"),
        "delete": lambda time, user: event(time, user, kind="delete", id=f"d{time}"),
        "other": lambda time, _: adopt_model(other, time),
        "end": lambda time, _: adopt_model(None, time),
        "first": lambda time, _: adopt(RISKY, time),
        "hold": lambda time, _: hold(time),
        "release": lambda time, _: release(time),
    }
    entries, now = [], at(0)
    for what, passed, user in story:
        entries += ticks(now + HOUR, now + passed)
        now += passed
        entries.append(made[what](now, user))
    folded = fold(history(adopt_model(MODEL), entries, tick(now), policy=RISKY), RISKY, extra=models(MODEL, other))
    waits = sum(state.check is not None for state in folded.users.values())
    totals = dict.fromkeys(CALIBRATION.fields, 0)
    for _, _, _, fields in scores(folded):
        totals = {name: totals[name] + fields.get(name, 0) for name in totals}
        assert fields["told"] >= sum(fields.get(name, 0) for name in ("silent", "came", "lost"))
    assert totals["told"] == totals["silent"] + totals["came"] + totals["lost"] + waits
