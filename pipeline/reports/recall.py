"""Recall: whether it worked. By rule, and for all of them together."""

from typing import Any, Final

from pipeline.experiment import ALPHA, SMALLEST, Arm, Estimate, Finding, Stratum, judge
from pipeline.money import amount, major
from pipeline.reports.base import Cells, Report, Span, Table, Value, added, cells_of, share
from pipeline.sums import OUTCOMES, TRIALS, Sum
from pipeline.sums.outcomes import (
    ALL_RULES,
    BOUNCED,
    CLICKED,
    DECIDED,
    DELIVERED,
    FAILED,
    SENT,
)
from pipeline.sums.outcomes import PERK_COST as ALL_PERKS
from pipeline.sums.trials import MEASURED, PAYERS, PERK_COST, RECALLED, RETURNED, USERS, VALUE
from pipeline.wording import FINDINGS, Language, words

EACH_RULE: Final = "+"
"""The rules together, each against its own holdout. No rule has this name. With a holdout over all rules their arms
would hang together, and that row says it.
"""

_MONEY: Final = (
    *("incremental_value", "incremental_value_low", "incremental_value_high"),
    *("perk_cost", "perk_cost_first"),
)
_NO_CONTACT: Final = [0] * len(OUTCOMES.fields)
_NO_TRIAL: Final = [0] * len(TRIALS.fields)

Counts = dict[str, list[int]]
"""Arm -> the fields of a sum."""
Strata = dict[str, Counts]


def _make(cells: Cells, span: Span) -> Table:
    contacts, trials = (_by_rule(cells, each, span) for each in (OUTCOMES, TRIALS))
    names = sorted(contacts.keys() - {ALL_RULES})
    found = [(name, [contacts[name]], [trials.get(name, {})]) for name in names]
    every = [contacts[name] for name in names]  # in the draw over all, whom a rule held out counts as treated
    if ALL_RULES in contacts:
        found.append((ALL_RULES, every, [trials.get(ALL_RULES, {})]))
    elif len(found) > 1:
        found.append((EACH_RULE, every, [trials.get(name, {}) for name in names]))
    return Table(tuple(_row("", [], [])), [tuple(_row(*each).values()) for each in found], _MONEY)


def _by_rule(cells: Cells, aggregate: Sum, span: Span) -> dict[str, Strata]:
    rules: dict[str, Strata] = {}
    for (_, rule, stratum, arm), values in cells_of(cells, aggregate, span):
        counts = rules.setdefault(str(rule), {}).setdefault(str(stratum), {})
        counts[str(arm)] = added(counts.get(str(arm)), values)
    return rules


def _row(rule: str, contacts: list[Strata], trials: list[Strata]) -> dict[str, Value]:
    drawn, treated, held = [], _NO_TRIAL, _NO_TRIAL
    for strata in trials:
        for stratum, counts in strata.items():
            arms = counts.get("treatment", _NO_TRIAL), counts.get("holdout", _NO_TRIAL)
            treated, held = added(treated, arms[0]), added(held, arms[1])
            drawn.append(Stratum(float(stratum.partition("/")[0]), *(_arm(values) for values in arms)))
    reached = _NO_CONTACT
    for strata in contacts:
        for counts in strata.values():
            reached = added(reached, counts.get("treatment", _NO_CONTACT))
    found = judge(drawn)
    return {
        "rule": rule,
        "verdict": found.verdict,
        "says": says(found),
        "says_zh": says(found, "zh"),
        "contacts": reached[DECIDED],
        "sent": reached[SENT],
        "delivered": reached[DELIVERED],
        "clicked": reached[CLICKED],
        "bounced": reached[BOUNCED],
        "failed": reached[FAILED],
        "participation": share(reached[CLICKED], reached[SENT]),
        "treated": treated[USERS],
        "held_out": held[USERS],
        "open": treated[USERS] - treated[MEASURED] + held[USERS] - held[MEASURED],
        "treated_returned": share(treated[RETURNED], treated[USERS]),
        "held_out_returned": share(held[RETURNED], held[USERS]),
        "treated_recalled": share(treated[RECALLED], treated[USERS]),
        "held_out_recalled": share(held[RECALLED], held[USERS]),
        **_spread("uplift", found.uplift, 5),
        "p": _rounded(found.p),
        "ratio_low": round(found.ratio[0], 4),
        "ratio_high": None if found.ratio[1] is None else round(found.ratio[1], 4),
        **_spread("incremental_users", found.users, 1),
        **_spread("incremental_value", found.value, 0),
        "perk_cost": reached[ALL_PERKS],
        "perk_cost_first": treated[PERK_COST],
        **_spread("perk_return", _per(found.value, treated[PERK_COST]), 3),
        "mismatch_p": _rounded(found.mismatch),
        "needed": found.needed,
    }


def _arm(values: list[int]) -> Arm:
    # Intent to treat: all who were drawn, whatever became of the message; windows that are open count as not recalled
    # yet, in both arms alike.
    return Arm(values[USERS], values[RECALLED], values[VALUE], values[PAYERS])


def _per(value: Estimate | None, cost: int) -> Estimate | None:
    return None if value is None or not cost else Estimate(*(figure / cost for figure in value))


def _spread(name: str, found: Estimate | None, digits: int) -> dict[str, Value]:
    columns = (name, f"{name}_low", f"{name}_high")
    if found is None:
        return dict.fromkeys(columns)
    return {column: round(figure, digits or None) for column, figure in zip(columns, found, strict=True)}


def _rounded(p: float) -> float:
    return float(f"{p:.3g}")


