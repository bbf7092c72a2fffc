"""Every user's active days, each with what happened on it and how the user stood at its end, as the core sees them.

A history is folded a day at a time: what a commit changed are the rows of those who were there that day.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from pipeline.lifecycle import STAGES
from pipeline.partition import Partition
from pipeline.play import Raw, Step, as_record
from pipeline.records import LogRecord
from pipeline.state import UserState, decode_row
from pipeline.units import DAY
from schemas.codec import DECODE_ERRORS, decode_event, decode_foreign, rfc3339
from schemas.control import Tick

Factor = tuple[str, str]
"""Its kind, such as "event" or "tier", and its value."""
EVENT: Final = "event"
FAILURE: Final = "failure"

_REPORT: Final = 10_000
_FAILS: Final = re.compile(
    r"\b(fail(ed|ure|s)?|errors?|errored|declined|rejected|refused|denied|crash(ed)?|timed? ?out)\b", re.IGNORECASE
)
# A property that may say so: looked for in the bytes first, so that most events are not decoded a second time.
_MAY_FAIL: Final = (b'"error"', b'"status"')
_BANDS: Final = ((1, "first day"), (7, "1-6 days"), (30, "7-29 days"), (90, "30-89 days"), (365, "90-364 days"))


class Visit(NamedTuple):
    """An active day (days since 1970) of a user. `dark`: the source's dark hours before its last activity; `seen`:
    the events; `standing`: channels, tier, lifecycle, cohort, tenure at the end of the day.
    """

    day: int
    dark: int
    seen: frozenset[Factor]
    standing: frozenset[Factor]


class Visits:
    """The visits of all users, by key, oldest first; `end` is the last day of the history, `dark` all dark hours.

    Visitors without a userId are left out, and so is everything of users who were erased.
    """

    def __init__(self) -> None:
        self.by_user: dict[bytes, list[Visit]] = {}
        self.end = 0
        self.dark = 0
        self._same: dict[frozenset[Factor], frozenset[Factor]] = {}  # most days are alike: one object for all of them

    def collect(self, steps: Iterable[Step], partition: Partition) -> Iterator[int]:
        """Fold a play through one partition; yields now and then how many events that were. Raises CoreError."""
        records: list[LogRecord] = []
        seen: dict[bytes, set[Factor]] = {}
        events = 0
        for offset, step in enumerate(steps):
            time = step.time if isinstance(step, (Raw, Tick)) else None
            if time is not None and time // DAY > self.end:
                self._close(partition, records, seen)
                records, seen = [], {}
                self.end = time // DAY
            records.append(as_record(step, offset))
            if isinstance(step, Raw):
                if step.key is not None and (factor := read_factor(step.value)) is not None:
                    seen.setdefault(step.key, set()).add(factor)
                events += 1
                if events % _REPORT == 0:
                    yield events
        self._close(partition, records, seen)
        self.end = (partition.position.tick or 0) // DAY
        self.dark = partition.guard.dark
        yield events

    def _close(self, partition: Partition, records: list[LogRecord], seen: dict[bytes, set[Factor]]) -> None:
        """Fold a day, and keep whoever was active on it."""
        for _ in partition.fold(records):
            pass
        for key, row in partition.commit().changelog:
            if key[:1] != b"u":
                continue
            user = key[1:]
            if row is None:
                self.by_user.pop(user, None)
                continue
            state = decode_row(row)
            if state.known and state.activity.days and state.activity.last // DAY == self.end:
                visits = self.by_user.setdefault(user, [])
                if visits and visits[0].day < state.activity.first // DAY:  # erased, and back on the same day
                    visits.clear()
                happened = self._shared(seen.get(user, ()))
                visits.append(Visit(self.end, state.activity.dark, happened, self._shared(standing(state))))

    def _shared(self, factors: Iterable[Factor]) -> frozenset[Factor]:
        found = frozenset(factors)
        return self._same.setdefault(found, found)


def read_factor(value: bytes) -> Factor | None:
    """What an event says: its name (of a call without one, its type in brackets), marked if it tells of a failure."""
    try:
        event = decode_event(value)
    except DECODE_ERRORS:
        return None
    name = event.event if event.event is not None and event.type == "track" else f"({event.type})"
    if _FAILS.search(name):
        return FAILURE, name
    properties = bytes(event.properties)
    if any(mark in properties for mark in _MAY_FAIL) and _tells_failure(properties):
        return FAILURE, f"{name}, with an error"
    return EVENT, name


def _tells_failure(properties: bytes) -> bool:
    try:
        told = decode_foreign(properties)
    except DECODE_ERRORS:
        return False
    if not isinstance(told, dict):
        return False
    status = told.get("status")
    return bool(told.get("error")) or (isinstance(status, str) and _FAILS.search(status) is not None)


def standing(state: UserState) -> Iterator[Factor]:
    """How a user stands: what does not change with time is named as it was first known."""
    yield "first channel", state.journey.first
    if state.journey.last != state.journey.first:
        yield "last channel", state.journey.last
    yield "lifecycle", STAGES[state.stage]
    yield "cohort", cohort(state)
    yield "tenure", tenure(state, state.activity.last)
    if state.groups is not None and state.groups.tier:
        yield "tier", state.groups.tier


def cohort(state: UserState) -> str:
    """The month of the first activity: "2026-01"."""
    return rfc3339(state.activity.first)[:7]


def tenure(state: UserState, now: int) -> str:
    """How long ago (as of `now`, ms) the first activity was, in bands."""
    days = now // DAY - state.activity.first // DAY
    return next((band for limit, band in _BANDS if days < limit), "365 days or more")
