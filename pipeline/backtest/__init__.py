"""What if: a history under a policy, measured. Pure functions of what the core itself decides when it is played."""

from pipeline.backtest.changes import ABSENT, FieldChange, changes
from pipeline.backtest.compare import Comparison, compare
from pipeline.backtest.figures import Backtest, FirstContacts, RuleFigures, SweepRow, row
from pipeline.backtest.limits import LIMITS
from pipeline.backtest.measure import measure
from pipeline.backtest.picture import picture
from pipeline.backtest.power import Arms, smallest_uplift
from pipeline.backtest.sweep import FIELDS, Swept, made_live, sweep_texts
from pipeline.backtest.watch import Considered, WhatIf, what_if

__all__ = [
    "ABSENT",
    "FIELDS",
    "LIMITS",
    "Arms",
    "Backtest",
    "Comparison",
    "Considered",
    "FieldChange",
    "FirstContacts",
    "RuleFigures",
    "SweepRow",
    "Swept",
    "WhatIf",
    "changes",
    "compare",
    "made_live",
    "measure",
    "picture",
    "row",
    "smallest_uplift",
    "sweep_texts",
    "what_if",
]
