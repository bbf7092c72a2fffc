"""A user enters or leaves a segment or a tier. CloudEvents 1.0, topic `segments`."""

from typing import Literal

import msgspec

from schemas.trigger import CloudEvent, Gate

SEGMENT_TYPE = "rekindle.segment.v1"


class SegmentData(msgspec.Struct, kw_only=True, gc=False):
    """`segment`: the id of the segment or tier; `since`: when the user entered it, RFC 3339; `tier`: the user's from
    now on (None: none). `explain`: the comparisons as of `time`, of an id that the policy no longer has none.
    """

    segment: str
    kind: Literal["segment", "tier"]
    change: Literal["enter", "leave"]
    since: str
    tier: str | None
    explain: list[Gate]


class SegmentChange(CloudEvent, kw_only=True, gc=False):
    """Written once for each entering and each leaving, in the order in which they happen to a user."""

    type: str = SEGMENT_TYPE
    dataschema: str = "rekindle/schemas/json/segment.json"
    data: SegmentData
