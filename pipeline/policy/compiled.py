"""The compiled policy. Spans of time are int ms."""

from typing import Final, Literal

import msgspec

from pipeline.money import Currency
from pipeline.policy import channels
from pipeline.policy.channels import ChannelRule
from pipeline.risk import MbgNbd, RiskModel
from pipeline.units import DAY, HOUR

Mode = Literal["shadow", "live"]


class Lifecycle(msgspec.Struct, frozen=True):
    """How long a user is new or returned, and after what silence they are at risk or dormant."""

    new_for: int = 7 * DAY
    at_risk: int = 14 * DAY
    dormant: int = 30 * DAY
    returned_for: int = 7 * DAY


class Activation(msgspec.Struct, frozen=True):
    """The event that makes a new user an activated one, if it comes within this time of the first."""

    event: str
    within: int


class SourceGuard(msgspec.Struct, frozen=True):
    """An hour is dark with less than the share `dark_below` of its expected events, if at least `min_expected` are."""

    min_expected: int = 100
    dark_below: float = 0.3


class Silence(msgspec.Struct, frozen=True, tag="silence"):
    """Due after this silence."""

    after: int


class PAliveBelow(msgspec.Struct, frozen=True, tag="p_alive_below"):
    """Due when P(alive) falls below the threshold, after some silence, for users with enough active days to tell."""

    threshold: float
    min_silence: int
    min_active_days: int


class Goal(msgspec.Struct, frozen=True):
    """What counts as recalled: this event (None: any activity) within this time of the decision."""

    event: str | None
    within: int


class Rule(msgspec.Struct, frozen=True):
    """One recall rule. `holdout` is the share who are measured but not sent to; `version` hashes its content."""

    id: str
    when: Silence | PAliveBelow
    mode: Mode
    channel: str
    template: str
    priority: int
    holdout: float
    expires_after: int
    cooldown: int
    goal: Goal
    version: str = ""


class Policy(msgspec.Struct, frozen=True):
    """A compiled policy. `hash` is the sha256 (hex) of the text, "" for the built-in one.

    `min_silence` is the shortest silence after which anything can happen to a user.
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
    rules: tuple[Rule, ...] = ()
    hash: str = ""
    min_silence: int = Lifecycle().at_risk


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
