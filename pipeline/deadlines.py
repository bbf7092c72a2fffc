"""The lazy wheel: hour -> keys that may have a deadline in it.

An entry lies no later than its user's wake-up. An event that postpones the wake-up leaves the entry where it is: when
its hour comes the user is found not to be due and is put where they belong. So an event costs nothing here, and ten
million users cost ten million references.
"""

from typing import Final

NEVER: Final = 0xFFFFFFFF  # hours


class Wheel:
    """Keys by hour (int, since 1970)."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[int, list[bytes]] = {}

    def put(self, hour: int, key: bytes) -> None:
        """See `key` again at `hour`; never if `hour` is NEVER."""
        if hour >= NEVER:
            return
        bucket = self._buckets.get(hour)
        if bucket is None:
            self._buckets[hour] = [key]
        else:
            bucket.append(key)

    def due(self, hour: int) -> list[bytes]:
        """The keys of `hour`, some perhaps twice. They stay until `drop`: a sweep may be given up, and begun anew."""
        return self._buckets.get(hour, [])

    def drop(self, hour: int) -> None:
        """Forget the bucket of `hour`."""
        self._buckets.pop(hour, None)

    def postpone(self, hour: int) -> None:
        """Move the bucket of `hour` to the next hour, whole."""
        bucket = self._buckets.pop(hour, None)
        if bucket:
            self._buckets.setdefault(hour + 1, []).extend(bucket)

    def backlog(self, hour: int) -> int:
        """How many entries lie before `hour`; may be asked from another thread."""
        return sum(len(keys) for at, keys in list(self._buckets.items()) if at < hour)

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))
