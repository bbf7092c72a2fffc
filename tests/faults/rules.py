"""What the partitions of a fault run decide by: policies, a churn model and leases that take turns."""

from typing import Final

from pipeline.perks import SLOTS
from pipeline.risk import Recency
from pipeline.units import HOUR
from schemas.codec import encode_json
from schemas.control import Lease

CAPS: Final = ((None, 1, 3), (None, 7, 4), ("push", 1, 1), ("push", 7, 1))
"""Channel (None: over all), days, and at most how many contacts within them; of every policy here that is fed to."""
BASIS: Final = {"email": "opt_out", "push": "opt_in"}
QUIET: Final = (22 * 60, 2 * 60, "Europe/Berlin")
"""From and to (minutes of the day), where nothing else is known."""

CONTACT: Final = """
version: 1
mode: live
salt: faults
lifecycle: {new_for: 6h, at_risk: 6h, dormant: 20h, returned_for: 6h}
activation: {event: Order Completed, within: 12h}
currency: {reporting: USD, rates: {EUR: 1.08}}
risk: {r: 0.525, alpha: 6.183, a: 0.891, b: 1.614, unit: 1h}
source_guard: {min_expected: 10, dark_below: 0.3}
consent: {email: {basis: opt_out, trait: email}, push: {basis: opt_in, trait: push}}
caps: {per_day: 3, per_week: 4, channels: {push: {per_day: 1, per_week: 1}}}
quiet_hours: {from: "22:00", to: "02:00", timezone: Europe/Berlin}
holdout: 0.1
perks: [{id: gift, cost: 1, budget: 2560}]
tiers: [{id: gold, where: {orders: {at_least: 2}}}, {id: silver, where: {orders: {at_least: 1}}}]
segments:
  - {id: quiet-buyers, where: {orders: {at_least: 1}, silence_days: {at_least: 0.25}}}
  - {id: at-stake, where: {risk: {at_least: 0.7}, active_days: {at_least: 2}}}
"""
"""Silences of hours, so that a virtual day brings thousands of decisions."""

RULES: Final = """
rules:
  - id: silent
    when: {silence: 10h}
    holdout: 0.2
    expires_after: 12h
    cooldown: 6h
    goal: {within: 6h}
    perk: gift
    content: {items: 2}
    steps: [{after: 2h, channel: push, fallback: email}, {after: 2h}]
  - id: fading
    when: {p_alive_below: 0.8, min_silence: 4h, min_active_days: 2}
    channel: push
    fallback: email
    holdout: 0
    ceiling: 8
    expires_after: 3h
    cooldown: 6h
    goal: {event: Order Completed, within: 6h}
  - id: leaving
    when: {risk_above: 0.6, min_silence: 5h, min_active_days: 1}
    channel: push
    fallback: email
    holdout: 0.1
    expires_after: 1d
    cooldown: 6h
    goal: {within: 4h}
  - id: hello
    kind: activate
    when: {not_activated: 8h}
    holdout: 0.1
    expires_after: 8h
    cooldown: 6h
    goal: {event: Order Completed, within: 6h}
  - id: buyers
    kind: grow
    when: {segment: quiet-buyers}
    priority: 5
    holdout: 0.1
    expires_after: 3h
    cooldown: 6h
    goal: {within: 6h}
    steps: [{after: 3h, channel: push, fallback: email}]
"""

_BELATED: Final = """
  - id: belated
    kind: activate
    when: {not_activated: 12h}
    mode: MODE
    backlog: {spread: 12h}
    holdout: 0.1
    cooldown: 6h
    goal: {within: 6h}
"""

POLICY: Final = CONTACT + RULES.lstrip() + _BELATED.lstrip("\n").replace("MODE", "shadow")
SWITCHED_ON: Final = CONTACT + RULES.lstrip() + _BELATED.lstrip("\n").replace("MODE", "live")
"""The same with a rule that was in shadow before, and has a backlog."""

IDS: Final = ("silent", "fading", "leaving", "hello", "buyers", "belated")
"""The rules."""

MODEL: Final = Recency(4 * HOUR, 0.0, 0.2, 6.0).to_json()

LEASES: Final = tuple(encode_json(Lease({"gift": [100 * whole] * SLOTS})) for whole in (1, 2, 4, 10))
"""What a slot may have spent, in cents: the first does for one user each."""
