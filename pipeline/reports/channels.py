"""Channels: whom they bring, who reaches the key moment, who buys, and for how much."""

from typing import Final

from pipeline.reports.base import Cells, Report, Span, Table, added, cells_of, share
from pipeline.sums import CHANNELS as SUM
from pipeline.sums.channels import ACTIVATED, NEW_USERS, ORDERS, REVENUE


def _make(cells: Cells, span: Span) -> Table:
    found: dict[str, list[int]] = {}
    for (_, channel), values in cells_of(cells, SUM, span):
        found[str(channel)] = added(found.get(str(channel)), values)
    rows = [
        (
            channel,
            *values,
            share(values[ACTIVATED], values[NEW_USERS]),
            round(values[REVENUE] / values[ORDERS]) if values[ORDERS] else None,
        )
        for channel, values in sorted(found.items(), key=lambda pair: (-pair[1][REVENUE], pair[0]))
    ]
    columns = ("channel", *SUM.fields, "activated_share", "revenue_per_order")
    return Table(columns, list(rows), (SUM.fields[REVENUE], "revenue_per_order"))


CHANNELS: Final = Report(
    "channels", "what each channel brought: visitors by day, new users, orders, revenue", (SUM,), _make
)
