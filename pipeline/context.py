"""What a step is given and what it gives back: a partition's knowledge, a due deadline, a transition."""

from collections.abc import Mapping
from typing import Final, Literal, final

import msgspec

from pipeline.perks import Purse
from pipeline.policy import Policy, Rule
from pipeline.risk import ChurnModel
from pipeline.state import FIRST_EPOCH, UserState
from pipeline.sums import Fact
from schemas.decision import Decision, Reason
from schemas.outcome import Outcome
from schemas.segment import SegmentChange

Message = Decision | Outcome | SegmentChange
RevealedBy = Literal["clock", "event"]
EVERY_RULE: Final = "*"


class Context(msgspec.Struct):
    """What a partition knows at a position of its log. Times in ms; `adopted` in effective time; `dark` in hours.

    `since`: rule -> effective time since when it is in its mode. `model` and `model_version`: the churn model, if any,
    adopted at `modelled` (effective time). `purse` is None where budgets are not known (an outlook): then nothing is
    refused for them. `hourly`: rule -> [hour, contacts in it], of the rules that have a ceiling; of `partitions` each
    may use its share of it. `quantiles`: feature -> share at the top -> the threshold that was published for it, and
    adopted at `measured` (effective time).
    """

    policy: Policy
    tenant: str
    epoch: int = FIRST_EPOCH
    adopted: int = 0
    dark: int = 0
    clock: int = 0
    next_hour: int = 0  # the first hour that is not swept yet
    paused: frozenset[str] = frozenset()  # rule ids; EVERY_RULE stands for every one
    since: Mapping[str, int] = {}
    model: ChurnModel | None = None
    model_version: str = ""
    modelled: int = 0
    purse: Purse | None = None
    hourly: Mapping[str, list[int]] = {}
    partitions: int = 1
    quantiles: Mapping[str, Mapping[float, float]] = {}
    measured: int = 0


class Transition(msgspec.Struct, gc=False):
    """What a step does: the state (None: the row is gone), what it says, and what the sums gain.

    `contacted`: rules with a ceiling by which somebody was contacted; `crossed`: those that reached it.
    Found on the way, if they were: `look`, the next one at segments and tiers (effective ms); the rules' `deadlines`.
    """

    state: UserState | None
    outputs: list[Message] = []
    facts: list[Fact] = []
    contacted: tuple[str, ...] = ()
    crossed: tuple[str, ...] = ()
    look: int | None = None
    deadlines: "list[Due] | None" = None


@final
class Due(msgspec.Struct, frozen=True, gc=False):
    """A rule's message and when it is to be decided: `at` in effective time (ms), by `order` among equals.

    `episode`: its start, ms; `step`: the message's number. `deadline` (real ms) is set if it fell due before and
    waits, for what stood in the way (`reasons`) or, without reasons, as a later step of a contact.
    """

    at: int
    order: int
    rule: Rule
    episode: int
    step: int = 0
    deadline: int | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def is_retry(self) -> bool:
        """Whether it was tried before."""
        return bool(self.reasons)
