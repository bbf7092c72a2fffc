"""Dead letters: nothing is lost. The raw bytes are the value; why and whence are headers."""

import hashlib
from typing import Final, Literal

import msgspec

KEPT_BYTES: Final = 64 * 1024  # of a value above the size limit; the header `sha256` says what the whole was

DeadLetterReason = Literal[
    "malformed_json",
    "wrong_type",
    "too_large",
    "null_key",
    "tombstone",
    "unknown_type",
    "unknown_version",
    "bad_id",
    "key_mismatch",
    "wrong_partition",
    "forged_control",
    "bad_control",
    "time_in_future",
    "absurd_time",
    "no_time",
    "too_late",
    "negative_amount",
    "absurd_amount",
    "unknown_currency",
    "skipped",
    "erased",
    "foreign_delete",
    "undeliverable",
]

# Where it was refused. The first six are the worker's. `ingest`: the bytes are those of the foreign topic that the
# headers name; `relay`: they are a trigger that nobody took before it expired, or none of a user who was erased first.
# `replay`: it is no dead letter, but the mark of one that was sent again.
Stage = Literal["decode", "validate", "time", "control", "skip", "erased", "ingest", "relay", "replay"]


class DeadLetterHeaders(msgspec.Struct, kw_only=True):
    """The headers, all text. `offset` and `partition` say where the record lies; `time` is its append time in ms."""

    reason: DeadLetterReason
    message: str
    stage: Stage
    core: str
    topic: str
    partition: str
    offset: str
    time: str
    sha256: str | None = None

    def encode(self) -> list[tuple[str, bytes]]:
        """As Kafka headers."""
        pairs = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return [(name, value.encode()) for name, value in pairs if value is not None]


def kept(value: bytes, limit: int) -> tuple[bytes, str | None]:
    """The bytes to keep of `value`, and the sha256 of the whole if it was cut."""
    if len(value) <= limit:
        return value, None
    return value[:KEPT_BYTES], hashlib.sha256(value).hexdigest()
