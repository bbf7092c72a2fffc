"""What a report is."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from pipeline.state import UserState
from pipeline.sums import Sum
from pipeline.sums.base import Dims

Cells = Mapping[tuple[str, Dims], list[int]]
"""The whole: cells of all partitions, merged (`pipeline.sums.merge`)."""
Value = str | int | float | None


class Span(NamedTuple):
    """Days since 1970, both included; None: open."""

    since: int | None = None
    until: int | None = None

    def holds(self, day: str | int) -> bool:
        """Whether a day lies in it."""
        return (self.since is None or int(day) >= self.since) and (self.until is None or int(day) <= self.until)


class Table(NamedTuple):
    """Rows of values under column names. Shares are 0..1, or None where nothing was there to divide by; the columns
    `money` are integers in minor units of the reporting currency.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]
    money: tuple[str, ...] = ()


class Report(NamedTuple):
    """`says`: one line for people. `sums`: those that it reads. `make`: cells and a span of days -> the table.
    `tell`: the table and the reporting currency as lines for people; without it they read its columns.
    """

    name: str
    says: str
    sums: tuple[Sum, ...]
    make: Callable[[Cells, Span], Table]
    tell: Callable[[Table, str], list[str]] | None = None


class UserReport(NamedTuple):
    """A report over all rows, for what no sum holds. `make`: rows, the time that they are of (ms), and of how many last
    days value counts (None: of all) -> the table.
    """

    name: str
    says: str
    make: Callable[[Iterable[UserState], int, int | None], Table]


def cells_of(cells: Cells, aggregate: Sum, span: Span) -> Iterator[tuple[Dims, list[int]]]:
    """The cells of one sum whose day, its first dimension, lies in the span."""
    for (name, dims), values in cells.items():
        if name == aggregate.name and span.holds(dims[0]):
            yield dims, values


def share(part: int, whole: int) -> float | None:
    """A part of a whole, four digits; None: of nothing."""
    return round(part / whole, 4) if whole else None


def added(left: list[int] | None, right: list[int]) -> list[int]:
    """Field by field."""
    return list(right) if left is None else [a + b for a, b in zip(left, right, strict=True)]
