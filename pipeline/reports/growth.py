"""Growth by day: who came, who stayed, who came back, who fell silent."""

from typing import Final

from pipeline.reports.base import Cells, Report, Span, Table, Value, cells_of
from pipeline.sums import GROWTH as SUM
from pipeline.sums.growth import DORMANT, EXPIRED, NEW, RETURNED


def _make(cells: Cells, span: Span) -> Table:
    rows: list[tuple[Value, ...]] = [
        (int(day), str(kind), *values, values[NEW] + values[RETURNED] - values[DORMANT] - values[EXPIRED])
        for (day, kind), values in cells_of(cells, SUM, span)
        if any(values)
    ]
    return Table(("day", "kind", *SUM.fields, "net"), sorted(rows, key=lambda row: (row[0], row[1])))


GROWTH: Final = Report("growth", "by day: new, retained, returned, dormant, expired, and their balance", (SUM,), _make)
