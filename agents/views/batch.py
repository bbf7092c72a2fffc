"""What has been read from Kafka since the last write to Redis, coalesced: of each key the latest."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

BODIES: Final = ("policy/", "model/", "quantiles/")
"""Of the registry's entries those that readers ask for."""

Offsets = dict[tuple[str, int], int]
"""(topic without its prefix, partition) -> the next offset."""


@dataclass
class Batch:
    """By partition; None: the row is gone. `records` counts what was read."""

    rows: dict[int, dict[bytes, bytes | None]] = field(default_factory=lambda: defaultdict(dict))
    cells: dict[int, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    positions: dict[int, bytes] = field(default_factory=dict)
    guards: dict[int, bytes] = field(default_factory=dict)
    bodies: dict[bytes, bytes | None] = field(default_factory=dict)
    records: int = 0

    def state(self, partition: int, records: list[Any]) -> None:
        """Records of the state topic, in their order."""
        rows, cells = self.rows[partition], self.cells[partition]
        for record in records:
            key, value = record.key, record.value
            kind = key[:1]
            if kind == b"u":
                rows[key[1:]] = value
            elif value is None:
                continue
            elif kind == b"s":
                cells[key[1:]] = value
            elif key == b"p":
                self.positions[partition] = value
            elif key == b"g":
                self.guards[partition] = value
        self.records += len(records)

    def registry(self, records: list[Any]) -> None:
        """Records of the registry topic."""
        for record in records:
            if record.key.decode("utf-8", "replace").startswith(BODIES):
                self.bodies[record.key] = record.value
        self.records += len(records)

    @property
    def changes(self) -> int:
        """Keys to write."""
        return sum(map(len, self.rows.values())) + sum(map(len, self.cells.values())) + len(self.bodies)
