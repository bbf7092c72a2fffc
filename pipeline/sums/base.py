"""What a sum is: a name, dimensions and integer fields; cells; the commutative monoid over them."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

Dims = tuple[str | int, ...]
_SEPARATOR = "\x1f"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode


class Sum(NamedTuple):
    """An aggregate. A dimension called `day` is an int (days since 1970); every other one is text of a bounded set."""

    name: str
    dims: tuple[str, ...]
    fields: tuple[str, ...]


# A fact (sum, dims, field, delta): +delta in that field of the cell. A plain tuple: two or three are made per event.
Fact = tuple[Sum, Dims, int, int]


class Cells:
    """The cells of one partition, and which of them were touched since they were last taken."""

    __slots__ = ("_touched", "values")

    def __init__(self) -> None:
        self.values: dict[tuple[str, Dims], list[int]] = {}
        self._touched: dict[tuple[str, Dims], list[int]] = {}

    def add(self, facts: Iterable[Fact]) -> None:
        """Add facts."""
        for aggregate, dims, field, delta in facts:
            key = (aggregate.name, dims)
            cell = self._touched.get(key)
            if cell is None:
                cell = self.values.get(key)
                if cell is None:
                    cell = self.values[key] = [0] * len(aggregate.fields)
                self._touched[key] = cell
            cell[field] += delta

    def take(self) -> list[tuple[bytes, bytes]]:
        """The touched cells as (key, absolute value), sorted."""
        taken = sorted((encode_key(*key), _encode(cell)) for key, cell in self._touched.items())
        self._touched.clear()
        return taken

    def restore(self, key: bytes, value: bytes) -> None:
        """Set a cell to what was taken. Unknown sums are kept as they are: a newer release may have written them."""
        self.values[decode_key(key)] = _decode(value)


def encode_key(name: str, dims: Dims) -> bytes:
    """(name, dims) as bytes."""
    return _SEPARATOR.join((name, *(f"#{d}" if isinstance(d, int) else d for d in dims))).encode()


def decode_key(key: bytes) -> tuple[str, Dims]:
    """The inverse of `encode_key`."""
    name, *dims = key.decode().split(_SEPARATOR)
    return name, tuple(int(d[1:]) if d.startswith("#") else d for d in dims)


def merge(partials: Iterable[dict[tuple[str, Dims], list[int]]]) -> dict[tuple[str, Dims], list[int]]:
    """The whole: the sum of the partitions' partials."""
    whole: dict[tuple[str, Dims], list[int]] = {}
    for partial in partials:
        for key, cell in partial.items():
            known = whole.get(key)
            whole[key] = list(cell) if known is None else [a + b for a, b in zip(known, cell, strict=True)]
    return whole
