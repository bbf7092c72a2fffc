"""What a partition has to say: messages encoded for their topics, dead letters with their reasons."""

from typing import Any, Final

import msgspec

from pipeline.admission import Rejection
from pipeline.context import Message
from pipeline.erasure import Marked
from pipeline.records import Output, Record
from schemas.codec import encode_json, encode_json_into, rfc3339
from schemas.deadletter import DeadLetterHeaders, kept
from schemas.decision import Decision
from schemas.erasure import Erasure, ErasureData
from schemas.event import MAX_BYTES
from schemas.outcome import Outcome
from schemas.segment import SegmentChange
from schemas.topics import COMPLETE_WITHIN
from schemas.trigger import Trigger

_TOPICS: Final[dict[type[Message], str]] = {
    Decision: "decisions",
    Outcome: "outcomes",
    SegmentChange: "segments",
}
_DATA: Final = b'"data":'
_NOTHING: Final[Any] = msgspec.Raw(b"{}")
_OWN: Final = b',"trigger_id":'
"""The first of what a decision says and its trigger doesn't."""


class Outbox:
    """Outputs by topic since they were last taken. `source` is the name of the user topic, `partition` its number."""

    __slots__ = ("_buffer", "_headers", "_outputs", "_partition", "_record", "_source")

    def __init__(self, source: str, partition: int) -> None:
        self._source = source
        self._partition = partition
        self._record: Record | None = None  # the last that revealed something, and the headers that say so
        self._headers: list[tuple[str, bytes]] = []
        self._outputs: dict[str, list[Output]] = {}
        self._buffer = bytearray()  # a message is written here and copied once: by itself it would grow in steps

    def add(self, key: bytes, message: Message, record: Record) -> None:
        """A message that `record` revealed; with a decision to send goes its trigger."""
        if record is not self._record:
            self._record = record
            self._headers = [
                ("rekindle-partition", b"%d" % self._partition),
                ("rekindle-offset", b"%d" % record.offset),
            ]
        encode_json_into(message, self._buffer)
        value = bytes(self._buffer)
        if type(message) is Decision and message.data.decision == "send":
            self._put("triggers", key, self._trigger(message, value), self._headers)
        self._put(_TOPICS[type(message)], key, value, self._headers)

    def _trigger(self, decision: Decision, text: bytes) -> bytes:
        """The trigger of a decision whose JSON is `text`: what both say, most of it, is encoded once. Inside a string
        of JSON no quotation mark is bare, so that the names are found where they are keys.
        """
        identity, user, buffer = decision.data.trigger_id, decision.subject, self._buffer
        empty = Trigger(id=identity, subject=user, time=decision.time, partitionkey=user, data=_NOTHING)
        encode_json_into(empty, buffer)
        del buffer[-len("{}}") :]
        buffer += memoryview(text)[text.index(_DATA) + len(_DATA) : text.rindex(_OWN)]
        buffer += b"}}"
        return bytes(buffer)

    def _put(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        outputs = self._outputs.get(topic)
        if outputs is None:
            outputs = self._outputs[topic] = []
        outputs.append(Output(key, value, headers))

    def erasure(self, marked: Marked, asked: int) -> None:
        """The certificate that a user was erased who asked for it at `asked` (ms)."""
        mark, name = marked.mark, marked.name.hex()
        data = ErasureData(
            mark=name,
            erased_until=rfc3339(mark.until),
            applied_at=rfc3339(mark.applied),
            complete_by=rfc3339(mark.last + COMPLETE_WITHIN),
            partition=self._partition,
            offset=mark.offset,
        )
        erasure = Erasure(id=f"{name}.{mark.offset}", subject=name, time=rfc3339(asked), partitionkey=name, data=data)
        headers = [("rekindle-partition", b"%d" % self._partition), ("rekindle-offset", b"%d" % mark.offset)]
        self._put("erasures", name.encode(), encode_json(erasure), headers)

    def dead_letter(self, record: Record, why: Rejection, core: int, marked: Marked | None = None) -> None:
        """`record` as a dead letter. `core`: the version that the log asks for, whatever this release knows beyond.
        `marked`: of a user who was erased, of whom neither id nor content is kept.
        """
        value, digest = kept(record.value or b"", MAX_BYTES - 1) if marked is None else (b"", None)
        key = record.key or b"" if marked is None else marked.name.hex().encode()
        headers = DeadLetterHeaders(
            reason=why.reason,
            message=why.message,
            stage=why.stage,
            core=str(core),
            topic=self._source,
            partition=str(self._partition),
            offset=str(record.offset),
            time=str(record.timestamp),
            sha256=digest,
        )
        self._put("deadletters", key, value, headers.encode())

    def take(self) -> dict[str, list[Output]]:
        """Hand over and begin anew."""
        taken, self._outputs = self._outputs, {}
        return taken
