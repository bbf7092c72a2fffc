"""What a user's step is about: something that happened to them, or that time has passed."""

from typing import NamedTuple, final

import msgspec

from pipeline.contacts import Feedback
from schemas.event import Traits


class Order(NamedTuple):
    """An order's worth: minor units of its currency, and of the reporting one (None: no rate is declared); and the ids
    of its items, where a rule shows them.
    """

    minor: int
    currency: str
    reporting: int | None
    items: tuple[str, ...] = ()


class Happening(msgspec.Struct, gc=False):
    """Something that happened to a user: an admitted event. `key` is the user as bytes, `digest` stands for
    the messageId; `time` in ms; `channel` if it
    was a touch, `first_channel` if an identify call told how the user came as a visitor; `dark`: dark hours before
    `time`; `settled`: silence deadlines before this effective time open nothing (late and backfilled events).
    """

    user: str
    key: bytes
    known: bool
    time: int
    kind: str
    event: str | None
    message_id: str
    digest: bytes
    active: bool
    channel: str | None = None
    first_channel: str | None = None
    order: Order | None = None
    traits: Traits | None = None
    feedback: Feedback | None = None
    backfill: bool = False
    dark: int = 0
    settled: int = 0


@final
class Deadline(msgspec.Struct, frozen=True, gc=False):
    """Time has passed: everything of `user` that is due before `until` (ms)."""

    user: str
    until: int
