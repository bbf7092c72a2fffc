"""Everything about the population is a sum: cells of integers, one file and one registry line per aggregate.

A fact adds to one field of one cell; merging is adding. Each partition keeps its partial and publishes a touched cell
as an absolute value; the whole is the sum of the latest of every partition.
"""

from typing import Final

from pipeline.sums.base import Cells, Fact, Sum, merge
from pipeline.sums.calibration import CALIBRATION
from pipeline.sums.channels import CHANNELS
from pipeline.sums.decisions import DECISIONS
from pipeline.sums.growth import GROWTH
from pipeline.sums.outcomes import OUTCOMES
from pipeline.sums.perks import PERKS
from pipeline.sums.population import RISK, STAGE
from pipeline.sums.segments import SEGMENTS
from pipeline.sums.trials import TRIALS

REGISTRY: Final[dict[str, Sum]] = {
    s.name: s for s in (CHANNELS, GROWTH, STAGE, RISK, DECISIONS, OUTCOMES, PERKS, SEGMENTS, CALIBRATION, TRIALS)
}

__all__ = [
    "CALIBRATION",
    "CHANNELS",
    "DECISIONS",
    "GROWTH",
    "OUTCOMES",
    "PERKS",
    "REGISTRY",
    "RISK",
    "SEGMENTS",
    "STAGE",
    "TRIALS",
    "Cells",
    "Fact",
    "Sum",
    "merge",
]
