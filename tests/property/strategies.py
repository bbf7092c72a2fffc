"""Random logs. Few users, short spans, a coarse grid of times: so that returns, deadlines and duplicates meet."""

from typing import Any, Final

from hypothesis import strategies as st

from pipeline.records import LogRecord
from pipeline.units import DAY, HOUR, MINUTE
from tests.builders import (
    Entry,
    adopt,
    at,
    event,
    gap,
    hold,
    log,
    now,
    order,
    pause,
    played,
    registry,
    release,
    resume,
    tick,
)

CALM: Final = """
version: 1
mode: live
salt: calm
lifecycle: {new_for: 1d, at_risk: 12h, dormant: 2d, returned_for: 1d}
activation: {event: Order Completed, within: 1d}
currency: {reporting: USD, rates: {EUR: 1.08}}
source_guard: {dark_below: 0}
channels: [{name: letters, source: newsletter}]
consent: {email: {basis: opt_out, trait: email}, push: {basis: opt_out, trait: push}}
rules:
  - {id: early, when: {silence: 1d}, channel: email, holdout: 0, expires_after: 6h, cooldown: 3d, goal: {within: 2d}}
  - {id: late, when: {silence: 2d}, channel: push, holdout: 0.5, expires_after: 1d, cooldown: 3d,
     goal: {event: Order Completed, within: 1d}}
"""

RISKY: Final = """
version: 1
mode: shadow
salt: risky
time: {lateness: 2h, skew: 30m}
lifecycle: {new_for: 2d, at_risk: 1d, dormant: 3d, returned_for: 12h}
risk: {model: mbg, r: 0.5, alpha: 1.5, a: 0.9, b: 1.6, unit: 1d}
source_guard: {dark_below: 0}
consent: {email: {basis: opt_out, trait: email}}
rules:
  - id: fading
    mode: live
    when: {p_alive_below: 0.5, min_silence: 6h, min_active_days: 2}
    holdout: 0.3
    expires_after: 2d
    cooldown: 1d
    goal: {within: 1d}
  - {id: tried, when: {silence: 1d}, goal: {within: 1d}}
  - {id: last-call, mode: live, when: {silence: 8d}, cooldown: 1d, goal: {within: 1d}}
"""

WARY: Final = CALM.replace("dark_below: 0}", "min_expected: 1, dark_below: 0.5}").replace("salt: calm", "salt: wary")

POLICIES: Final = (CALM, RISKY, WARY)
REGISTRY: Final = registry(*POLICIES)

USERS: Final = ("u0", "u1", "u2", "u3", "v0")
VISITORS: Final = ("v0", "v1")
SOURCES: Final = (None, None, "google", "newsletter", "facebook")
STEPS: Final = (0, 0, 10 * MINUTE, 40 * MINUTE, HOUR, 5 * HOUR, 11 * HOUR, DAY, 2 * DAY, 3 * DAY, 8 * DAY, 31 * DAY)
OFFSETS: Final = (
    0,
    0,
    0,
    -5 * MINUTE,
    -50 * MINUTE,
    -3 * HOUR,
    -DAY,
    -3 * DAY,
    -9 * DAY,
    20 * MINUTE,
    2 * HOUR,
    400 * DAY,
)
POISON: Final = (
    Entry(b"u0", None),
    Entry(b"u0", b"{"),
    Entry(b"u0", b'{"messageId": 1}'),
    Entry(b"u0", b'{"messageId": "m", "type": "visit", "userId": "u0"}'),
    Entry(None, b"{}"),
    event(at(1), "u1", key=b"u2"),
    event(at(1), "null"),
    event(None, "u1"),
    event(0, "u1"),
    event(at(1), "u1", schemaVersion=9),
    order(at(0), "u1", revenue=-1),
    order(at(0), "u1", currency="ZZZ"),
    Entry(b"rekindle.control", b"{}"),
)

simple = st.sampled_from
_traits = st.fixed_dictionaries(
    {},
    optional={
        "unsubscribed": st.booleans(),
        "consent": st.dictionaries(simple(("email", "push")), st.booleans(), max_size=2),
        "timezone": simple(("Europe/Berlin", "Asia/Tokyo")),
        "first_touch": st.fixed_dictionaries({"source": simple(("google", "newsletter"))}),
    },
)


@st.composite
def _happening(draw: Any, time: int, appended: int, number: int, *, backfill: bool | None = None) -> Entry:
    """Something of one user at `time`."""
    history = draw(simple((False,) * 7 + (True,))) if backfill is None else backfill
    common = {
        "id": f"m{number}",
        "appended": appended,
        "active": draw(simple((None,) * 3 + (False,))),
        "backfill": history,
    }
    kind = draw(
        simple(
            ("view", "view", "view", "order", "order", "page", "identify", "anonymous", "passive", "delete", "alias")
        )
    )
    user = draw(simple(USERS))
    source = draw(simple(SOURCES))
    match kind:
        case "view":
            return event(time, user, source=source, **common)
        case "order":
            currency = draw(simple(("USD", "EUR", "JPY", None)))
            return order(time, user, draw(simple((25, "19.99", 0))), currency, source=source, **common)
        case "identify":
            return event(time, user, kind="identify", traits=draw(_traits), **common)
        case "anonymous":
            return event(time, None, anonymous=draw(simple(VISITORS)), source=source, **common)
        case "passive":
            return event(time, user, draw(simple(("Email Delivered", "Unsubscribed"))), source=source, **common)
        case _:
            return event(time, user, kind=kind, **common)


