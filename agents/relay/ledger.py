"""Which records of a partition are done, where they end in any order; and how a group's offset remembers it. Pure."""

import base64
from binascii import Error as NotBase64
from typing import Final

WINDOW: Final = 8_192
"""Offsets between the first open record and the last one begun: so the note below stays under Kafka's 4096 bytes."""

_MARK: Final = "done:"


class Ledger:
    """Records are begun in order and end in any.

    Args:
        offset: what the group has committed: everything before it is done.
        note: the metadata that was committed with it; anything foreign counts as none. None: nothing was committed.
    """

    def __init__(self, offset: int, note: str | None = None) -> None:
        self._next = offset
        self._open: dict[int, None] = {}  # in the order of the offsets
        self._done = _read(offset, note or "")
        self._committed = None if note is None else (offset, note)

    def begin(self, offset: int) -> bool:
        """A record was read; False: it has been done before a restart."""
        self._next = max(self._next, offset + 1)
        if offset in self._done:
            return False
        self._open[offset] = None
        return True

    def end(self, offset: int) -> None:
        """A record is done."""
        del self._open[offset]
        self._done.add(offset)

    @property
    def head(self) -> int:
        """The first offset that is not done."""
        return next(iter(self._open), self._next)

    @property
    def full(self) -> bool:
        """Whether nothing more may be begun."""
        return self._next - self.head >= WINDOW

    def position(self) -> tuple[int, str] | None:
        """What the group has to commit, None if it has: the head, and a note of those done behind it."""
        head = self.head
        self._done = {offset for offset in self._done if offset >= head}
        bits = bytearray((max(self._done, default=head - 1) - head) // 8 + 1)
        for offset in self._done:
            bits[(offset - head) // 8] |= 1 << (offset - head) % 8
        found = (head, _MARK + base64.b64encode(bits).decode() if bits else "")
        return None if found == self._committed else found

    def committed(self, position: tuple[int, str]) -> None:
        """The group knows this position."""
        self._committed = position


def _read(offset: int, note: str) -> set[int]:
    if not note.startswith(_MARK):
        return set()
    try:
        bits = base64.b64decode(note.removeprefix(_MARK), validate=True)
    except (NotBase64, ValueError):
        return set()
    return {offset + 8 * place + bit for place, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1}
