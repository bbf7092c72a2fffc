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
MAX_ORDER_DAYS: Final = 24
MAX_ITEMS: Final = 8
MAX_DRAWN: Final = 16


class Profile(msgspec.Struct, array_like=True, gc=False):
    """What an identify call said, as far as it matters for recall. `at`: when consent was last stated, ms.

    `unreachable`: channel -> when a message there bounced (ms); a delivery or a click takes it back.
    """

    timezone: str | None = None
    locale: str | None = None
    unsubscribed: bool = False
    consent: dict[str, bool] = {}
    at: int = 0
    unreachable: dict[str, int] = {}


class Contact(msgspec.Struct, array_like=True, gc=False):
    """A message that was sent, or would have been in a holdout, within the last 7 days. `at` in ms, `channel`, the
    trigger's id; `heard`: bits of `pipeline.feedback.KINDS` that were reported of it.
    """

    at: int
    channel: str
    trigger_id: str
    heard: int = 0


class Pending(msgspec.Struct, array_like=True, gc=False):
    """A decision that waits: a postponed one, or the next step of a contact (then without reasons).

    `at`: when it is tried again, `deadline`: when it first fell due, both in real ms; `episode` is the start of the
    episode; `reasons`: what has stood in the way so far.
    """

    rule: str
    step: int
    episode: int
    deadline: int
    at: int
    reasons: list[str] = []


class Recall(msgspec.Struct, array_like=True, gc=False):
    """The recall section. `episode`: start of the silence that is owned by a rule (ms, 0: none). The rest is the last
    measured contact: `decided_at` when it was decided, `window_end` the end of its goal window (0: the outcome is
    written), `stratum` the share and salt by which its arm was drawn; `program` and `withheld` are stratum and arm of
    the draw over all rules ("": there is none).

    `drawn`: hashes of the rules and salts under which the user has had a contact, the last `MAX_DRAWN`; `first`: bits
    of the cells (1: the rule's, 2: the one over all rules) in which the last contact is the user's first.
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
    stratum: str = ""
    program: str = ""
    withheld: bool = False
    contacts: list[Contact] = []
    pending: list[Pending] = []
    drawn: list[int] = []
    first: int = 0


class Orders(msgspec.Struct, array_like=True, gc=False):
    """What the user bought: `count` of orders, `spent` of the priced ones (minor units of the reporting currency).

    `recent`: (day, orders, spent) of order days within the last 365 days, oldest first, at most `MAX_ORDER_DAYS`:
    beyond that the two oldest become one, dated by the later. `items`: (item, times, last in ms), at most `MAX_ITEMS`.
    """

    count: int = 0
    spent: int = 0
    recent: list[tuple[int, int, int]] = []
    items: list[tuple[str, int, int]] = []


class Check(msgspec.Struct, array_like=True, gc=False):
    """A score that waits for its truth: P(no event) in percent, told at `at` for `horizon` (ms), by `model`."""

    model: str
    percent: int
    at: int
    horizon: int


class Membership(msgspec.Struct, array_like=True, gc=False):
    """A segment that the user is in, and since when (ms)."""

    segment: str
    since: int


class Groups(msgspec.Struct, array_like=True, gc=False):
    """The segments that the user is in, by the policy's order, and the tier ("": none) since when (ms). `changes`: how
    many times anything was entered or left; `fades`: the UTC day on which orders first leave a window that matters (0:
    never).
    """

    segments: list[Membership] = []
    tier: str = ""
    tier_since: int = 0
    changes: int = 0
    fades: int = 0


class UserState(msgspec.Struct, array_like=True, gc=False):
    """One user, or one anonymous visitor (`known` false). At most 15 fields: with more, msgpack's header grows.

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
    orders: Orders | None = None
    groups: Groups | None = None
    check: Check | None = None


encode_row = msgspec.msgpack.Encoder().encode
decode_row = msgspec.msgpack.Decoder(UserState).decode


# Array header, marker and wake, marker and epoch: msgpack's uint32 are big-endian.
schedule_of = Struct(">2xIxI").unpack_from
"""(hour of the next wake-up, epoch) of an encoded row, without decoding it."""
