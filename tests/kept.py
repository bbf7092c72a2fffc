"""What a partition leaves behind in the topics, without a Kafka."""

from collections.abc import Sequence

from agents.evidence import Evidence
from pipeline.partition import Partition
from pipeline.records import LogRecord
from schemas.topics import OUTPUTS


def write(found: Evidence, partition: Partition, chunks: Sequence[Sequence[LogRecord]]) -> None:
    """Fold the chunks from the log's beginning on, and keep what comes out as the workers do."""
    rows = found.state[partition.number] = {}
    for topic in OUTPUTS:
        found.outputs[topic.name][partition.number] = []

    def keep() -> None:
        commit = partition.commit()
        commit.write_to(rows)
        for topic, messages in commit.outputs.items():
            kept = found.outputs[topic][partition.number]
            kept.extend(LogRecord(len(kept), 0, m.key, m.value, m.headers) for m in messages)

    for records in chunks:
        for _ in partition.fold(records):
            keep()
        keep()
