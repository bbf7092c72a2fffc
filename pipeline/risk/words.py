"""A score's reasons in words. The codes are stable; the texts may change."""

from collections.abc import Callable, Sequence
from typing import Final

from pipeline.risk.model import Term


def _figure(value: float) -> str:
    """As a person would say it: 2263.1 -> 2,263; 61.87 -> 61.9; 0.0008 -> 0."""
    return f"{value:,.0f}" if value >= 100 else f"{round(value, 1 if value >= 10 else 2):g}"


def _days(value: float) -> str:
    return f"{_figure(value)} day" + ("" if _figure(value) == "1" else "s")


TEXTS: Final[dict[str, Callable[[float], str]]] = {
    "silence_days": lambda v: f"silent for {_days(v)}",
    "silence_to_gap": lambda v: f"silence is {_figure(v)} times the usual gap",
    "active_days": lambda v: f"{round(v)} active day{'' if round(v) == 1 else 's'} so far",
    "active_days_7d": lambda v: f"{_figure(v)} recent active days (half-life 7 days)",
    "active_days_30d": lambda v: f"{_figure(v)} recent active days (half-life 30 days)",
    "active_days_90d": lambda v: f"{_figure(v)} recent active days (half-life 90 days)",
    "tenure_days": lambda v: f"first seen {_days(v)} ago",
    "p_alive": lambda v: f"has not left for good: {v:.0%}",
    "p_active_if_alive": lambda v: f"would be active within the horizon, if not gone: {v:.0%}",
    "mbg_p_none": lambda v: f"the rhythm so far (MBG/NBD) expects silence: {v:.0%}",
}
"""Code -> what is said of its value."""


def words(term: Term) -> str:
    """A term as a sentence: what is so, and whether it raises or lowers the risk, and by how much in log-odds."""
    effect = "raises" if term.contribution >= 0 else "lowers"
    return f"{TEXTS[term.code](term.value)}: {effect} the risk ({term.contribution:+.2f})"


def strongest(terms: Sequence[Term], most: int = 3) -> list[Term]:
    """The terms that move the score most, the strongest first; ties in their order."""
    return sorted(terms, key=lambda term: -abs(term.contribution))[:most]
