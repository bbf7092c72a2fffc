"""Stocks: how many users are in each segment and tier. `kind` is `segment` or `tier`."""

from typing import Final

from pipeline.sums.base import Sum

SEGMENTS: Final = Sum("segments", ("kind", "segment"), ("users",))
