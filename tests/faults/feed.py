"""Steady input in played time: events of every kind, good and bad, a tick each virtual hour, deadlines all along."""

from collections import deque
from random import Random
from typing import Any, Final

from pipeline.units import DAY, HOUR
from schemas.partitioner import partition_of
from tests.builders import T0, Entry, event, identify, iso, order, tick

POLICY: Final = """
version: 1
mode: live
salt: faults
lifecycle: {new_for: 1d, at_risk: 12h, dormant: 2d, returned_for: 1d}
currency: {reporting: USD, rates: {EUR: 1.08}}
source_guard: {min_expected: 10, dark_below: 0.3}
consent: {email: {basis: opt_out, trait: email}, push: {basis: opt_out, trait: push}}
rules:
  - {id: silent, when: {silence: 1d}, holdout: 0.2, expires_after: 12h, cooldown: 2d, goal: {within: 1d}}
  - id: fading
    when: {p_alive_below: 0.4, min_silence: 6h, min_active_days: 2}
    channel: push
    holdout: 0
    expires_after: 1d
    cooldown: 2d
    goal: {event: Order Completed, within: 1d}
"""
"""Silences of hours, so that a virtual day brings thousands of decisions."""

TOGETHER: Final = """
version: 1
mode: live
salt: faults
lifecycle: {at_risk: 30d, dormant: 60d}
consent: {email: {basis: opt_out, trait: email}}
rules: [{id: silent, when: {silence: 1d}, holdout: 0.2, goal: {within: 1d}}]
"""
"""One deadline for each user, so that a crowd falls due once."""

Placed = tuple[int, Entry]
"""Partition and record."""


class Feed:
    """The same records for the same seed. `count` partitions; `rate` events each virtual hour, by `users` users."""

    def __init__(self, seed: str, count: int, *, users: int = 2_500, rate: int = 200) -> None:
        self.time = T0
        self._random = Random(seed)
        self._count = count
        self._users = users
        self._rate = rate
        self._number = 0
        self._recent: deque[Entry] = deque(maxlen=200)

    def hour(self) -> list[Placed]:
        """The next virtual hour: its tick in every partition, then its events; one hour in fifty is dark."""
        records = [(number, tick(self.time)) for number in range(self._count)]
        if self._random.random() > 0.02:
            records += [self._place(self._entry()) for _ in range(self._rate)]
        self.time += HOUR
        return records

    def _place(self, entry: Entry) -> Placed:
        lost = entry.key is None or self._random.random() < 0.002
        return self._random.randrange(self._count) if lost else partition_of(entry.key or b"", self._count), entry

    def _entry(self) -> Entry:
        draw = self._random.random
        if draw() < 0.03 and self._recent:
            return self._random.choice(self._recent)  # sent again
        if draw() < 0.01:
            return self._poison()
        user = f"user-{int(self._users * draw() ** 1.5)}"
        time = self.time + int(HOUR * draw())
        if draw() < 0.03:
            time -= int(9 * DAY * draw() ** 3)
        self._number += 1
        marks: dict[str, Any] = {"id": f"m{self._number}", "backfill": draw() < 0.01}
        kind = draw()
        if kind < 0.1:
            entry = order(time, user, round(100 * draw(), 2), self._random.choice(("USD", "EUR", "JPY")), **marks)
        elif kind < 0.14:
            traits = {"unsubscribed": draw() < 0.3, "consent": {"email": draw() < 0.8}}
            entry = event(time, user, kind="identify", traits=traits, **marks)
        elif kind < 0.15:
            entry = event(time, user, kind="delete", **marks)
        elif kind < 0.18:
            entry = event(time, None, anonymous=f"visitor-{int(100 * draw())}", source="google", **marks)
        else:
            entry = event(time, user, source=self._random.choice((None, None, "google", "newsletter")), **marks)
        self._recent.append(entry)
        return entry

    def _poison(self) -> Entry:
        far = self.time + 400 * DAY
        return self._random.choice(
            (
                Entry(b"user-1", b'{"messageId": "x", '),
                Entry(b"user-1", None),
                Entry(None, b"{}"),
                Entry(b"rekindle.control", b"{}"),
                event(self.time, "user-1", key=b"user-2"),
                event(far, "user-1", id=f"far{self._number}"),
                order(self.time, "user-1", -1),
                identify(self.time, "user-1", locale=7),
                Entry(b"user-1", b'{"messageId":"t","type":"tick","userId":"user-1","time":%d}' % far),
            )
        )


def crowd(count: int, users: int, start: int, spread: int) -> list[Placed]:
    """One event each of so many users, in order of time, from `start` (ms) over `spread` ms: they fall due together."""
    return [
        (partition_of(key, count), Entry(key, value))
        for n in range(users)
        for key in [b"crowd-%d" % n]
        for value in [
            b'{"messageId":"c%d","type":"track","event":"Viewed","userId":"crowd-%d","timestamp":"%s"}'
            % (n, n, iso(start + n * spread // users).encode())
        ]
    ]