@st.composite
def _erased(draw: Any, sent: list[Entry], clock: int, number: int) -> list[Entry]:
    """A user is erased; records of theirs come again, older and newer ones of theirs too."""
    user = (draw(simple(sent)).key or b"").decode()
    again = [entry._replace(appended=clock) for entry in sent if entry.key == user.encode()]
    backfill = draw(st.booleans())
    around = [
        event(clock + offset, user, id=f"a{number}/{offset}", appended=clock, backfill=backfill)
        for offset in draw(st.lists(simple(OFFSETS[:-1]), max_size=3, unique=True))
    ]
    erased = event(clock + draw(simple((0, -HOUR, -3 * DAY))), user, kind="delete", id=f"m{number}", appended=clock)
    return [erased, *draw(st.permutations([*again, *around]))]


@st.composite
def logs(draw: Any, *, live: bool | None = None, policies: tuple[str, ...] = POLICIES) -> list[LogRecord]:
    """Any log of one partition: late, early, repeated, backfilled, poisoned and controlled."""
    live = draw(st.booleans()) if live is None else live
    clock = at(0)
    entries = _beginning(draw, clock, policies, live=live)
    sent: list[Entry] = []
    for number in range(draw(st.integers(5, 30))):
        step = draw(simple(STEPS))
        entries += _ticks(draw, clock, step, live=live)
        clock += step
        match draw(simple(("event",) * 12 + ("again", "poison", "control", "erased"))):
            case "again" if sent:
                entries.append(draw(simple(sent[-8:]))._replace(appended=clock))
            case "poison":
                entries.append(draw(simple(POISON))._replace(appended=clock))
            case "erased" if sent:  # and then what is known of them is imported again, as history or as it came
                entries += draw(_erased(sent[-8:], clock, number))
            case "control":
                entries.append(draw(simple(_controls(clock, policies))))
            case _:
                sent.append(draw(_happening(clock + draw(simple(OFFSETS)), clock, number)))
                entries.append(sent[-1])
    return log(entries, _ticks(draw, clock, draw(simple((3 * HOUR, 3 * DAY, 40 * DAY))), live=live))


@st.composite
def ordered_logs(draw: Any) -> list[LogRecord]:
    """A log in order of time, whose ticks and control messages are to be the same in every partition.

    No duplicates, nothing late or backfilled, control messages right after a tick; the source guard abstains.
    """
    live = draw(st.booleans())
    calm = (CALM, RISKY)
    clock = ticked = at(0)
    entries = _beginning(draw, clock, calm, live=live)
    for number in range(draw(st.integers(5, 40))):
        step = draw(simple(STEPS))
        if clock + step - ticked >= HOUR:
            entries += _ticks(draw, ticked, clock + step - ticked, live=live)
            ticked = clock + step
        clock += step
        if ticked == clock and draw(simple((False,) * 9 + (True,))):
            entries.append(
                draw(simple((adopt(CALM, clock), adopt(RISKY, clock), pause(), pause("early"), resume(), gap(1, 2))))
            )
        else:
            entries.append(draw(_happening(clock, clock, number, backfill=False)))
    return log(entries, _ticks(draw, ticked, clock - ticked + draw(simple((3 * HOUR, 3 * DAY, 40 * DAY))), live=live))


def _beginning(draw: Any, clock: int, policies: tuple[str, ...], *, live: bool) -> list[Entry]:
    adopts = [adopt(draw(simple(policies)), clock)] if draw(simple((True, True, True, False))) else []
    return [*(() if live else (played(),)), *adopts, now(clock) if live else tick(clock)]


def _ticks(draw: Any, clock: int, step: int, *, live: bool) -> list[Entry]:
    """Ticks up to `clock + step`: one, or one every six hours."""
    if not step:
        return []
    pace = draw(simple((6 * HOUR, step))) if step > 6 * HOUR else step
    times = [clock + passed for passed in (*range(pace, step, pace), step)]
    return [now(time) if live else tick(time) for time in times]


def _controls(clock: int, policies: tuple[str, ...]) -> tuple[Entry, ...]:
    adopts = tuple(adopt(policy, clock) for policy in policies)
    return (
        *adopts,
        hold(clock),
        release(clock),
        release(clock),
        pause(),
        pause("early"),
        resume(),
        resume("early"),
        gap(3, 5),
    )
