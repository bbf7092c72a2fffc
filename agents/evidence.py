"""What the topics hold, gathered so that it is one picture although workers go on meanwhile; the oracle judges it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import msgspec

from agents.kafka.connection import client_options
from agents.kafka.read import Logs, fold_table, open_logs
from agents.settings import Settings
from pipeline.position import Position, decode_position
from pipeline.records import LogRecord
from schemas.topics import OUTPUTS, REGISTRY, STATE, USERS

_PULSE: Final = 0.2  # s between two looks at how far the workers are

UNREADABLE: Final = (msgspec.MsgspecError, ValueError, IndexError)
"""What decoding a damaged row raises."""


@dataclass
class Evidence:
    """Everything that was read and written, by partition. Tests may change it before `check`."""

    source: str
    """Full name of the user topic."""
    count: int
    registry: dict[str, bytes]
    inputs: dict[int, list[LogRecord]]
    state: dict[int, dict[bytes, bytes]]
    """Latest value of each key of the state topic."""
    outputs: dict[str, dict[int, list[LogRecord]]]
    """By topic, without its prefix."""
    starts: dict[str, dict[int, int]] = field(default_factory=dict)
    """Earliest offset by topic, without its prefix, and partition; 0 of what is not named."""
    ends: dict[int, int] = field(default_factory=dict)
    """Where the user topic ends, workers being as far as `state` says."""

    def earliest(self, number: int) -> int:
        """The earliest record of a partition of the user topic, or where it begins if it is empty."""
        inputs = self.inputs[number]
        return max(self.starts.get(USERS.name, {}).get(number, 0), inputs[0].offset if inputs else 0)


async def gather(settings: Settings, *, wait: float = 30.0) -> Evidence:
    """Read all topics, in an order that makes them one picture: inputs and outputs hold what the state has folded."""
    async with open_logs(client_options(settings)) as logs:
        source, state = settings.topic(USERS.name), settings.topic(STATE.name)
        count = await logs.count(source)
        evidence = Evidence(source, count, {}, {n: [] for n in range(count)}, {n: {} for n in range(count)}, {})
        deadline = monotonic() + wait
        starts = evidence.starts[USERS.name] = await logs.starts(source)
        read = await _more(logs, source, evidence.inputs, starts)
        folded = await logs.starts(state)
        while True:
            ends = await logs.stable_ends(state)  # elsewhere a transaction might be cut: its rows without its position
            async for number, records in logs.read(state, folded, ends):
                fold_table(evidence.state[number], records)
            folded = ends
            if not any(map(unfolded, evidence.inputs.values(), evidence.state.values())) or monotonic() >= deadline:
                break
            await asyncio.sleep(_PULSE)
        evidence.ends = await logs.ends(source)
        # The workers may have folded some that came meanwhile.
        folded = {n: max(read[n], reached(rows)) for n, rows in evidence.state.items()}
        await _more(logs, source, evidence.inputs, read, folded)
        evidence.registry = await logs.registry(settings.topic(REGISTRY.name))
        for topic in OUTPUTS:
            found = evidence.outputs[topic.name] = {n: [] for n in range(count)}
            name = settings.topic(topic.name)
            starts = evidence.starts[topic.name] = await logs.starts(name)
            await _more(logs, name, found, starts)
    return evidence


async def _more(
    logs: Logs,
    topic: str,
    found: dict[int, list[LogRecord]],
    starts: dict[int, int],
    ends: dict[int, int] | None = None,
) -> dict[int, int]:
    """Read on, to `ends` or to all there is; returns where."""
    ends = ends or await logs.ends(topic)
    async for number, records in logs.read(topic, starts, ends):
        found[number].extend(slim(record) for record in records)
    return ends


def slim(record: Any) -> LogRecord:
    """A client's record without what nobody reads."""
    return LogRecord(record.offset, record.timestamp, record.key, record.value, record.headers)


def unfolded(inputs: list[LogRecord], state: dict[bytes, bytes]) -> int:
    """How many records the partition row says are not folded."""
    return sum(1 for _ in _after(inputs, reached(state)))


def reached(state: dict[bytes, bytes]) -> int:
    """Next offset to fold; -1 if nothing tells it."""
    try:
        return position_of(state).offset
    except UNREADABLE:
        return -1


def position_of(state: dict[bytes, bytes]) -> Position:
    """The partition row among a partition's rows."""
    return decode_position(state[b"p"]) if b"p" in state else Position()


def _after(inputs: list[LogRecord], offset: int) -> Iterator[LogRecord]:
    for record in reversed(inputs):
        if record.offset < offset:
            return
        yield record
