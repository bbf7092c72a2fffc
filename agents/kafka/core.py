"""The core as the transport sees it: whatever folds records into state and outputs. Nothing of the domain."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol


class Snapshot(Protocol):
    """What has accumulated since the last commit."""

    @property
    def changelog(self) -> Sequence[tuple[bytes, bytes | None]]:
        """Records of the state topic; empty: nothing happened."""

    @property
    def outputs(self) -> Mapping[str, Sequence[tuple[bytes, bytes, list[tuple[str, bytes]]]]]:
        """Key, value and headers of what is sent, by topic without its prefix."""

    @property
    def offset(self) -> int:
        """Next source offset after this commit."""


class Core(Protocol):
    """State and behaviour of one partition; synchronous and without I/O."""

    @property
    def offset(self) -> int:
        """Next source offset to fold; -1 when nothing has been folded yet."""

    @property
    def last_record(self) -> tuple[int, int, int] | None:
        """Offset, timestamp and CRC (of key, then value) of the last record folded."""

    def restore(self, changelog: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Take over the state topic's records."""

    def fold(self, records: Sequence[Any]) -> Iterator[None]:
        """Fold records, pausing where a commit may be taken."""

    def commit(self) -> Snapshot:
        """Drain what has accumulated."""
