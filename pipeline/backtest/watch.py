"""A partition that is watched: what it decides stays a struct, and whether the user came back is noted beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from pipeline.happening import Happening
from pipeline.outbox import Outbox
from pipeline.play import Played, Raw, history_span, play, replay
from pipeline.policy import Policy, parse
from pipeline.records import Record
from pipeline.state import UserState
from pipeline.sums import Cells, Fact
from pipeline.units import DAY, HOUR, MINUTE, SECOND
from schemas.decision import Decision
from schemas.trigger import Perk

FLAGGED: Final = frozenset({"send", "holdout", "shadow"})
"""Verdicts on users whom no gate kept back: they were told apart as leaving, whether or not a message would go out."""
_REPORT: Final = 10_000  # events between two reports
_EPOCH: Final = date(1970, 1, 1)


class Considered(msgspec.Struct, gc=False):
    """A decision as far as a backtest needs it, and what the user did then. Times in ms.

    `at`: when it was decided; `episode`: the user's last activity before. `came_back`: the first activity since (none
    that itself made the rule due), and `goal_at`: the first within the window that is the goal (0: none by the end of
    the history). `gone`: the user was erased within the window. The two are followed for `FLAGGED` verdicts only.
    """

    user: str
    rule: str
    verdict: str
    reasons: list[str]
    at: int
    episode: int
    step: int
    channel: str
    arm: str | None
    goal: str | None
    window_end: int
    perk: Perk | None
    came_back: int = 0
    goal_at: int = 0
    gone: bool = False

    @property
    def flags(self) -> bool:
        """Whether it is the one that found this silence out: not a later step of a message that was sent already."""
        return self.step == 0 and self.verdict in FLAGGED

    def is_measured(self, end: int) -> bool:
        """Whether its goal window is over by the end of the history (ms), and the user was not erased in it."""
        return self.window_end <= end and not self.gone


class WhatIf(NamedTuple):
    """A history under a policy. `considered`: in the order of the deciding; `last`: of every user who is there at the
    end, the last activity; `start`, `end`: first and last event (ms); `events`: how many were read. `active_days`: the
    most that any of these users has; `modelled`: whether a churn model was adopted.
    """

    policy: Policy
    considered: list[Considered]
    last: dict[str, int]
    start: int
    end: int
    events: int
    rejected: int
    active_days: int = 0
    modelled: bool = False


class _Collector(Outbox):
    """Keeps decisions; triggers repeat them, and outcomes are followed by `Watched` for every verdict."""

    __slots__ = ("_told",)

    def __init__(self, told: Callable[[bytes, Decision], None]) -> None:
        super().__init__("users", 0)
        self._told = told

    def add(self, key: bytes, message: object, record: Record) -> None:  # noqa: ARG002 the outbox's signature
        """Nothing is encoded: that is most of what an output costs."""
        if isinstance(message, Decision):
            self._told(key, message)


class _Uncounted(Cells):
    """The sums of a partition of which nobody asks for any."""

    __slots__ = ()

    def add(self, facts: Iterable[Fact]) -> None:
        """Nothing is added up."""


class Watched(Played):
    """One partition of one; `considered` grows as it folds. `registry` as a partition's."""

    def __init__(self, registry: Mapping[str, bytes]) -> None:
        super().__init__(0, 1, registry)
        self._context.purse = None  # no budget was leased to a replay: it tells what would be needed
        self.cells = _Uncounted()
        self.considered: list[Considered] = []
        self._waiting: dict[bytes, list[Considered]] = {}
        self._outbox = _Collector(self._decided)

    def _decided(self, key: bytes, decision: Decision) -> None:
        data = decision.data
        found = Considered(
            user=decision.subject,
            rule=data.rule_id,
            verdict=data.decision,
            reasons=list(data.reasons),
            at=_ms(decision.time),
            episode=_ms(data.episode.start),
            step=data.step,
            channel=data.channel,
            arm=None if data.experiment is None else data.experiment.arm,
            goal=data.goal.event,
            window_end=_ms(data.goal.window_end),
            perk=data.perk,
        )
        self.considered.append(found)
        if found.flags:
            self._waiting.setdefault(key, []).append(found)

    def _apply(self, record: Record, item: Happening, state: UserState) -> None:
        before = len(self.considered)
        super()._apply(record, item, state)
        waiting = self._waiting.get(item.key)
        if waiting is None:
            return
        if item.kind == "delete":
            for one in waiting:
                one.gone = item.time <= one.window_end
            del self._waiting[item.key]
        elif item.active:
            brought = [one for one in self.considered[before:] if one.at == item.time]  # no return from what it begins
            rest = [one for one in waiting if one in brought or not _answered(one, item)]
            if rest:
                self._waiting[item.key] = rest
            else:
                del self._waiting[item.key]


def _answered(one: Considered, item: Happening) -> bool:
    """Note an activity; True if nothing more can be learned. As the core measures a contact (`recall.note_return`)."""
    if item.time < one.at:
        return False
    one.came_back = one.came_back or item.time
    if item.time > one.window_end:
        return True
    if one.goal is None or one.goal == item.event:
        one.goal_at = item.time
    return one.goal_at > 0


def _ms(text: str) -> int:
    """The inverse of `schemas.codec.rfc3339`."""
    seconds = int(text[11:13]) * HOUR + int(text[14:16]) * MINUTE + int(text[17:19]) * SECOND
    return _midnight(text[:10]) + seconds + int(text[20:23])


@lru_cache(maxsize=4096)
def _midnight(day: str) -> int:
    return (date.fromisoformat(day) - _EPOCH).days * DAY


def what_if(
    raws: Sequence[Raw], body: bytes, *, model: bytes | None = None, folded: Callable[[int], None] = lambda _: None
) -> WhatIf:
    """Play a history under a policy.

    Args:
        raws: in order of time (`pipeline.play.in_order`).
        body: the policy's text.
        model: a churn model as JSON, adopted with the policy.
        folded: called now and then with the number of events folded so far.

    Raises:
        PolicyError: the policy can't be used.
        UnreadableBody: the model can't be.
        CoreError: the core fails on an event.
    """
    policy = parse(body)
    registry = {f"policy/{policy.hash}": body}
    risk = None if model is None else sha256(model).hexdigest()
    if risk is not None and model is not None:
        registry[f"model/{risk}"] = model
    partition = Watched(registry)
    reported = 0
    for _ in replay(play(raws, policy.hash, model=risk), partition):
        read = partition.position.counts.read
        if read - reported >= _REPORT:
            reported = read
            folded(read)
    counts = partition.position.counts
    last: dict[str, int] = {}
    active_days = 0
    for key, state in partition.states():
        if state.known and state.activity.days:
            last[key.decode()] = state.activity.last
            active_days = max(active_days, state.activity.days)
    start, end = history_span(raws) or (0, 0)
    read, rejected = counts.read, counts.rejected
    return WhatIf(policy, partition.considered, last, start, end, read, rejected, active_days, model is not None)
