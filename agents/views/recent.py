"""The last decisions: which are kept, and where a reader finds them by user and by trigger."""

from collections.abc import Iterable
from heapq import nsmallest
from typing import Final, NamedTuple

import msgspec

from schemas.codec import DECODE_ERRORS

PER_USER: Final = 20


class Place(NamedTuple):
    """When and where a decision was appended. Places sort as they were appended."""

    appended: int
    partition: int
    offset: int

    def encode(self) -> bytes:
        """Text of a fixed width, whose order is that of places."""
        return b"%013d-%03d-%015d" % self


def read_place(text: bytes) -> Place:
    """The inverse of `encode`. Raises ValueError."""
    appended, partition, offset = text.split(b"-")
    return Place(int(appended), int(partition), int(offset))


class Entry(NamedTuple):
    """A decision. `source`: offset of the record of the user topic that revealed it."""

    place: Place
    user: bytes
    trigger: str
    sent: bool
    started: str
    source: int
    document: bytes


class _Episode(msgspec.Struct):
    start: str


class _Data(msgspec.Struct):
    trigger_id: str
    decision: str
    episode: _Episode


class _Decision(msgspec.Struct):
    data: _Data


_decode = msgspec.json.Decoder(_Decision).decode


def read_entry(
    place: Place, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> Entry | None:
    """A record of the decisions topic; None: nothing that this release can read."""
    try:
        data = _decode(value or b"").data
        source = int(dict(headers).get("rekindle-offset", b"-1"))
    except (*DECODE_ERRORS, ValueError):
        return None
    sent = data.decision == "send"
    return Entry(place, key or b"", data.trigger_id, sent, data.episode.start, source, value or b"")


class Kept(NamedTuple):
    """What is remembered of a decision that is in Redis. `started`: of its episode, RFC 3339."""

    user: bytes
    trigger: str
    sent: bool
    started: str


class Changes(NamedTuple):
    """What is to be written: documents by place, places that go with what is remembered of them, places by user."""

    added: dict[bytes, Entry]
    gone: dict[bytes, Kept]
    users: dict[bytes, list[bytes]]


class Recent:
    """A mirror of the decisions in Redis: at most `most`, and `PER_USER` of each user, the newest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[bytes, Kept] = {}
        self._by_user: dict[bytes, list[bytes]] = {}
        self._added: dict[bytes, Entry] = {}
        self._gone: dict[bytes, Kept] = {}
        self._touched: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def load(self, place: bytes, kept: Kept) -> None:
        """What Redis holds; in any order."""
        self._kept[place] = kept
        self._by_user.setdefault(kept.user, []).append(place)

    def loaded(self) -> None:
        """All has been loaded."""
        for places in self._by_user.values():
            places.sort(reverse=True)

    def add(self, entry: Entry) -> None:
        """A decision; one that is there already changes nothing."""
        place = entry.place.encode()
        if place in self._kept:
            return
        self._kept[place] = Kept(entry.user, entry.trigger, entry.sent, entry.started)
        self._added[place] = entry
        self._touched.add(entry.user)
        places = self._by_user.setdefault(entry.user, [])
        places.append(place)
        places.sort(reverse=True)
        for old in places[PER_USER:]:
            self._drop(old)

    def holds(self, user: bytes) -> bool:
        """Whether there is a decision about this user."""
        return user in self._by_user

    def forget(self, user: bytes, before: str | None = None) -> None:
        """Everything about a user who is gone; or about one who had the id `before` (RFC 3339), and was erased."""
        for place in list(self._by_user.get(user, ())):
            if before is None or self._kept[place].started < before:
                self._drop(place)

    def _drop(self, place: bytes) -> None:
        kept = self._kept.pop(place)
        self._touched.add(kept.user)
        places = self._by_user[kept.user]
        places.remove(place)
        if not places:
            del self._by_user[kept.user]
        if self._added.pop(place, None) is None:
            self._gone[place] = kept

    def take(self) -> Changes:
        """What has changed since the last call."""
        for place in nsmallest(max(0, len(self._kept) - self._most), self._kept):
            self._drop(place)
        users = {user: list(self._by_user.get(user, ())) for user in self._touched}
        changes = Changes(self._added, self._gone, users)
        self._added, self._gone, self._touched = {}, {}, set()
        return changes
