"""A user's row: its named sections, and its bytes."""

from struct import Struct
from typing import Final

import msgspec

from pipeline.activity import Activity
from pipeline.deadlines import NEVER
from pipeline.journey import Journey
from pipeline.lifecycle import UNSEEN

# Version of the rows' and the partition row's meaning. Fields are only ever added at the end, with a default.
STATE_VERSION: Final = 1
FIRST_EPOCH: Final = 0x10000
TOP_BUCKET: Final = 9


class Profile(msgspec.Struct, array_like=True, gc=False):
    """What an identify call said, as far as it matters for recall. `at`: when consent was last stated, ms."""

    timezone: str | None = None
    locale: str | None = None
    unsubscribed: bool = False
    consent: dict[str, bool] = {}
    at: int = 0


class Recall(msgspec.Struct, array_like=True, gc=False):
    """The recall section. `episode`: start of the silence that is owned by a rule (ms, 0: none). The rest is the last
    measured contact: `decided_at` its deadline, `window_end` the end of its goal window (0: the outcome is written).
    """

    episode: int = 0
    trigger_id: str = ""
    rule: str = ""
    rule_version: str = ""
    holdout: bool = False
    decided_at: int = 0
    window_end: int = 0
    goal: str | None = None
    returned_at: int = 0


class UserState(msgspec.Struct, array_like=True, gc=False):
    """One user, or one anonymous visitor (`known` false).

    `wake`: hour of the next wake-up; `epoch`: number of the adoption by which it was set. Both are above 2^16, so
    they have a fixed width, and `schedule_of` reads them without decoding the row. `decided`: silence deadlines
    before it are settled; in effective time (ms without dark hours). `seen`: see `pipeline.dedupe`.
    """

    wake: int = NEVER
    epoch: int = FIRST_EPOCH
    known: bool = True
    stage: int = UNSEEN
    since: int = 0
    decided: int = 0
    risk: int = TOP_BUCKET
    seen: bytes = b""
    activity: Activity = msgspec.field(default_factory=Activity)
    journey: Journey = msgspec.field(default_factory=Journey)
    recall: Recall | None = None
    profile: Profile | None = None


encode_row = msgspec.msgpack.Encoder().encode
decode_row = msgspec.msgpack.Decoder(UserState).decode


# Array header, marker and wake, marker and epoch: msgpack's uint32 are big-endian.
_schedule = Struct(">2xIxI").unpack_from


def schedule_of(row: bytes) -> tuple[int, int]:
    """(hour of the next wake-up, epoch) of an encoded row, without decoding it."""
    hour, epoch = _schedule(row)
    return hour, epoch
