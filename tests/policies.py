"""Policies for tests that need more than one rule."""

from typing import Final

from tests.builders import POLICY

_EARLY: Final = """
  - id: early
    when: {silence: 20d}
    channel: push
    template: soon
    holdout: 0
    expires_after: 3d
    cooldown: 10d
    goal: {event: Order Completed, within: 7d}
"""


def two_rules(holdout: float = 0.0) -> str:
    """POLICY with a second rule, which is due ten days earlier, by another channel and for another goal."""
    both = POLICY.replace("consent: {", "consent: {push: {basis: opt_out, trait: push}, ")
    return (both + _EARLY.lstrip("\n")).replace("holdout: 0\n", f"holdout: {holdout}\n")
