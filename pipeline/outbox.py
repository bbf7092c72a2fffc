"""What a partition has to say: messages encoded for their topics, dead letters with their reasons."""

from pipeline.admission import Rejection
from pipeline.recall import Message
from pipeline.records import Output, Record
from schemas.codec import encode_json
from schemas.deadletter import DeadLetterHeaders, kept
from schemas.decision import Decision
from schemas.event import MAX_BYTES
from schemas.trigger import Trigger


class Outbox:
    """Outputs by topic since they were last taken. `source` is the name of the user topic, `partition` its number."""

    __slots__ = ("_headers", "_outputs", "_partition", "_record", "_source")

    def __init__(self, source: str, partition: int) -> None:
        self._source = source
        self._partition = partition
        self._record: Record | None = None  # the last that revealed something, and the headers that say so
        self._headers: list[tuple[str, bytes]] = []
        self._outputs: dict[str, list[Output]] = {}

    def add(self, key: bytes, message: Message, record: Record) -> None:
        """A message that `record` revealed."""
        topic = (
            "triggers" if isinstance(message, Trigger) else "decisions" if isinstance(message, Decision) else "outcomes"
        )
        if record is not self._record:
            self._record = record
            self._headers = [
                ("rekindle-partition", b"%d" % self._partition),
                ("rekindle-offset", b"%d" % record.offset),
            ]
        self._outputs.setdefault(topic, []).append(Output(key, encode_json(message), self._headers))

    def dead_letter(self, record: Record, why: Rejection, core: int) -> None:
        """`record` as a dead letter. `core`: the version that the log asks for, whatever this release knows beyond."""
        value, digest = kept(record.value or b"", MAX_BYTES - 1)
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
        self._outputs.setdefault("deadletters", []).append(Output(record.key or b"", value, headers.encode()))

    def take(self) -> dict[str, list[Output]]:
        """Hand over and begin anew."""
        taken, self._outputs = self._outputs, {}
        return taken
