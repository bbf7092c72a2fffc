"""Every topic of Rekindle, once: what it carries, how it is kept, and how many partitions it has."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

_DAY: Final = 86_400_000
_MIB: Final = 1 << 20

Rule = Literal["exactly", "at most", "at least"]

DEFAULT_PREFIX: Final = "rekindle."
DEFAULT_PARTITIONS: Final = 32
DEMO_PARTITIONS: Final = 8
# A key's place is a byte of its hash in every later layout, so the number of partitions divides 256.
PARTITION_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Of a batch, not of a record: producers fill batches up to 1 MiB.
MAX_MESSAGE_BYTES: Final = 2 * _MIB


class Setting(msgspec.Struct, frozen=True):
    """A topic's setting: the value it is created with, and how far an operator may move it."""

    value: str
    rule: Rule = "exactly"

    def allows(self, actual: str) -> bool:
        """Whether the broker's value keeps the rule; -1, Kafka's "unlimited", is above every number."""
        if self.rule == "exactly":
            return actual == self.value
        limit, number = float(self.value), float(actual)
        if number == -1:
            number = float("inf")
        return number <= limit if self.rule == "at most" else number >= limit


class Topic(msgspec.Struct, frozen=True):
    """A topic: its name without the prefix, what it carries, and its settings by their Kafka names."""

    name: str
    purpose: str
    settings: Mapping[str, Setting]
    single: bool = False

    def partitions(self, count: int) -> int:
        """Partitions of this topic in a deployment whose user topic has `count`."""
        return 1 if self.single else count


# The broker's append time is the only time that nobody can forge, and the one that retention goes by: records of a
# history stamped with their own time would be deleted at once.
_COMMON: Final = {
    "message.timestamp.type": Setting("LogAppendTime"),
    "max.message.bytes": Setting(str(MAX_MESSAGE_BYTES), "at least"),
}
# Personal data is gone after 30 days; daily segments, since only a closed one is deleted.
_STREAM: Final = {
    **_COMMON,
    "cleanup.policy": Setting("delete"),
    "retention.ms": Setting(str(30 * _DAY), "at most"),
    "segment.ms": Setting(str(_DAY), "at most"),
}
# An active segment is never compacted: small ones, compacted early and at least daily. Tombstones stay for a day.
_TABLE: Final = {
    **_COMMON,
    "cleanup.policy": Setting("compact"),
    "segment.bytes": Setting(str(64 * _MIB), "at most"),
    "min.cleanable.dirty.ratio": Setting("0.1", "at most"),
    "max.compaction.lag.ms": Setting(str(_DAY), "at most"),
    "delete.retention.ms": Setting(str(_DAY), "at least"),
}

USERS: Final = Topic("users", "whatever concerns a user, in order, with ticks and control messages", _STREAM)
TRIGGERS: Final = Topic("triggers", "what is to be sent now", _STREAM)
DECISIONS: Final = Topic("decisions", "every user considered, the no's too", _STREAM)
OUTCOMES: Final = Topic("outcomes", "what became of each episode", _STREAM)
SEGMENTS: Final = Topic("segments", "who enters and leaves a segment or a tier", _STREAM)
DEADLETTERS: Final = Topic("deadletters", "what could not be applied, with its reason", _STREAM)
# Of marks and dates, nothing personal: the proof has to outlast what it is about.
ERASURES: Final = Topic(
    "erasures",
    "certificates: who was erased, under a mark that names nobody",
    {
        **_COMMON,
        "cleanup.policy": Setting("delete"),
        "retention.ms": Setting(str(3 * 365 * _DAY), "at least"),
    },
)
STATE: Final = Topic("state", "changelog of the users, the sums and the position of each partition", _TABLE)
REGISTRY: Final = Topic("registry", "bodies of policies by their hash, skips, history", _TABLE, single=True)

TOPICS: Final = (USERS, TRIGGERS, DECISIONS, OUTCOMES, SEGMENTS, DEADLETTERS, ERASURES, STATE, REGISTRY)
OUTPUTS: Final = (TRIGGERS, DECISIONS, OUTCOMES, SEGMENTS, DEADLETTERS, ERASURES)
PERSONAL: Final = (USERS, TRIGGERS, DECISIONS, OUTCOMES, SEGMENTS, DEADLETTERS, STATE)
"""Those that name users."""

_FOR_EVER: Final = 36_525 * _DAY
_SLACK: Final = 2 * 3_600_000  # ms; a segment is closed by the next record (a tick), and brokers look every few minutes


def gone_within(settings: Mapping[str, str]) -> int | None:
    """After how many ms nothing of a record is left in a topic with these settings; None: it may stay.

    Of a table: of a key that was removed. A stream lets go of whole segments, `retention.ms` after their last record. A
    table first loses the old values, at the latest after `max.compaction.lag.ms`; then it keeps the tombstone, which
    names the key, for `delete.retention.ms`, and loses it in the compaction after that.
    """
    names: tuple[str, ...] = ("retention.ms", "segment.ms")
    if "delete" not in settings["cleanup.policy"]:
        names = ("max.compaction.lag.ms", "max.compaction.lag.ms", "delete.retention.ms")
    values = [int(settings[name]) for name in names]
    return sum(values) + _SLACK if min(values) >= 0 and max(values) < _FOR_EVER else None


COMPLETE_WITHIN: Final = max(
    gone_within({name: setting.value for name, setting in topic.settings.items()}) or 0 for topic in PERSONAL
)
"""ms after its last record within which every topic has let go of a user who was erased, as they are declared."""
