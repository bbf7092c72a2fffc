"""Decisions: what each rule decided, and why not."""

from collections import Counter
from typing import Final

from pipeline.reports.base import Cells, Report, Span, Table, cells_of, share
from pipeline.sums import DECISIONS as SUM


def _make(cells: Cells, span: Span) -> Table:
    found: Counter[tuple[str, str, str]] = Counter()
    whole: Counter[str] = Counter()
    for (_, rule, decision, reason), (count,) in cells_of(cells, SUM, span):
        found[str(rule), str(decision), str(reason)] += count
        whole[str(rule)] += count
    rows = [(*key, count, share(count, whole[key[0]])) for key, count in sorted(found.items()) if count]
    return Table(("rule", "decision", "reason", "count", "share"), list(rows))


DECISIONS: Final = Report("decisions", "by rule: decisions, their first reason, and their share", (SUM,), _make)
