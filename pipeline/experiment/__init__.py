"""Did it work? Statistics over the counts of two arms, by stratum.

A stratum is everybody who was drawn by the same share and salt: a change of either begins a new one, and only the arms
of the same stratum are compared. Nothing here knows users, events or time. docs/methods/recall-test.md has the sources.
"""

from pipeline.experiment.arms import Arm, Estimate, Stratum, holdout_ratio, incremental_users, incremental_value, uplift
from pipeline.experiment.evidence import ALPHA, anytime_p, converters_needed, ratio_bounds
from pipeline.experiment.verdict import SMALLEST, VERDICTS, Finding, ReportVerdict, judge

__all__ = [
    "ALPHA",
    "SMALLEST",
    "VERDICTS",
    "Arm",
    "Estimate",
    "Finding",
    "ReportVerdict",
    "Stratum",
    "anytime_p",
    "converters_needed",
    "holdout_ratio",
    "incremental_users",
    "incremental_value",
    "judge",
    "ratio_bounds",
    "uplift",
]
