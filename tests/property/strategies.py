"""Random logs. Few users, short spans, a coarse grid of times: so that returns, deadlines and duplicates meet."""

from hashlib import sha256
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from pipeline.records import LogRecord
from pipeline.units import DAY, HOUR, MINUTE
from schemas.event import FEEDBACK_EVENTS
from tests.builders import (
    Entry,
    adopt,
    adopt_lease,
    adopt_model,
    adopt_quantiles,
    at,
    event,
    gap,
    hold,
    leases,
    log,
    milliseconds,
    models,
    now,
    order,
    pause,
    played,
    quantiles,
    registry,
    release,
    resume,
    tick,
)
from tests.property.policies import CALM, DENSE, GROUPED, LEASES, MODELS, POLICIES, QUANTILES, RISKY

REGISTRY: Final = registry(*POLICIES) | leases(*LEASES) | models(*MODELS) | quantiles(*QUANTILES)

USERS: Final = ("u0", "u1", "u2", "u3", "v0")
VISITORS: Final = ("v0", "v1")
RULES: Final = ("early", "late", "hello", "miss")
# New year; two days before Europe's clocks go forward, a day before they go back; before those of Lord Howe do.
STARTS: Final = (at(0), at(0), at(0), at(88), at(299), at(95, 12), at(277, 6))
SOURCES: Final = (None, None, "google", "newsletter", "facebook")
STEPS: Final = (
    *(0, 0, 10 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 5 * HOUR, 9 * HOUR, 11 * HOUR),
    *(DAY, 2 * DAY, 3 * DAY, 8 * DAY, 31 * DAY),
)
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
        "consent": st.dictionaries(simple(("email", "push", "phone")), st.booleans(), max_size=3),
        "timezone": simple(("Europe/Berlin", "Asia/Tokyo", "America/St_Johns", "Nowhere/Land")),
        "first_touch": st.fixed_dictionaries({"source": simple(("google", "newsletter"))}),
    },
)
_products = st.none() | st.lists(
    st.fixed_dictionaries({}, optional={"product_id": st.integers(0, 11), "sku": simple(("s1", "s2"))}), max_size=6
)


@st.composite
def _feedback(draw: Any, sent: list[Entry], clock: int, number: int) -> list[Entry]:
    """What is reported of the messages that may have been sent to a user, for their last silence or their first."""
    user = draw(simple(sent)).key or b""
    bodies = [msgspec.json.decode(entry.value or b"") for entry in sent if entry.key == user]
    times = [milliseconds(body["timestamp"]) or 0 for body in bodies]
    found: list[Entry] = []
    for rule, step in draw(st.lists(st.tuples(simple(RULES), simple((0, 0, 0, 1, 2))), min_size=4, max_size=8)):
        start = min(times) if rule == "hello" else max(times)
        name = "\x1f".join(("default", user.decode(), rule, str(start), str(step)))
        told = draw(simple((sha256(name.encode()).hexdigest()[:32],) * 15 + (1,)))
        offset, kind = draw(simple(OFFSETS[:5])), draw(simple(tuple(FEEDBACK_EVENTS)))
        named: dict[str, Any] = {"id": f"m{number}/{len(found)}", "appended": clock, "properties": {"trigger_id": told}}
        found.append(event(clock + offset, user.decode(), kind, **named))
    return found


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
            return order(time, user, draw(simple((25, "19.99", 0))), currency, draw(_products), source=source, **common)
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
    clock = draw(simple(STARTS))
    entries = _beginning(draw, clock, policies, live=live)
    sent: list[Entry] = []
    for number in range(draw(st.integers(5, 30))):
        step = draw(simple(STEPS))
        entries += _ticks(draw, clock, step, live=live)
        clock += step
        match draw(
            simple(("event",) * 12 + ("again", "poison", "control", "control", "feedback", "feedback", "erased"))
        ):
            case "again" if sent:
                entries.append(draw(simple(sent[-8:]))._replace(appended=clock))
            case "poison":
                entries.append(draw(simple(POISON))._replace(appended=clock))
            case "erased" if sent:  # and then what is known of them is imported again, as history or as it came
                entries += draw(_erased(sent[-8:], clock, number))
            case "feedback" if sent:  # once the silence has lasted
                silence = draw(simple((0, 9 * HOUR, 14 * HOUR, 27 * HOUR)))
                entries += _ticks(draw, clock, silence, live=live)
                clock += silence
                entries += draw(_feedback(sent[-12:], clock, number))
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
    calm = (CALM, RISKY, DENSE, GROUPED)
    clock = ticked = draw(simple(STARTS))
    entries = _beginning(draw, clock, calm, live=live)
    for number in range(draw(st.integers(5, 40))):
        step = draw(simple(STEPS))
        if clock + step - ticked >= HOUR:
            entries += _ticks(draw, ticked, clock + step - ticked, live=live)
            ticked = clock + step
        clock += step
        if ticked == clock and draw(simple((False,) * 9 + (True,))):
            adopts = [*(adopt(policy, clock) for policy in calm), adopt_lease(LEASES[1], clock)]
            entries.append(draw(simple((*adopts, pause(), pause("early"), resume(), gap(1, 2)))))
        else:
            entries.append(draw(_happening(clock, clock, number, backfill=False)))
    return log(entries, _ticks(draw, ticked, clock - ticked + draw(simple((3 * HOUR, 3 * DAY, 40 * DAY))), live=live))


def _beginning(draw: Any, clock: int, policies: tuple[str, ...], *, live: bool) -> list[Entry]:
    adopts = [adopt(draw(simple(policies)), clock)] if draw(simple((True, True, True, False))) else []
    adopts += [adopt_lease(LEASES[1], clock), adopt_model(MODELS[0], clock)] if draw(st.booleans()) else []
    adopts += [adopt_quantiles(QUANTILES[0], clock)] if draw(st.booleans()) else []
    return [*(() if live else (played(),)), *adopts, now(clock) if live else tick(clock)]


def _ticks(draw: Any, clock: int, step: int, *, live: bool) -> list[Entry]:
    """Ticks up to `clock + step`: one, or one every two or six hours."""
    if not step:
        return []
    pace = draw(simple((6 * HOUR, 2 * HOUR if step <= 3 * DAY else 6 * HOUR, step))) if step > 6 * HOUR else step
    times = [clock + passed for passed in (*range(pace, step, pace), step)]
    return [now(time) if live else tick(time) for time in times]


def _controls(clock: int, policies: tuple[str, ...]) -> tuple[Entry, ...]:
    adopts = tuple(adopt(policy, clock) for policy in policies)
    return (
        *adopts,
        *(adopt_lease(lease, clock) for lease in LEASES),
        *(adopt_model(model, clock) for model in (*MODELS, None)),
        *(adopt_quantiles(thresholds, clock) for thresholds in QUANTILES),
        hold(clock),
        release(clock),
        release(clock),
        pause(),
        pause("early"),
        resume(),
        resume("early"),
        gap(3, 5),
    )
