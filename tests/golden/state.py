"""The state of a release, kept for ever: what it wrote, what that means, and what follows from it.

`python -m tests.golden.state` writes the folder of this release's STATE_VERSION once; a folder that is there is never
written again, since deployed states look like it. A later release has to read every one of them.
"""

import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from pipeline.partition import Partition
from pipeline.perks import SLOTS
from pipeline.records import LogRecord
from pipeline.risk import Recency
from pipeline.state import STATE_VERSION
from pipeline.units import DAY
from schemas.control import Lease
from tests.builders import (
    Entry,
    Folded,
    adopt,
    adopt_lease,
    adopt_model,
    at,
    event,
    gap,
    hold,
    identify,
    log,
    pause,
    played,
    registry,
    release,
    resume,
    tick,
)

HERE: Final = Path(__file__).parent
POLICY: Final = """
version: 1
mode: live
salt: golden
lifecycle: {new_for: 7d, at_risk: 10d, dormant: 20d, returned_for: 14d}
currency: {reporting: USD, rates: {EUR: 1.08, JPY: 0.007}}
source_guard: {min_expected: 2, dark_below: 0.3}
activation: {event: Order Completed, within: 14d}
tiers: [{id: gold, where: {value_365d: {at_least: 100}}}]
segments:
  - {id: gold-away, where: {tier: gold, silence_days: {at_least: 8}}}
  - {id: regulars, where: {active_days: {at_least: 6}}}
consent:
  email: {basis: opt_out, trait: email}
  push: {basis: opt_out, trait: push}
caps: {per_week: 1, channels: {email: {per_day: 1}}}
quiet_hours: {from: "18:00", to: "09:00", timezone: Europe/Berlin}
holdout: 0.1
perks: [{id: ten-off, cost: 10, budget: 5000}]
rules:
  - id: gold-back
    when: {segment: gold-away}
    priority: 1
    content: {feature_id: shelf, items: 2}
    perk: ten-off
    steps: [{after: 4d, channel: push, template: again}]
    holdout: 0.3
    expires_after: 2d
    cooldown: 20d
    ceiling: 3
    goal: {event: Order Completed, within: 14d}
  - {id: hello, kind: activate, when: {not_activated: 3d}, holdout: 0.2, cooldown: 20d, goal: {within: 5d}}
  - {id: risky, when: {risk_above: 0.8, min_silence: 6d}, holdout: 0.2, cooldown: 20d, goal: {within: 5d}}
  - id: silent
    when: {silence: 20d}
    holdout: 0.4
    expires_after: 3d
    cooldown: 30d
    backlog: {spread: 5d}
    goal: {within: 14d}
  - id: fading
    when: {p_alive_below: 0.3, min_silence: 5d, min_active_days: 3}
    channel: push
    holdout: 0
    expires_after: 1d
    cooldown: 20d
    goal: {event: Order Completed, within: 10d}
"""
USERS: Final = 40
MODEL: Final = Recency(horizon=7 * DAY, base=0.0, mean=2.0, weight=3.0).to_json()
LEASE: Final = msgspec.json.encode(Lease({"ten-off": [1000] * SLOTS}))
SECRET: Final = b"of the golden state"


class Golden(msgspec.Struct):
    """One file. `state`: the compacted changelog; `rest`: the log behind it, as (offset, timestamp, key, value,
    headers); `outputs`: what folding `rest` wrote, by topic.
    """

    state: list[tuple[bytes, bytes]]
    rest: list[tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes]]]]
    outputs: dict[str, list[tuple[bytes, bytes, list[tuple[str, bytes]]]]]


class Story(NamedTuple):
    """A log in two halves; the state is taken between them."""

    before: list[LogRecord]
    after: list[LogRecord]


