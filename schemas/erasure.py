"""The certificate of an erasure: row, changelog and views no longer know the user. CloudEvents 1.0, topic `erasures`.

It names nobody: `subject` is the mark that stays, a keyed hash of the id.
"""

from typing import Literal

import msgspec

from schemas.trigger import CloudEvent

ERASURE_TYPE = "rekindle.erasure.v1"


class ErasureData(msgspec.Struct, kw_only=True, gc=False):
    """`erased_until`: nothing that happened up to then is applied again; `applied_at`: append time of the record at
    `partition` and `offset` of the user topic that asked for it; `complete_by`: when the last record about the user has
    left every topic, if all are kept no longer than declared. RFC 3339.
    """

    state: Literal["applied"] = "applied"
    mark: str
    erased_until: str
    applied_at: str
    complete_by: str
    partition: int
    offset: int


class Erasure(CloudEvent, kw_only=True, gc=False):
    """Written with the commit that removes the user; `time` is when that was asked for."""

    type: str = ERASURE_TYPE
    dataschema: str = "rekindle/schemas/json/erasure.json"
    data: ErasureData
