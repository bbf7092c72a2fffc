"""What the naive reference knows of a partition, and what it has written: shared by the parts that read the text."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.policy import DEFAULT, Policy
from pipeline.risk import ChurnModel
from tests.reference.person import NEVER, User
from tests.reference.reading import DAY, HOUR


class World:
    """The state of one partition, and its outputs in words."""

    def __init__(self, registry: Mapping[str, bytes], tenant: str = "default") -> None:
        self.registry, self.tenant = registry, tenant
        self.policy: Policy = DEFAULT
        self.users: dict[str, User] = {}
        self.counts: Counter[str] = Counter()
        self.sums: Counter[tuple[str, tuple[str | int, ...], str]] = Counter()
        self.decisions: list[dict[str, Any]] = []
        self.outcomes: list[tuple[Any, ...]] = []
        self.groups: list[tuple[Any, ...]] = []
        self.deadletters: list[tuple[int, str]] = []
        self.certificates: list[tuple[bytes, int, int]] = []
        self.marks: dict[bytes, list[int]] = {}  # until, offset, applied, refused, last; by the user's key
        self.live, self.held = True, False
        self.tick: int | None = None
        self.horizon: int | None = None
        self.hour: int | None = None  # the first that is not closed
        self.adopted = 0  # effective time
        self.switched: dict[str, tuple[str, int]] = {}  # rule: its mode, and since which adoption (effective time)
        self.model: ChurnModel | None = None
        self.model_version = ""
        self.model_since = 0  # effective time
        self.lease: dict[str, list[int]] = {}
        self.quantiles: dict[str, dict[float, float]] = {}
        self.measured = 0  # since when they are used, effective time
        self.paused: set[str | None] = set()
        self.contacted: Counter[tuple[str, int | None]] = Counter()  # rule, first hour that was not closed
        self.dark_hours: list[int] = []
        self.rates: dict[int, int] = {}
        self.heard: Counter[int] = Counter()
        self.soonest = NEVER  # no user's wake-up lies before this hour: only saves time

    @property
    def clock(self) -> int | None:
        return None if self.horizon is None else self.horizon - self.policy.lateness

    @property
    def dark(self) -> int:
        """All dark hours, in ms: real time = effective time + this."""
        return len(self.dark_hours) * HOUR

    def dark_before(self, time: int) -> int:
        """The dark hours before the hour of `time`, as far as they are known; old ones count as before everything."""
        forgotten = max(self.dark_hours, default=0) - 8 * 24
        return sum(hour < time // HOUR or hour <= forgotten for hour in self.dark_hours)

    def add(self, name: str, dims: tuple[str | int, ...], field: str, amount: int = 1) -> None:
        self.sums[name, dims, field] += amount

    def grow(self, time: int, user: User, field: str) -> None:
        self.add("growth", (time // DAY, user.kind), field)

    def move(self, user: User, stage: str, time: int) -> None:
        self.add("stage", (user.kind, user.stage), "users", -(user.stage != "unseen"))
        self.add("stage", (user.kind, stage), "users", stage != "unseen")
        if user.known and user.stage == "unseen":
            self.add("risk", (f"{user.risk / 10:.1f}",), "users")
        if stage != user.stage:
            user.stage, user.since = stage, time

    def rate(self, user: User, bucket: int) -> None:
        if user.known:
            self.add("risk", (f"{user.risk / 10:.1f}",), "users", -1)
            self.add("risk", (f"{bucket / 10:.1f}",), "users")
            user.risk = bucket

    def leave(self, user: User, time: int) -> None:
        if user.stage != "unseen":
            if user.stage != "dormant":
                self.grow(time, user, "expired")
            self.add("stage", (user.kind, user.stage), "users", -1)
            if user.known:
                self.add("risk", (f"{user.risk / 10:.1f}",), "users", -1)
        for name in user.segments:
            self.add("segments", ("segment", name), "users", -1)
        self.add("segments", ("tier", user.tier), "users", -bool(user.tier))
        del self.users[user.key]
