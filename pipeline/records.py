"""What a partition reads and writes."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

Headers = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """One record of the user topic. aiokafka's ConsumerRecord is one."""

    @property
    def offset(self) -> int:
        """Its position in the partition."""

    @property
    def timestamp(self) -> int:
        """Append time, ms."""

    @property
    def key(self) -> bytes | None:
        """The user, or the reserved key."""

    @property
    def value(self) -> bytes | None:
        """The message."""

    @property
    def headers(self) -> Headers:
        """Name and bytes."""


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """A record from a file, a dump or the player; `timestamp` is the append time in ms."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Output(NamedTuple):
    """A record to write to the same partition of an output topic."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Commit(NamedTuple):
    """What must be written at once: rows, cells and the partition row as (key, value or None for gone), outputs by
    topic.

    `offset` is the next record to fold after it. An empty changelog means that there is nothing to write.
    """

    changelog: list[tuple[bytes, bytes | None]]
    outputs: dict[str, list[Output]]
    offset: int

    def write_to(self, rows: dict[bytes, bytes]) -> None:
        """Take the changelog into the rows that were written before it."""
        for key, value in self.changelog:
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value


class MissingBody(LookupError):
    """The registry has no such body (yet): refresh it, then fold again from this record."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the registry topic holds no body under {key!r}")
        self.key = key


class UnknownVersion(Exception):
    """State or log ask for a version that this release does not know. `what` is "state" or "core"."""

    def __init__(self, what: str, found: int, known: int) -> None:
        super().__init__(f"{what} version {found} was written by a newer release; this one knows up to {known}")
        self.what = what


class UnreadableBody(ValueError):
    """A body in the registry can't be used."""


class CoreError(Exception):
    """The core failed on a record: our bug. Nothing of the record was kept; the worker must stop."""

    def __init__(self, partition: int, offset: int, cause: BaseException) -> None:
        super().__init__(f"the core failed on partition {partition}, offset {offset}: {type(cause).__name__}: {cause}")
        self.partition = partition
        self.offset = offset
