"""What stays of somebody who was erased: a mark under a keyed hash of the id, which says up to when.

Without the key nobody can tell whose mark it is, not even by trying every id (docs/adr/8).
"""

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

MARK_BYTES: Final = 16
_CHECK_BYTES: Final = 8
_CHECK_TEXT: Final = b"rekindle erasure key"


class Mark(msgspec.Struct, array_like=True, gc=False):
    """Nothing that happened up to `until` (ms) is applied to this user.

    `offset` and `applied`: the record that erased last, and its append time (ms); `refused`: how many records were
    refused since, and `last`: the append time of the last of them, or `applied`: so long the log speaks of the user.
    """

    until: int
    offset: int
    applied: int
    refused: int = 0
    last: int = 0


class WrongKey(Exception):
    """The marks of this partition were made with another key: they would recognise nobody."""

    def __init__(self) -> None:
        super().__init__("users of this log were erased under another key; under this one they would come back")


class Marked(NamedTuple):
    """A mark under its name."""

    name: bytes
    mark: Mark


encode_mark = msgspec.msgpack.Encoder().encode
decode_mark = msgspec.msgpack.Decoder(Mark).decode


def mark_name(key: bytes, secret: bytes) -> bytes:
    """The keyed hash that stands for a user's key. `secret`: at most 64 bytes."""
    return blake2b(key, digest_size=MARK_BYTES, key=secret).digest()


@lru_cache(maxsize=16)
def check_value(secret: bytes) -> str:
    """Tells one secret from another, and nothing about either."""
    return blake2b(_CHECK_TEXT, digest_size=_CHECK_BYTES, key=secret).hexdigest()


class Marks:
    """The marks of one partition, encoded, and which of them changed since they were last taken."""

    __slots__ = ("_changed", "_marks", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._marks: dict[bytes, bytes] = {}
        self._changed: set[bytes] = set()

    def find(self, key: bytes) -> Marked | None:
        """The mark of a user; None: they were never erased. Costs nothing where nobody ever was."""
        if not self._marks:
            return None
        name = mark_name(key, self._secret)
        found = self._marks.get(name)
        return None if found is None else Marked(name, decode_mark(found))

    def until(self, key: bytes) -> int:
        """Up to when a user was erased (ms); 0: never."""
        found = self.find(key)
        return 0 if found is None else found.mark.until

    def erase(self, key: bytes, until: int, offset: int, appended: int) -> Marked:
        """The record at `offset` erases a user, up to later than any before."""
        found = self.find(key)
        name = mark_name(key, self._secret) if found is None else found.name
        mark = Mark(until, offset, appended, last=appended)
        if found is not None:
            mark.refused = found.mark.refused
            mark.last = max(appended, found.mark.last)
        self.put(name, mark)
        return Marked(name, mark)

    def refuse(self, found: Marked, appended: int) -> None:
        """A record of before the erasure came after it."""
        found.mark.refused += 1
        found.mark.last = max(found.mark.last, appended)
        self.put(*found)

    def put(self, name: bytes, mark: Mark) -> None:
        """Set a mark."""
        self._marks[name] = encode_mark(mark)
        self._changed.add(name)

    def restore(self, name: bytes, mark: bytes) -> None:
        """Set a mark to what was taken."""
        self._marks[name] = mark

    def take(self) -> Iterator[tuple[bytes, bytes]]:
        """The marks that changed since the last call, by name."""
        changed, self._changed = sorted(self._changed), set()
        return ((name, self._marks[name]) for name in changed)
