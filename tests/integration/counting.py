"""A core that is easy to predict, for tests of the shell: it counts each key's records, and triggers at every tenth.

Also a worker process around it (`python -m tests.integration.counting`) and what must come out of a log.
"""

import json
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from agents.app import run
from agents.settings import load_settings
from pipeline.records import MissingBody, Record

EVERY = 10
SLICE = 2_000
WAKES = 5_000
SWEEP = b"sweep"
"""Key of a record that sends a trigger for every key known so far, in slices that may be committed one by one."""
NEEDS = b"needs"
"""Key of a record whose value names a body that has to be in the registry."""

_row = struct.Struct(">QI")


class Sent(NamedTuple):
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]] = []  # noqa: RUF012 a tuple field, never changed


class Snap(NamedTuple):
    changelog: list[tuple[bytes, bytes | None]]
    outputs: dict[str, list[Sent]]
    offset: int


class CountingCore:
    """Rows: key -> (count, CRC over the values in order), so that a lost, doubled or swapped record shows."""

    def __init__(self, number: int, count: int, registry: Mapping[str, bytes]) -> None:  # noqa: ARG002 as the real one
        self.offset = -1
        self.last_record: tuple[int, int, int] | None = None
        self.registry = registry
        self.rows: dict[bytes, bytes] = {}
        self.swept = b""  # in a sweep: the last key that was woken
        self._touched: set[bytes] = set()
        self._sent: list[Sent] = []
        self._moved = False

    def restore(self, changelog: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in changelog:
            assert value is not None
            if key == b"p":
                position = json.loads(value)
                self.offset, self.swept = position["offset"], bytes.fromhex(position["swept"])
                self.last_record = tuple(position["last"]) if position["last"] else None
            else:
                self.rows[key[1:]] = value

    def fold(self, records: Sequence[Record]) -> Iterator[None]:
        for folded, record in enumerate(records, start=1):
            if record.offset < self.offset:
                continue
            if record.key == NEEDS and (body := (record.value or b"").decode()) not in self.registry:
                raise MissingBody(body)
            if record.key == SWEEP:
                yield from self._sweep(record)
            elif record.key is not None and record.key not in (NEEDS, b"rekindle.control"):
                self._count(record.key, record.value or b"")
            self.offset = record.offset + 1
            self.last_record = (record.offset, record.timestamp, crc32(record.value or b"", crc32(record.key or b"")))
            self._moved = True
            if folded % SLICE == 0:
                yield

    def _count(self, key: bytes, value: bytes) -> None:
        row = self.rows.get(key)
        count, check = _row.unpack(row) if row else (0, 0)
        count += 1
        self.rows[key] = _row.pack(count, crc32(value, check))
        self._touched.add(key)
        if count % EVERY == 0:
            self._sent.append(Sent(key, b"%s/%d" % (key, count)))

    def _sweep(self, record: Record) -> Iterator[None]:
        due = sorted(key for key in self.rows if key > self.swept)
        self._moved = True
        for woken, key in enumerate(due, start=1):
            self._sent.append(Sent(key, b"%s/sweep/%d" % (key, record.offset)))
            self.swept = key
            if woken % WAKES == 0:
                yield
        self.swept = b""

    def commit(self) -> Snap:
        changelog: list[tuple[bytes, bytes | None]] = [(b"u" + key, self.rows[key]) for key in sorted(self._touched)]
        self._touched.clear()
        if self._moved:
            position = {"offset": self.offset, "swept": self.swept.hex(), "last": self.last_record}
            changelog.append((b"p", json.dumps(position).encode()))
            self._moved = False
        sent, self._sent = self._sent, []
        return Snap(changelog, {"triggers": sent}, self.offset)


def expected(records: Iterable[Any]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Rows and trigger values of one partition's whole log, in one piece."""
    core = CountingCore(0, 1, _Everything())
    for _ in core.fold(list(records)):
        pass
    return core.rows, sorted(sent.value for sent in core.commit().outputs["triggers"])


class _Everything(dict[str, bytes]):
    def __contains__(self, key: object) -> bool:
        return True


if __name__ == "__main__":
    sys.exit(run(load_settings(), make_core=CountingCore))
