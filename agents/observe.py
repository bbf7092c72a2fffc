"""What a worker tells about itself, once per chunk and once per commit; metrics and tests listen."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class ChunkFolded(NamedTuple):
    """A chunk of one partition has been folded."""

    partition: int
    records: int
    """Records in the chunk."""
    seconds: float
    """Time spent in the fold itself, without its pauses."""
    position: int
    """Source offset that is read next."""
    highwater: int
    """End of the source partition when the chunk was fetched."""
    timestamp: int
    """Append time of the chunk's last record, ms."""


class Committed(NamedTuple):
    """A transaction has become visible."""

    partition: int
    seconds: float
    """From the snapshot to the end of the transaction."""
    offset: int
    """Next source offset after this commit."""
    rows: int
    row_bytes: int
    """Changelog records, and their bytes before compression."""
    outputs: Mapping[str, Sequence[tuple[bytes, bytes, list[tuple[str, bytes]]]]]
    """Key, value and headers of what was sent, by topic without its prefix; not to be kept."""
    oldest: int | None
    """Append time, ms, of the first record that this commit made visible."""
    visible_ms: float | None
    """From `oldest` to now, on this machine's clock."""
    core: Any
    """The partition's core, to be read only: its counters, its clock."""


class Observer(Protocol):
    """Called on the worker's loop: must be quick and must not raise."""

    def assigned(self, partition: int, *, seconds: float, rows: int, lag: int, core: Any) -> None:
        """The partition is ready: its state was loaded in `seconds`, and `lag` records wait at the source.

        `core` may be read from now on until `revoked`.
        """

    def revoked(self, partition: int, *, reason: str) -> None:
        """The partition left this worker: `rebalance`, `fenced`, `shutdown`."""

    def folded(self, chunk: ChunkFolded) -> None:
        """A chunk was folded."""

    def progress(self, partition: int, *, position: int, highwater: int) -> None:
        """About once a second for every partition, also without traffic."""

    def committed(self, commit: Committed) -> None:
        """A transaction was committed."""

    def aborted(self, partition: int, *, reason: str) -> None:
        """A transaction failed; the process ends unless it was `fenced`."""

    def fenced(self, partition: int) -> None:
        """Another worker took the partition's transactional id."""

    def ticked(self, partition: int) -> None:
        """A live tick was appended."""

    def reread(self, partition: int) -> None:
        """A fetched chunk did not continue the last one; the source is read again from the folded position."""


class Silent:
    """An observer that listens to nothing; also a base for those that want a few calls only."""

    def assigned(self, partition: int, *, seconds: float, rows: int, lag: int, core: Any) -> None:
        """See Observer."""

    def revoked(self, partition: int, *, reason: str) -> None:
        """See Observer."""

    def folded(self, chunk: ChunkFolded) -> None:
        """See Observer."""

    def progress(self, partition: int, *, position: int, highwater: int) -> None:
        """See Observer."""

    def committed(self, commit: Committed) -> None:
        """See Observer."""

    def aborted(self, partition: int, *, reason: str) -> None:
        """See Observer."""

    def fenced(self, partition: int) -> None:
        """See Observer."""

    def ticked(self, partition: int) -> None:
        """See Observer."""

    def reread(self, partition: int) -> None:
        """See Observer."""
