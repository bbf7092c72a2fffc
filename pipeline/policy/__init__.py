"""The policy: everything a team decides, read from YAML, checked and compiled."""

from pipeline.policy.channels import ChannelRule
from pipeline.policy.compiled import (
    DEFAULT,
    Activation,
    Goal,
    Lifecycle,
    Mode,
    PAliveBelow,
    Policy,
    Rule,
    Silence,
    SourceGuard,
    channel_names,
    channel_of,
)
from pipeline.policy.reader import PolicyError, parse

__all__ = [
    "DEFAULT",
    "Activation",
    "ChannelRule",
    "Goal",
    "Lifecycle",
    "Mode",
    "PAliveBelow",
    "Policy",
    "PolicyError",
    "Rule",
    "Silence",
    "SourceGuard",
    "channel_names",
    "channel_of",
    "parse",
]
