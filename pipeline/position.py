"""The partition row: where the fold of a partition stands."""

from typing import Final

import msgspec

from pipeline.records import UnknownVersion
from pipeline.state import FIRST_EPOCH, STATE_VERSION
from schemas.control import TimeDomain

CORE_VERSION: Final = 1
FIRST_CORE: Final = 1
"""What every log begins with, in every release: a later one comes by a message, so that a replay means the same."""


class Counts(msgspec.Struct):
    """Events by what became of them: read = applied + duplicate + rejected.

    `late`, `backfilled` and `dedupe_unsure` are parts of applied, `skipped` of rejected. `control` messages, `woken`
    users and records that were `lost` in an accepted gap are counted apart.
    """

    read: int = 0
    applied: int = 0
    duplicate: int = 0
    rejected: int = 0
    late: int = 0
    backfilled: int = 0
    dedupe_unsure: int = 0
    skipped: int = 0
    control: int = 0
    woken: int = 0
    lost: int = 0


class Position(msgspec.Struct):
    """Times in ms. `offset` is the next record; `last` is offset, timestamp and CRC of the last record folded.

    `next_hour` is the first hour that is not swept, `judged` the last one that the source was judged for. `modelled`:
    since when the model is used; `since`: rule -> its mode and since when it is in it (both in effective time);
    `hourly`: rule -> [hour, contacts in it]; `measured`: since when the quantiles are used.
    `erasure_key` tells by which key users are marked who were erased.
    """

    version: int = STATE_VERSION
    core: int = FIRST_CORE
    offset: int = -1
    horizon: int | None = None
    next_hour: int = 0
    judged: int = 0
    domain: TimeDomain = "live"
    tick: int | None = None
    policy: str = ""
    epoch: int = FIRST_EPOCH
    adopted: int = 0
    paused: list[str] = []
    last: tuple[int, int, int] | None = None
    counts: Counts = msgspec.field(default_factory=Counts)
    model: str = ""
    modelled: int = 0
    lease: str = ""
    since: dict[str, tuple[str, int]] = {}
    hourly: dict[str, list[int]] = {}
    erasure_key: str = ""
    quantiles: str = ""
    measured: int = 0


class _Version(msgspec.Struct):
    version: int


encode_position = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Position).decode
_decode_version = msgspec.msgpack.Decoder(_Version).decode


def decode_position(row: bytes) -> Position:
    """The partition row. Raises UnknownVersion if a newer release wrote it."""
    version = _decode_version(row).version
    if version > STATE_VERSION:
        raise UnknownVersion("state", version, STATE_VERSION)
    position = _decode(row)
    check_core(position.core)
    return position


def check_core(version: int) -> None:
    """Raises UnknownVersion if `version` of the core is newer than this one."""
    if version > CORE_VERSION:
        raise UnknownVersion("core", version, CORE_VERSION)
