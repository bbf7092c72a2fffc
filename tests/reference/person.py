"""One user of the naive reference: the sections "Activity" and consent of docs/semantics.md."""

from dataclasses import dataclass, field
from typing import Any, Final

from tests.reference.reading import DAY, HOUR, Admitted

NEVER: Final = 1 << 62
Touch = tuple[int, str]


@dataclass
class Measured:
    """The contact whose outcome is measured. `cells`: (rule, stratum, arm) by which it counts, `first`: those of them
    in which it is the user's first.
    """

    id: str
    rule: str
    at: int
    end: int
    goal: str | None
    cells: list[tuple[str, str, str]]
    first: list[tuple[str, str, str]]
    open: bool = True
    back: int | None = None

    @property
    def arm(self) -> str:
        """By which it is sent or held out; the draw over all rules comes first."""
        return "holdout" if any(arm == "holdout" for *_, arm in self.cells) else "treatment"


@dataclass
class Sent:
    """A message that was sent or held out, in the last 7 days."""

    at: int
    channel: str
    id: str
    heard: set[str] = field(default_factory=set)


@dataclass
class Waiting:
    """A message that is due at `at`: a decision that waits, or a step. `deadline`: when it was first due."""

    rule: str
    step: int
    episode: int
    deadline: int
    at: int
    reasons: list[str] = field(default_factory=list)


@dataclass
class Score:
    """Told at `at` by `model`; `until`: the end of its horizon. Both in effective time."""

    model: str
    percent: int
    at: int
    until: int


class User:
    """A user, or a visitor (not `known`). `floor`: silence deadlines before it are settled (effective time)."""

    def __init__(self, key: str, known: bool) -> None:
        self.key, self.known, self.stage, self.since, self.risk, self.floor = key, known, "unseen", 0, 9, 0
        self.first = self.last = self.dark = self.dark_first = self.days = self.ring = 0
        self.decayed, self.order_day, self.activated, self.last_id = (0.0, 0.0, 0.0), -1, False, ""
        self.wake: int | None = NEVER  # hour; None: to be found anew
        self.came: Touch = (0, "direct")
        self.last_touch: Touch | None = None
        self.seen: list[tuple[str, int]] = []
        self.episode = 0
        self.contact: Measured | None = None
        self.sent: list[Sent] = []
        self.waiting: list[Waiting] = []
        self.drawn: list[int] = []
        self.score: Score | None = None
        self.profile: dict[str, Any] = {}
        self.unreachable: dict[str, int] = {}
        self.orders = self.spent = 0
        self.order_days: dict[int, tuple[int, int]] = {}
        self.items: dict[str, tuple[int, int]] = {}
        self.segments: dict[str, int] = {}
        self.tier, self.tier_since, self.changes = "", 0, 0
        self.look: int | None = None  # the last that was found, effective time
        self.stale = False  # not evaluated since the last adoption, or since history came

    @property
    def kind(self) -> str:
        return "user" if self.known else "visitor"

    @property
    def silence(self) -> int:
        """When it began, in effective time."""
        return self.last - self.dark * HOUR

    @property
    def beginning(self) -> int:
        """The first activity in effective time."""
        return self.first - self.dark_first * HOUR

    @property
    def measured(self) -> Measured | None:
        """The contact whose goal window is open."""
        return self.contact if self.contact is not None and self.contact.open else None

    @property
    def channels(self) -> tuple[str, str]:
        """First and last."""
        return self.came[1], self.last_touch[1] if self.last_touch else "direct"

    def touch(self, time: int, channel: str) -> None:
        if self.last_touch is None or time >= self.last_touch[0]:
            self.last_touch = (time, channel)

    def observe(self, time: int, dark: int, message_id: str) -> bool:
        """Activity at `time` after so many dark hours; whether the day is newly counted."""
        self.last_id = message_id if self.known and time >= self.last else self.last_id
        day, before = time // DAY, self.last // DAY
        if not self.days:
            self.first = self.last = time
            self.days, self.ring, self.decayed, self.dark, self.dark_first = 1, 1, (1.0, 1.0, 1.0), dark, dark
            return True
        gap = day - before
        fresh = gap > 0 or (-gap < 64 and not self.ring >> -gap & 1) or (day < self.first // DAY)
        if fresh:
            self.days += 1
            if gap > 0:
                self.decayed = tuple(  # type: ignore[assignment]
                    (c * 2.0 ** (-gap / h) if gap < 1024 else 0.0) + 1.0
                    for c, h in zip(self.decayed, (7, 30, 90), strict=True)
                )
                self.ring = (self.ring << gap | 1) & ((1 << 64) - 1) if gap < 64 else 1
            else:
                self.decayed = tuple(  # type: ignore[assignment]
                    c + (2.0 ** (gap / h) if -gap < 1024 else 0.0)
                    for c, h in zip(self.decayed, (7, 30, 90), strict=True)
                )
                self.ring |= 1 << -gap if -gap < 64 else 0
        if time < self.first:
            self.first, self.dark_first = time, dark
        if time >= self.last:
            self.last, self.dark = time, dark
        return fresh

    def state(self, item: Admitted) -> None:
        """A withdrawal always counts; what else is said does unless something later was said."""
        traits, time = item.traits, item.time
        if not self.known or (traits is None and not item.unsubscribes):
            return
        profile: dict[str, Any] = {"consent": {}, "at": 0, **self.profile}
        if traits is None:
            profile["unsubscribed"], stated = True, True
        else:
            current, stated = time >= profile["at"], traits.unsubscribed is not None or bool(traits.consent)
            for name in ("timezone", "locale", "unsubscribed"):
                value = getattr(traits, name)
                if (current and value is not None and value != "") or value is True:
                    profile[name] = value
            for channel, given in sorted((traits.consent or {}).items()):
                if (current or not given) and (channel in profile["consent"] or len(profile["consent"]) < 16):
                    profile["consent"] = profile["consent"] | {channel: given}
        if stated:
            profile["at"] = max(profile["at"], time)
        if profile != {"consent": {}, "at": 0}:
            self.profile = profile
