"""Recall: whether it worked. The arms of each rule side by side."""

from typing import Final

from pipeline.reports.base import Cells, Report, Span, Table, added, cells_of, share
from pipeline.sums import OUTCOMES as SUM
from pipeline.sums.outcomes import MEASURED, RECALLED, RETURNED, VALUE


def _make(cells: Cells, span: Span) -> Table:
    found: dict[tuple[str, str], list[int]] = {}
    for (_, rule, arm), values in cells_of(cells, SUM, span):
        key = str(rule), str(arm)
        found[key] = added(found.get(key), values)
    rows = [
        (
            *key,
            *values,
            share(values[RETURNED], values[MEASURED]),
            share(values[RECALLED], values[MEASURED]),
            round(values[VALUE] / values[MEASURED]) if values[MEASURED] else None,
        )
        for key, values in sorted(found.items())
    ]
    columns = ("rule", "arm", *SUM.fields, "returned_share", "recalled_share", "value_per_measured")
    return Table(columns, list(rows))


RECALL: Final = Report(
    "recall", "by rule and arm: decided, window over, back, with the goal, worth, and per head", (SUM,), _make
)
