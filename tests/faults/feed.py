"""Steady input in played time: events of every kind, good and bad, a tick each virtual hour, deadlines all along."""

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from itertools import islice
from random import Random
from typing import Any, Final

from pipeline.case import trigger_id
from pipeline.units import DAY, HOUR
from schemas.partitioner import partition_of
from tests.builders import (
    T0,
    Entry,
    adopt,
    adopt_lease,
    adopt_model,
    event,
    hold,
    identify,
    iso,
    models,
    order,
    registry,
    release,
    resume,
    tick,
)
from tests.faults.rules import LEASES, MODEL, POLICY, SWITCHED_ON

TOGETHER: Final = """
version: 1
mode: live
salt: faults
lifecycle: {at_risk: 30d, dormant: 60d}
consent: {email: {basis: opt_out, trait: email}}
rules: [{id: silent, when: {silence: 1d}, holdout: 0.2, goal: {within: 1d}}]
"""
"""One deadline for each user, so that a crowd falls due once."""

OPERATOR: Final[dict[int, Sequence[Entry]]] = {
    3: [hold()],
    4: [release()],
    2: [adopt_lease(LEASES[0])],
    8: [adopt_model(MODEL)],
    14: [adopt_lease(LEASES[1])],
    16: [adopt(SWITCHED_ON), resume()],
    19: [adopt_model(None)],
    22: [adopt(POLICY)],
}
"""By hour of the day: what is adopted, in turns."""

BODIES: Final = {
    **registry(POLICY, SWITCHED_ON),
    **models(MODEL),
    **{f"lease/{sha256(body).hexdigest()}": body for body in LEASES},
}
"""What a registry has to hold for that."""

Placed = tuple[int, Entry]
"""Partition and record."""


AWAY: Final = 11
"""Hour of the day at which nobody has ticked for a while, so that it is too late for what was due."""

REPORTS: Final = ("Message Sent", "Email Delivered", "Message Failed", "Email Bounced", "Email Link Clicked")


class Feed:
    """The same records for the same seed. `count` partitions; `rate` events each virtual hour, by `users` users."""

    def __init__(self, seed: str, count: int, *, users: int = 600, rate: int = 50) -> None:
        self.time = T0
        self._random = Random(seed)
        self._count = count
        self._users = users
        self._rate = rate
        self._hours = 0
        self._number = 0
        self._recent: deque[Entry] = deque(maxlen=200)
        self._seen: dict[str, tuple[int, int, Entry]] = {}
        """Of a user first and last time and the latest event; whoever was unseen for longest comes first."""
        self._erased: deque[str] = deque(maxlen=50)

    def hour(self) -> list[Placed]:
        """The next virtual hour: its tick and what an operator does then in every partition, then its events. One hour
        in fifty has none, and once a day no tick comes for some hours.
        """
        if self._hours % 24 == AWAY:
            self.time += 4 * HOUR
        told = [tick(self.time), *OPERATOR.get(self._hours % 24, ())]
        records = [(number, entry) for entry in told for number in range(self._count)]
        if self._random.random() > 0.02:
            records += [self._place(self._entry()) for _ in range(self._rate)]
        self.time += HOUR
        self._hours += 1
        return records

    def _place(self, entry: Entry) -> Placed:
        lost = entry.key is None or self._random.random() < 0.002
        return self._random.randrange(self._count) if lost else partition_of(entry.key or b"", self._count), entry

    def _entry(self) -> Entry:
        draw = self._random.random
        if draw() < 0.03 and self._recent:
            return self._random.choice(self._recent)  # sent again
        if draw() < 0.02:
            return self._poison()
        user = f"user-{int(self._users * draw() ** 1.5)}"
        time = self.time + int(HOUR * draw())
        if draw() < 0.03:
            time -= int(9 * DAY * draw() ** 3)
        self._number += 1
        marks: dict[str, Any] = {"id": f"m{self._number}", "backfill": draw() < 0.01}
        kind = draw()
        if kind < 0.08:
            return self._report(time, **marks)
        if kind < 0.11:
            return self._again(time)
        if kind < 0.14:
            entry = event(time, None, anonymous=f"visitor-{int(100 * draw())}", source="google", **marks)
        elif kind < 0.16:
            self._erased.append(user)
            entry = event(time, user, kind="delete", **marks)
        elif kind < 0.28:
            entry = self._order(time, user, **marks)
        elif kind < 0.4:
            entry = event(time, user, kind="identify", traits=self._traits(), **marks)
        else:
            entry = event(time, user, source=self._random.choice((None, None, "google", "newsletter")), **marks)
        self._recent.append(entry)
        if kind >= 0.16:
            first, last, latest = self._seen.pop(user, (time, time, entry))
            self._seen[user] = (min(first, time), *((time, entry) if time >= last else (last, latest)))
        return entry

    def _order(self, time: int, user: str, **marks: Any) -> Entry:
        """An order of up to four products."""
        properties = {
            "revenue": round(100 * self._random.random(), 2),
            "currency": self._random.choice(("USD", "EUR", "JPY")),
            "products": [
                {"product_id": f"item-{self._random.randrange(12)}"} for _ in range(self._random.randrange(5))
            ],
        }
        return event(time, user, "Order Completed", properties=properties, **marks)

    def _traits(self) -> dict[str, Any]:
        """Consent, a time zone (or what is none), now and then a farewell."""
        draw = self._random.random
        return {
            "unsubscribed": draw() < 0.05,
            "timezone": self._random.choice(("Asia/Shanghai", "America/New_York", "Mars/Olympus")),
            "consent": {"email": draw() < 0.8, "push": draw() < 0.8},
        }

    def _again(self, time: int) -> Entry:
        """Of somebody who was erased: an old event as it was, or as backfill; or a new one."""
        user = self._random.choice(self._erased) if self._erased else "nobody"
        _, before, entry = self._seen.get(user, (time, time, event(time, user)))
        return self._random.choice(
            (entry, event(before, user, id=f"m{self._number}", backfill=True), event(time, user, id=f"m{self._number}"))
        )

    def _report(self, time: int, **marks: Any) -> Entry:
        """What became of a message to somebody who has been silent so long that they may well have got it."""
        away = list(islice(self._seen, 200))  # the longest unseen
        user = self._random.choice(away) if away else "nobody"
        first, last, _ = self._seen.get(user, (time, time, None))
        rule, start = self._random.choice((("silent", last), ("leaving", last), ("hello", first)))
        about = {"trigger_id": trigger_id("default", user, rule, start, self._random.choice((0, 0, 0, 1)))}
        return event(time, user, self._random.choice(REPORTS), properties=about, **marks)

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
