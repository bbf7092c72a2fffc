"""What people read: each report is a pure function, of the sums or of all users' rows, in one file and on one line.

Of the visits of a whole history there is one, `pipeline.reports.reasons`.
"""

from typing import Final

from pipeline.reports.base import Cells, Report, Span, Table, UserReport
from pipeline.reports.calibration import CALIBRATION
from pipeline.reports.channels import CHANNELS
from pipeline.reports.decisions import DECISIONS
from pipeline.reports.drivers import DRIVERS
from pipeline.reports.growth import GROWTH
from pipeline.reports.recall import RECALL

REGISTRY: Final[dict[str, Report]] = {r.name: r for r in (CHANNELS, GROWTH, DECISIONS, RECALL, CALIBRATION)}
OVER_USERS: Final[dict[str, UserReport]] = {r.name: r for r in (DRIVERS,)}

__all__ = ["OVER_USERS", "REGISTRY", "Cells", "Report", "Span", "Table", "UserReport"]
