"""What the tests of contacts share: a rule after two days of silence, a log hour by hour, and what was said."""

from collections.abc import Sequence

from pipeline.units import HOUR
from tests.builders import (
    Entry,
    Folded,
    at,
    fold,
    history,
    milliseconds,
    ticks,
)

BASE = """
version: 1
mode: live
salt: test
lifecycle: {{at_risk: 1d, dormant: 2d}}
activation: {{event: Signed Up, within: 7d}}
consent:
  email: {{basis: opt_out, trait: email}}
  push: {{basis: opt_in, trait: push}}
perks: [{{id: ten-off, cost: 10, budget: 2560}}]
{top}
rules:
  - {{id: silent, when: {{silence: 2d}}, holdout: 0, expires_after: 3d, cooldown: 4d, goal: {{within: 4d}}{rule}}}
"""


def policy(rule: str = "", top: str = "") -> str:
    """A live rule after two days of silence; `rule` and `top` are more of its fields and of the policy's."""
    return BASE.format(rule=f", {rule}" if rule else "", top=top)


def hours(*entries: Entry | Sequence[Entry]) -> list[Entry]:
    """Entries as they came, each after the ticks of the hours before it."""
    flat = [e for entry in entries for e in ([entry] if isinstance(entry, Entry) else entry)]
    told, found = at(0), []
    for entry in flat:
        if not entry.headers:
            found += ticks(told + HOUR, entry.appended)
            told = max(told, entry.appended // HOUR * HOUR)
        else:
            told = max(told, entry.appended)
        found.append(entry)
    return found


def run(text: str, *entries: Entry | Sequence[Entry], extra: dict[str, bytes] | None = None) -> Folded:
    return fold(history(hours(*entries), policy=text), text, extra=extra)


def said(folded: Folded) -> list[tuple[int, str, list[str]]]:
    """(step, decision, reasons) of every decision."""
    return [(m["data"]["step"], m["data"]["decision"], m["data"]["reasons"]) for m in folded.messages("decisions")]


def sent_at(folded: Folded) -> list[int | None]:
    """When each trigger is to be sent, in hours after the beginning."""
    return [((milliseconds(m["time"]) or 0) - at(0)) // HOUR for m in folded.triggers]
