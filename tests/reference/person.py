"""One user of the naive reference: the sections "Activity" and consent of docs/semantics.md."""

from typing import Any, Final

from tests.reference.reading import Admitted

DAY: Final = 86_400_000
NEVER: Final = 1 << 62
Touch = tuple[int, str]


class User:
    """A user, or a visitor (not `known`). `floor`: silence deadlines before it are settled (effective time)."""

    def __init__(self, known: bool) -> None:
        self.known, self.stage, self.since, self.risk, self.floor = known, "unseen", 0, 9, 0
        self.first = self.last = self.dark = self.days = self.ring = 0
        self.decayed, self.order_day, self.activated, self.last_id = (0.0, 0.0, 0.0), -1, False, ""
        self.wake: int | None = NEVER  # hour; None: to be found anew
        self.first_touch: Touch | None = None
        self.last_touch: Touch | None = None
        self.seen: list[tuple[str, int]] = []
        self.episode, self.contact = 0, None  # type: int, dict[str, Any] | None
        self.profile: dict[str, Any] = {}

    @property
    def channels(self) -> tuple[str, str]:
        """First and last."""
        return self.first_touch[1] if self.first_touch else "direct", self.last_touch[
            1
        ] if self.last_touch else "direct"

    def touch(self, time: int, channel: str) -> None:
        if self.first_touch is None or time < self.first_touch[0]:
            self.first_touch = (time, channel)
        if self.last_touch is None or time >= self.last_touch[0]:
            self.last_touch = (time, channel)

    def observe(self, time: int, dark: int, message_id: str) -> bool:
        """Activity at `time` after so many dark hours; whether the day is newly counted."""
        self.last_id = message_id if self.known and time >= self.last else self.last_id
        day, before = time // DAY, self.last // DAY
        if not self.days:
            self.first = self.last = time
            self.days, self.ring, self.decayed, self.dark = 1, 1, (1.0, 1.0, 1.0), dark
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
        self.first = min(self.first, time)
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
