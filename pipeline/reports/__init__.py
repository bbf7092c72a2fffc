"""What people read: each report is a pure function of the sums, in one file and on one line here."""

from typing import Final

from pipeline.reports.base import Cells, Report, Span, Table
from pipeline.reports.channels import CHANNELS
from pipeline.reports.decisions import DECISIONS
from pipeline.reports.growth import GROWTH
from pipeline.reports.recall import RECALL

REGISTRY: Final[dict[str, Report]] = {r.name: r for r in (CHANNELS, GROWTH, DECISIONS, RECALL)}

__all__ = ["REGISTRY", "Cells", "Report", "Span", "Table"]