def story() -> Story:
    """Users of every kind, in every stage, with everything that a row, a cell and the partition row can hold."""

    def day(number: int) -> list[Entry]:
        entries = [tick(at(number, hour)) for hour in range(24)]
        for user in range(USERS):
            name = f"user-{user}"
            # The later their number, the longer they stay; all come back once.
            if number % 60 > user or (number * 7 + user) % (2 + user % 9):
                continue
            when = at(number, user % 24, user)
            entries.append(event(when, name, source=("google", "newsletter", None)[user % 3]))
            if user % 4 == 0:
                currency = ("USD", "EUR", "JPY", "GBP")[user // 4 % 4]
                bought = {
                    "revenue": 10 + user,
                    "currency": currency,
                    "products": [{"product_id": f"item-{number % 3}"}, {"sku": user}],
                }
                key = f"order-{user}-{number}"
                entries.append(event(when + 60_000, name, "Order Completed", id=key, properties=bought))
            if user % 11 == 0:
                entries.append(entries[-1])  # sent twice
        return sorted(entries, key=lambda entry: entry.appended)

    known = [
        identify(at(1), "user-3", timezone="Europe/Berlin", locale="de-DE", unsubscribed=True),
        identify(at(1), "user-9", consent={"email": False, "push": True}),
        event(at(2), None, anonymous="visitor-1", source="google"),
        event(at(2), "user-5", "Email Unsubscribed"),
        event(at(1), "user-6", id="imported", backfill=True),
        event(at(3), "user-7", kind="delete"),
        Entry(b"user-1", b"{"),
        Entry(b"user-1", None),
        gap(5, 9),
    ]
    first = [played(), tick(at(0)), adopt(POLICY), adopt_model(MODEL), adopt_lease(LEASE)]
    early = [entry for number in range(45) for entry in day(number)]
    interrupted = [hold(), *day(45), *day(46), release(), pause("fading"), *day(47), resume(), pause("silent")]
    late = [event(at(44), "user-2", id="late"), event(at(47), "user-30", id="of-the-end"), event(at(47), "newcomer")]
    late.append(event(at(47), None, anonymous="visitor-2", source="google"))
    whole = log(first, early[: len(early) // 2], known, early[len(early) // 2 :], interrupted, late, day(48))
    again = [entry for entry in late if entry.key == b"user-30"]  # sent twice, on both sides of the state
    ending = [resume(), *again, *(entry for number in range(49, 90) for entry in day(number)), tick(at(130))]
    return Story(whole, log(ending, start=len(whole)))


def make() -> Golden:
    """Fold the story by the present code."""
    told = story()
    folded = Folded(partition()).feed(told.before)
    state = sorted(folded.table.items())
    folded.outputs.clear()
    folded.feed(told.after)
    rest = [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in told.after]
    outputs = {topic: [tuple(output) for output in found] for topic, found in folded.outputs.items()}
    return Golden(state, rest, outputs)


def partition() -> Partition:
    """An empty one that knows policy, model and lease."""
    bodies = {f"model/{sha256(MODEL).hexdigest()}": MODEL, f"lease/{sha256(LEASE).hexdigest()}": LEASE}
    return Partition(0, 1, registry(POLICY) | bodies, secret=SECRET)


def described(value: Any) -> Any:
    """Structs as dictionaries by field, deep; bytes as hex: how a state reads, without the order of its fields."""
    if isinstance(value, msgspec.Struct):
        return {name: described(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    return value


def meaning(core: Partition) -> dict[str, Any]:
    """Everything that a partition has been restored to."""
    cells = {" ".join(map(str, (name, *dims))): list(cell) for (name, dims), cell in core.cells.values.items()}
    return {
        "position": described(core.position),
        "guard": described(core.guard),
        "cells": dict(sorted(cells.items())),
        "users": {key.decode(): described(state) for key, state in core.states()},
    }


def main() -> None:
    """Write what is not there yet."""
    folder = HERE / f"state_v{STATE_VERSION}"
    if folder.exists():
        sys.exit(
            f"{folder} is there: a state that was released is never written again; raise STATE_VERSION for a new one"
        )
    folder.mkdir()
    golden = make()
    (folder / "golden.msgpack").write_bytes(msgspec.msgpack.encode(golden))
    core = partition()
    core.restore(golden.state)
    text = msgspec.json.format(msgspec.json.encode(meaning(core), order="deterministic"), indent=1)
    (folder / "meaning.json").write_bytes(text + b"\n")


if __name__ == "__main__":
    main()
