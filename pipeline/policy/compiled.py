"""The compiled policy. Spans of time are int ms."""

from functools import cached_property
from typing import Final, Literal, final

import msgspec

from pipeline.features.base import NEWS, Feature
from pipeline.lifecycle import Lifecycle
from pipeline.money import Currency
from pipeline.policy import channels
from pipeline.policy.channels import ChannelRule
from pipeline.risk import MbgNbd, RiskModel
from pipeline.units import HOUR
from pipeline.value import ValueModel

Mode = Literal["shadow", "live"]
Kind = Literal["recall", "activate", "grow"]
Basis = Literal["opt_in", "opt_out"]


class Activation(msgspec.Struct, frozen=True):
    """The event that makes a new user an activated one, if it comes within this time of the first."""

    event: str
    within: int


class SourceGuard(msgspec.Struct, frozen=True):
    """An hour is dark with less than the share `dark_below` of its expected events, if at least `min_expected` are."""

    min_expected: int = 100
    dark_below: float = 0.3


@final
class Silence(msgspec.Struct, frozen=True, tag="silence"):
    """Due after this silence."""

    after: int


@final
class PAliveBelow(msgspec.Struct, frozen=True, tag="p_alive_below"):
    """Due when P(alive) falls below the threshold, after some silence, for users with enough active days to tell."""

    threshold: float
    min_silence: int
    min_active_days: int


@final
class RiskAbove(msgspec.Struct, frozen=True, tag="risk_above"):
    """Due when the adopted churn model's P(no event within its horizon) rises to the threshold; never without one."""

    threshold: float
    min_silence: int
    min_active_days: int


@final
class NotActivated(msgspec.Struct, frozen=True, tag="not_activated"):
    """Due this long after the first activity, unless the key moment was reached."""

    after: int


@final
class InSegment(msgspec.Struct, frozen=True, tag="segment"):
    """Due when the user enters the segment."""

    segment: str


Condition = Silence | PAliveBelow | RiskAbove | NotActivated | InSegment
"""What makes a rule due. To be told apart by `type(when) is`: of a struct `isinstance` costs ten times as much."""


class Goal(msgspec.Struct, frozen=True):
    """What counts as recalled: this event (None: any activity) within this time of the decision."""

    event: str | None
    within: int


class Consent(msgspec.Struct, frozen=True):
    """On what basis a channel may be used: `opt_in` needs the trait to be true, `opt_out` that it is not false."""

    basis: Basis
    trait: str


class Caps(msgspec.Struct, frozen=True):
    """How many contacts a user gets at most in any 24 hours and in any 7 days; None: no limit."""

    per_day: int | None = None
    per_week: int | None = None


class QuietHours(msgspec.Struct, frozen=True):
    """Nothing is sent between these minutes of the user's day; `timezone` is for users whose own is unknown."""

    start: int
    end: int
    timezone: str


class Perk(msgspec.Struct, frozen=True):
    """What can be offered: what one costs and what all may cost, in minor units of the reporting currency."""

    id: str
    cost: int
    budget: int


class Content(msgspec.Struct, frozen=True):
    """What to show: `feature_id`, and up to so many of the user's last and most frequent items."""

    feature_id: str | None = None
    items: int = 0


class Step(msgspec.Struct, frozen=True):
    """One message of a contact, so long after the decision on the one before it; `perk` names one of the policy's."""

    after: int
    channel: str
    fallback: str | None
    template: str
    perk: str | None


class Test(msgspec.Struct, frozen=True):
    """A comparison of a feature: of a number `at_least` or `below` (days in ms, money in minor units), or at least what
    is published for the share `top`; of a text, or whether something is so: one of `among`.
    """

    feature: Feature
    at_least: float | None = None
    below: float | None = None
    top: float | None = None
    among: tuple[str | bool, ...] = ()


