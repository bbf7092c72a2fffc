"""The sums over all partitions, kept up as the partitions' cells come in."""

from itertools import zip_longest

import msgspec

_decode = msgspec.msgpack.Decoder(list[int]).decode
_encode = msgspec.msgpack.Encoder().encode


class Wholes:
    """The latest partial of every cell in each of `count` partitions, and their sum. Keys are encoded cells."""

    def __init__(self, count: int) -> None:
        self._partials: list[dict[bytes, list[int]]] = [{} for _ in range(count)]
        self._wholes: dict[bytes, list[int]] = {}
        self._touched: set[bytes] = set()

    def put(self, partition: int, cell: bytes, value: bytes) -> None:
        """A partition's partial, as an absolute value."""
        partial, mine = _decode(value), self._partials[partition]
        before = mine.get(cell, [])
        mine[cell] = partial
        whole = self._wholes.get(cell, [])
        self._wholes[cell] = [w + p - b for w, p, b in zip_longest(whole, partial, before, fillvalue=0)]
        self._touched.add(cell)

    def take(self) -> dict[str, dict[bytes, bytes]]:
        """The wholes that changed since the last call: sum -> cell -> value."""
        found: dict[str, dict[bytes, bytes]] = {}
        for cell in self._touched:
            name = cell.partition(b"\x1f")[0].decode()
            found.setdefault(name, {})[cell] = _encode(self._wholes[cell])
        self._touched.clear()
        return found