def says(found: Finding, language: Language = "en") -> str:
    """The verdict in words."""
    code = "too_early_nobody" if found.verdict == "too_early" and found.needed is None else found.verdict
    return words(FINDINGS, code, language, needed=_about(found.needed or 0), lift=f"{100 * SMALLEST:.0f} %")


def _about(number: int) -> str:
    return f"{float(f'{number:.2g}'):,.0f}"  # two digits: the rest would be a guess


def tell(table: Table, currency: str) -> list[str]:
    """The table as lines for people: a paragraph by rule, then what the figures are. `currency`: the reporting one."""
    if not table.rows:
        return ["nobody was drawn into an arm in these days: no rule was due, or none was live"]
    lines: list[str] = []
    for row in table.rows:
        lines += [*_paragraph(dict(zip(table.columns, row, strict=True)), currency), ""]
    return [*lines, *_NOTES]


_NOTES: Final = (
    "In brackets 95 % intervals. Users are compared at their first contact; value is that of the first order that",
    "reaches its goal: what they buy after that is not counted.",
)
_TITLES: Final = {
    ALL_RULES: "ALL RULES, by the holdout over all of them",
    EACH_RULE: "THE RULES TOGETHER, each by its own holdout",
}


def _paragraph(row: dict[str, Any], currency: str) -> list[str]:
    lines = [_TITLES.get(row["rule"], row["rule"]), f"  {row['says']}"]
    still = f"; of {row['open']:,} the goal window is still open" if row["open"] else ""
    treated, held = _ARMS_OF_ALL if row["rule"] == ALL_RULES else _ARMS
    lines.append(f"  users     {row['treated']:,} {treated}, {row['held_out']:,} {held}{still}")
    lines += [f"  contacts  {_contacts(row)}", f"  reported  {_reported(row)}"]
    if row["participation"] is not None:
        lines.append(f"  clicked   {_percent(row['participation'])} of those reported as sent: the participation")
    arms = (("treated", treated), ("held_out", held))
    shares = [f"{_percent(row[f'{arm}_recalled'])} of those {name}" for arm, name in arms if row[arm]]
    lines.append(f"  recalled  {', '.join(shares)}")
    if row["verdict"] == "mismatch":
        return [*lines, f"  evidence  none: chance does not draw arms of these sizes (p {_p(row['mismatch_p'])})"]
    if row["uplift"] is not None:
        points = [100 * row[f"uplift{end}"] for end in _ENDS]
        lines.append(f"  uplift    {_range(points, '+.2f')} points")
        users = _range([row[f"incremental_users{end}"] for end in _ENDS], "+,.0f")
        value, low, high = (major(row[f"incremental_value{end}"], currency, "+") for end in _ENDS)
        lines.append(f"  gained    {users} users, {value} ({low} .. {high}) {currency} of value")
    if row["perk_cost"]:
        lines.append(f"  perks     {_perks(row, currency)}")
    if row["held_out"]:
        chance = "hardly does" if row["p"] <= ALPHA else "may well do"
        low, high = row["ratio_low"], row["ratio_high"]
        times = f"at least {low:.2f}" if high is None else f"{low:.2f} to {high:.2f}"
        lines.append(f"  evidence  chance alone {chance} this (p {_p(row['p'])})")
        lines.append(f"  ratio     {times} times as many of those {treated} come back as of those {held}")
        lines.append(f"  arms      of the sizes that were to be drawn (p {_p(row['mismatch_p'])})")
    return lines


def _contacts(row: dict[str, Any]) -> str:
    """How many were decided to be sent; by one draw also how many of these are compared."""
    contacts, later = row["contacts"], row["contacts"] - row["treated"]
    if row["rule"] == ALL_RULES:
        return f"{contacts:,} to be sent by its rules, later ones of the same users too"
    if not later:
        return f"{contacts:,} to be sent, each the first of its user"
    return f"{contacts:,} to be sent: {row['treated']:,} first ones, which are compared, and {later:,} later ones"


def _reported(row: dict[str, Any]) -> str:
    """What was reported back of these messages."""
    heard = [f"{row[part]:,} {part}" for part in _REPORTED if row[part]]
    return ", ".join(heard) or "nothing: no sender has told what became of these messages"


def _perks(row: dict[str, Any], currency: str) -> str:
    """The cost that the return is of, that of first contacts, and what all of them cost."""
    first, cost = (amount(row[name], currency) for name in ("perk_cost_first", "perk_cost"))
    if row["perk_return"] is None:
        return f"{cost} in all"
    told = f"{first} for first contacts, {_range([row[f'perk_return{end}'] for end in _ENDS], '.2f')} back for each 1"
    return told if first == cost else f"{told}; {cost} in all"


_REPORTED: Final = ("sent", "delivered", "clicked", "bounced", "failed")
_ARMS: Final = ("treated", "held out")
_ARMS_OF_ALL: Final = ("in the programme", "held out of all of it")
_ENDS: Final = ("", "_low", "_high")


def _range(figures: list[float], form: str) -> str:
    at, low, high = (f"{figure:{form}}" for figure in figures)
    return f"{at} ({low} .. {high})"


def _percent(part: float) -> str:
    return f"{100 * part:.2f} %"


def _p(p: float) -> str:
    return "< .0001" if p < 0.0001 else f"{p:.4f}".replace("0.", ".", 1) if p < 1 else "1"


RECALL: Final = Report(
    "recall",
    "whether each rule, and all of them together, brought users back who would not have come",
    (OUTCOMES, TRIALS),
    _make,
    tell,
)
