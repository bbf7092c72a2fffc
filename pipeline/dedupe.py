"""Recognising a repeated messageId: a row keeps hash and hour of the last few, 10 bytes each, as they came."""

from typing import Final

import xxhash

WINDOW: Final = 48  # hours of clock
SIZE: Final = 32
_ENTRY: Final = 10  # 8 bytes of hash, 2 of hour: modulo 2^16, which is seven years
_TURN: Final = 0xFFFF
FULL: Final = _ENTRY * SIZE


def digest_of(message_id: str) -> bytes:
    """The 64-bit hash that stands for a messageId."""
    return xxhash.xxh3_64_digest(message_id.encode())


def holds(seen: bytes, digest: bytes) -> bool:
    """Whether `digest` is among the remembered ones."""
    at = seen.find(digest)
    while at >= 0 and at % _ENTRY:  # a match across two entries is none
        at = seen.find(digest, at + 1)
    return at >= 0


def remember(seen: bytes, digest: bytes, hour: int) -> bytes:
    """`seen` and this digest, without what has left the window or the room."""
    if seen:
        end = len(seen)
        start = _ENTRY if end >= FULL else 0
        while start < end and hour - (seen[start + 8] << 8 | seen[start + 9]) & _TURN > WINDOW:
            start += _ENTRY
        if start:
            seen = seen[start:]
    return seen + digest + (hour & _TURN).to_bytes(2, "big")
