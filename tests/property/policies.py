"""Policies of short spans, so that what can stand in a contact's way does, and what they refer to in a registry."""

from typing import Final

import msgspec

from pipeline.risk import Recency
from pipeline.units import DAY, HOUR
from schemas.control import Lease

CALM: Final = """
version: 1
mode: live
salt: calm
lifecycle: {new_for: 1d, at_risk: 12h, dormant: 2d, returned_for: 1d}
activation: {event: Order Completed, within: 1d}
currency: {reporting: USD, rates: {EUR: 1.08}}
source_guard: {dark_below: 0}
channels: [{name: letters, source: newsletter}]
consent: {email: {basis: opt_out, trait: email}, push: {basis: opt_out, trait: push}}
rules:
  - {id: early, when: {silence: 1d}, channel: email, holdout: 0, expires_after: 6h, cooldown: 3d, goal: {within: 2d}}
  - {id: late, when: {silence: 2d}, channel: push, holdout: 0.5, expires_after: 1d, cooldown: 3d,
     goal: {event: Order Completed, within: 1d}}
"""

RISKY: Final = """
version: 1
mode: shadow
salt: risky
time: {lateness: 2h, skew: 30m}
lifecycle: {new_for: 2d, at_risk: 1d, dormant: 3d, returned_for: 12h}
risk: {model: mbg, r: 0.5, alpha: 1.5, a: 0.9, b: 1.6, unit: 1d}
source_guard: {dark_below: 0}
consent: {email: {basis: opt_out, trait: email}}
rules:
  - id: fading
    mode: live
    when: {p_alive_below: 0.5, min_silence: 6h, min_active_days: 2}
    holdout: 0.3
    expires_after: 2d
    cooldown: 1d
    goal: {within: 1d}
  - {id: tried, when: {silence: 1d}, goal: {within: 1d}}
  - {id: last-call, mode: live, when: {silence: 8d}, cooldown: 1d, goal: {within: 1d}}
"""

WARY: Final = CALM.replace("dark_below: 0}", "min_expected: 1, dark_below: 0.5}").replace("salt: calm", "salt: wary")

DENSE: Final = """
version: 1
mode: live
salt: dense
lifecycle: {new_for: 1d, at_risk: 6h, dormant: 2d, returned_for: 1d}
activation: {event: Order Completed, within: 3d}
currency: {reporting: USD, rates: {EUR: 1.08}}
source_guard: {dark_below: 0}
holdout: 0.3
caps: {per_day: 2, per_week: 5, channels: {push: {per_day: 1, per_week: 3}}}
quiet_hours: {from: "21:30", to: "07:15", timezone: Europe/Berlin}
consent:
  email: {basis: opt_out, trait: email}
  push: {basis: opt_in, trait: push}
  sms: {basis: opt_out, trait: push}
perks: [{id: gift, cost: 5, budget: 100}, {id: trip, cost: 8.5, budget: 100}]
rules:
  - id: hello
    kind: activate
    when: {not_activated: 8h}
    channel: push
    fallback: email
    holdout: 0.2
    expires_after: 9h
    cooldown: 1d
    goal: {event: Order Completed, within: 1d}
    steps: [{after: 5h}, {after: 6h, channel: sms, perk: gift}]
  - id: early
    when: {silence: 10h}
    channel: email
    fallback: sms
    perk: gift
    content: {feature_id: maps, items: 3}
    holdout: 0.1
    expires_after: 12h
    cooldown: 1d
    goal: {within: 1d}
    steps: [{after: 3h, channel: push}, {after: 12h, channel: sms, perk: trip}]
  - id: late
    priority: 1
    when: {silence: 30h}
    channel: sms
    content: {items: 1}
    holdout: 0
    expires_after: 1d
    cooldown: 1d
    backlog: {spread: 1d}
    goal: {event: Order Completed, within: 20h}
"""

CAPPED: Final = """
version: 1
mode: live
salt: capped
time: {lateness: 0s}
lifecycle: {new_for: 1d, at_risk: 12h, dormant: 2d, returned_for: 1d}
activation: {event: Order Completed, within: 1d}
source_guard: {dark_below: 0}
caps: {per_day: 1, per_week: 2}
quiet_hours: {from: "01:20", to: "03:10", timezone: Australia/Lord_Howe}
consent: {email: {basis: opt_out, trait: email}, push: {basis: opt_out, trait: phone}}
perks: [{id: gift, cost: 7, budget: 100}]
rules:
  - id: early
    when: {silence: 6h}
    channel: push
    fallback: email
    ceiling: 1
    holdout: 0
    expires_after: 2d
    cooldown: 6h
    goal: {within: 6h}
    steps: [{after: 1h}, {after: 2h}, {after: 1h, perk: gift}]
  - {id: late, mode: shadow, when: {silence: 7h}, channel: email, cooldown: 6h, expires_after: 1d, goal: {within: 6h}}
  - id: hello
    kind: activate
    when: {not_activated: 5h}
    channel: email
    ceiling: 2
    holdout: 0.5
    expires_after: 1d
    cooldown: 6h
    backlog: {spread: 12h}
    goal: {within: 6h}
    steps: [{after: 2h, channel: push}]
"""

