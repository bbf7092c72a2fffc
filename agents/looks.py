"""What readers get to see, as plain data: a user with reasons, a trigger with its gates, a report. API and command line
show the same.
"""

from datetime import UTC, date, datetime
from time import time
from typing import Any, Final

import msgspec

from agents.readable import day_text, user_view
from agents.views.read import Sight
from pipeline.explain import explain
from pipeline.money import EXPONENTS
from pipeline.reports import REGISTRY, Cells, Span, Table
from pipeline.sentences import sentence
from pipeline.units import DAY
from pipeline.wording import OUTLOOKS, VERDICTS, Language, decided, stated, words
from schemas.decision import Decision

_decision = msgspec.json.Decoder(Decision).decode
_EPOCH: Final = date(1970, 1, 1)


def as_of_of(sight: Sight, asked: int | None) -> int:
    """The moment that a look is of (ms): what was asked for; else now in live time, in played time its clock."""
    if asked is not None:
        return asked
    return round(time() * 1000) if sight.position.domain == "live" else sight.context.clock


def user_look(sight: Sight, as_of: int | None, language: Language = "en") -> dict[str, Any]:
    """A user: the row with names, risk and deadlines as of a moment (ms), the episode, the last decisions; what is said
    in words is said in this language.
    """
    moment = as_of_of(sight, as_of)
    why = explain(sight.user, sight.state, sight.context, moment, held=sight.held, language=language)
    outlook = msgspec.to_builtins(why)
    row = user_view(sight.user.encode(), sight.state)
    recall = row["recall"]
    episode = None
    if recall is not None and sight.state.recall and sight.state.recall.episode == sight.state.activity.last:
        mine = sight.state.recall.decided_at >= sight.state.recall.episode  # suppressed ones leave no contact
        episode = {"start": recall["episode_start"]} | {
            name: recall[name] if mine else None for name in ("rule_id", "trigger_id", "arm")
        }
    return {
        "user": sight.user,
        "as_of": outlook["as_of"],
        "state": row,
        "risk": outlook["risk"],
        "next_deadline": outlook["next"],
        "episode": episode,
        "why": outlook,
        "decisions": [msgspec.json.decode(document) for document in sight.documents],
    }


def trigger_look(document: bytes, language: Language = "en") -> dict[str, Any]:
    """A decision with its gates in words."""
    decision = _decision(document)
    data = decision.data
    gates = [sentence(gate, language) for gate in data.explain]
    why = [gate.words for gate in gates if not gate.passed]
    if data.decision == "send":
        said = words(OUTLOOKS, "sent", language, channel=data.channel, at=decision.time)
    elif why:
        said = stated(words(VERDICTS, data.decision, language), why, language)
    else:
        said = decided(data.decision, data.reasons, language)
    return {
        "decision": msgspec.json.decode(document),
        "gates": msgspec.to_builtins(gates),
        "summary": stated(f"{decision.subject}, {data.rule_id}", [said], language),
    }


def report_look(name: str, cells: Cells, span: Span, currency: str) -> dict[str, Any]:
    """A report; days as dates. `currency`: the reporting one. Raises KeyError."""
    return table_look(name, dated(REGISTRY[name].make(cells, span)), currency)


def table_look(name: str, table: Table, currency: str) -> dict[str, Any]:
    """A table under a report's name."""
    rows = [list(row) for row in table.rows]
    return {"name": name, "columns": list(table.columns), "rows": rows, "amounts": amounts_of(table, currency)}


def amounts_of(table: Table, currency: str) -> dict[str, Any] | None:
    """Which columns are money, and in what: for programs amounts stay integers in minor units. None: no column is."""
    if not table.money:
        return None
    return {
        "unit": f"minor units of {currency}",
        "currency": currency,
        "exponent": EXPONENTS[currency],
        "columns": list(table.money),
    }


def dated(table: Table) -> Table:
    """The table with its column `day` as ISO dates."""
    if "day" not in table.columns:
        return table
    at = table.columns.index("day")
    return table._replace(rows=[(*row[:at], day_text(int(row[at] or 0)), *row[at + 1 :]) for row in table.rows])


def day_of(text: str) -> int:
    """An ISO date as days since 1970. Raises ValueError."""
    return (date.fromisoformat(text) - _EPOCH).days


def moment_of(text: str) -> int:
    """RFC 3339 as ms; without an offset it is UTC. Raises ValueError."""
    parsed = datetime.fromisoformat(text)
    found = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    milliseconds = round(found.timestamp() * 1000)
    if not 0 <= milliseconds < 47_482 * DAY:
        msg = "not between 1970 and 2099"
        raise ValueError(msg)
    return milliseconds