class Segment(msgspec.Struct, frozen=True):
    """A segment or a tier: whoever passes all tests; `moved_by`: what an activity must bring to change that."""

    id: str
    where: tuple[Test, ...]
    moved_by: int = NEWS


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """One rule. `holdout` is the share who are measured but not sent to; `ceiling`: contacts per hour at which it is
    paused (None: none); `backlog`: over what time those are spread who lapsed before the rule was switched on (None:
    they are passed over). `version` hashes its content; what is new has a default, so that the hash stays.
    """

    id: str
    when: Condition
    mode: Mode
    channel: str
    template: str
    priority: int
    holdout: float
    expires_after: int
    cooldown: int
    goal: Goal
    version: str
    kind: Kind = "recall"
    fallback: str | None = None
    content: Content | None = None
    perk: str | None = None
    steps: tuple[Step, ...] = ()
    ceiling: int | None = None
    backlog: int | None = None

    def step(self, number: int) -> Step:
        """Step 0 is the first message of a contact."""
        return self.steps[number - 1] if number else self._first

    @cached_property
    def _first(self) -> Step:
        return Step(0, self.channel, self.fallback, self.template, self.perk)


class Policy(msgspec.Struct, frozen=True):
    """A compiled policy. `hash` is the sha256 (hex) of the text, "" for the built-in one. `rules` stand in the order
    in which equal deadlines are decided: by priority, then as written. `holdout` is the share over all rules.

    `min_silence` is the shortest silence after which anything can happen to a user; `reminders` are the ages at which
    a rule goes by not being activated; `grouped`: there are segments or tiers, of which `moved_by` (and of the tiers
    alone, `tiers_moved_by`) is what an activity must bring to change any, `ages` are the limits of an age, and
    `windows` the tests of orders in a window; `spreads`: a rule has a backlog.
    """

    version: int = 1
    salt: str = "rekindle"
    mode: Mode = "shadow"
    lateness: int = HOUR
    skew: int = HOUR
    lifecycle: Lifecycle = Lifecycle()
    activation: Activation | None = None
    orders: frozenset[str] = frozenset({"Order Completed"})
    currency: Currency = Currency()
    risk: RiskModel = MbgNbd()
    channels: tuple[ChannelRule, ...] = ()
    guard: SourceGuard = SourceGuard()
    consent: dict[str, Consent] = {}
    caps: Caps = Caps()
    channel_caps: dict[str, Caps] = {}
    quiet_hours: QuietHours | None = None
    holdout: float = 0.0
    perks: dict[str, Perk] = {}
    value: ValueModel = ValueModel()
    tiers: tuple[Segment, ...] = ()
    segments: tuple[Segment, ...] = ()
    rules: tuple[Rule, ...] = ()
    hash: str = ""
    min_silence: int = Lifecycle().at_risk
    reminders: tuple[int, ...] = ()
    grouped: bool = False
    moved_by: int = NEWS
    tiers_moved_by: int = NEWS
    ages: tuple[int, ...] = ()
    windows: tuple[Test, ...] = ()
    spreads: bool = False

    @property
    def shows_items(self) -> bool:
        """Whether a rule shows what users bought: only then it is kept."""
        return any(rule.content is not None and rule.content.items for rule in self.rules)

    def held_out(self, rule: Rule) -> float:
        """The share of a rule's users who are not sent to: by its own draw, or by the one over all rules."""
        return 1 - (1 - self.holdout) * (1 - rule.holdout) if self.holdout else rule.holdout


DEFAULT: Final = Policy()
"""What holds before any policy is adopted: state is kept, nothing is decided."""


def channel_of(
    policy: Policy, source: str | None, medium: str | None, campaign: str | None, referrer_host: str | None
) -> str:
    """The channel of a visit: the policy's first matching rule, else the default grouping. One of `channel_names`."""
    return channels.channel_of(policy.channels, source, medium, campaign, referrer_host)


def channel_names(policy: Policy) -> tuple[str, ...]:
    """Every name that `channel_of` can give: the policy's own in their order, then the default grouping's."""
    return tuple(dict.fromkeys((*(rule.name for rule in policy.channels), *channels.GROUPING)))