GUARDED: Final = (
    DENSE.replace("dark_below: 0}", "min_expected: 1, dark_below: 0.5}")
    .replace("salt: dense", "salt: guarded\ntime: {lateness: 3h}")
    .replace("id: late\n", "id: late\n    mode: shadow\n")
    .replace("{silence: 10h}", "{risk_above: 0.6, min_silence: 6h, min_active_days: 1}")
)

GROUPED: Final = """
version: 1
mode: live
salt: grouped
lifecycle: {new_for: 1d, at_risk: 12h, dormant: 2d, returned_for: 1d}
risk: {model: mbg, r: 0.5, alpha: 1.5, a: 0.9, b: 1.6, unit: 1d}
activation: {event: Order Completed, within: 1d}
currency: {reporting: USD, rates: {EUR: 1.08}}
source_guard: {dark_below: 0}
channels: [{name: letters, source: newsletter}]
consent: {email: {basis: opt_out, trait: email}, push: {basis: opt_out, trait: push}}
tiers:
  - {id: gold, where: {value_90d: {at_least: 40}}}
  - {id: silver, where: {orders: {at_least: 1}, spent: {at_least: 1}}}
segments:
  - {id: fresh, where: {age_days: {below: 2}}}
  - {id: lapsed, where: {orders_90d: {below: 2}, orders: {at_least: 2}}}
  - {id: quiet, where: {silence_days: {at_least: 0.5, below: 3.3}}}
  - {id: gone-quiet, where: {tier: [gold, silver], silence_days: {at_least: 1}, value_365d: {below: 60}}}
  - {id: wavering, where: {p_alive: {below: 0.6}, lifecycle: [active, at_risk, returned]}}
  - {id: leaving, where: {risk: {at_least: 0.7}, active_days: {at_least: 2}}}
  - {id: lettered, where: {last_channel: letters, activated: true}}
  - {id: best, where: {value_90d: {top: 0.1}}}
rules:
  - {id: early, when: {silence: 1d}, channel: email, holdout: 0, expires_after: 6h, cooldown: 3d, goal: {within: 2d}}
  - {id: miss, when: {segment: quiet}, channel: push, holdout: 0.3, expires_after: 1d, cooldown: 2d, goal: {within: 1d}}
  - {id: keep, kind: grow, priority: 1, when: {segment: leaving}, channel: email, cooldown: 2d, goal: {within: 1d}}
  - {id: thank, kind: grow, when: {segment: lettered}, channel: push, cooldown: 2d, goal: {within: 1d}}
"""

PLAIN_GROUPS: Final = (
    GROUPED.replace("dark_below: 0}", "min_expected: 1, dark_below: 0.5}")
    .replace("  - {id: wavering, where: {p_alive: {below: 0.6}, lifecycle: [active, at_risk, returned]}}\n", "")
    .replace("risk: {at_least: 0.7}, active_days", "active_days")
    .replace("salt: grouped", "salt: plain\ntime: {lateness: 2h}")
)
"""Without scores, by which everybody would be woken after an hour; with a source that may be dark."""

POLICIES: Final = (CALM, RISKY, WARY, DENSE, CAPPED, GUARDED, GROUPED, PLAIN_GROUPS)
NO_RECALLS: Final = ("hello", "keep", "thank")
"""Rules of the other kinds."""
LEASES: Final = tuple(
    msgspec.json.encode(Lease({"gift": [gift] * 256, "trip": [trip] * 256}))
    for gift, trip in ((500, 0), (1000, 1700), (1900, 850))
)
QUANTILES: Final[tuple[dict[str, dict[float, float]], ...]] = (
    {"value_90d": {0.1: 20.0}},
    {"value_90d": {0.1: 4_400.0}},
)
MODELS: Final = (Recency(DAY, 0.0, 0.0, 1.0).to_json(), Recency(3 * HOUR, 0.5, 1.0, 2.0).to_json())
