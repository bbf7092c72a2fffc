"""Writing a snapshot into an empty deployment: all partitions in one transaction, while no worker runs."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from agents.evidence import position_of
from agents.exits import Exit, Refusal
from agents.failpoints import Failpoints
from agents.kafka.admin import check_topics, refuse_differences
from agents.kafka.bulk import Bulk, Entry, one_transaction
from agents.kafka.connection import client_options
from agents.kafka.publish import HISTORY
from agents.kafka.read import Logs, open_logs
from agents.kafka.store import check_source, probe_source, reader
from agents.outputcheck import source_offset
from agents.settings import Settings
from agents.snapshot import Manifest, check, read, registry_of
from pipeline.position import Position
from pipeline.records import Output
from schemas.topics import ERASURES, OUTPUTS, REGISTRY, STATE, USERS

_SECONDS_PER_MIB: Final = 2.0  # allowed for a transaction, a minute at least
_MOST_SECONDS: Final = 900.0  # the brokers' own limit, unless transaction.max.timeout.ms says otherwise
_TAIL: Final = 64  # offsets; where the last output is looked for first

Unsent = Mapping[tuple[str, int], Sequence[Output]]
"""Messages by full name and partition of their topic."""


class Restored(NamedTuple):
    """What was written. `entries` of the registry."""

    manifest: Manifest
    entries: int


async def restore(settings: Settings, folder: Path, *, unsent: Unsent | None = None) -> Restored:
    """Write a snapshot into the empty state topic, and into the registry what it lacks: everything or nothing.

    Args:
        settings: the deployment; `accept_gap` allows records behind the snapshot to be gone.
        folder: a snapshot.
        unsent: messages to write in the same transaction, of a rebuild; None: this is none.

    Raises:
        Refusal: the snapshot is damaged or does not belong to this log, or the deployment is not ready for it. Nothing
            is visible then.
        UnknownVersion: a newer release wrote it.
    """
    manifest = check(folder)
    options = client_options(settings)
    state, registry = settings.topic(STATE.name), settings.topic(REGISTRY.name)
    passed = Failpoints(settings.failpoint)
    size = sum(part.file.bytes for part in manifest.parts)
    seconds = min(_MOST_SECONDS, 60.0 + _SECONDS_PER_MIB * size / (1 << 20))
    async with open_logs(options) as logs:
        await refuse_unready(settings, logs, manifest.partitions)
        # First the fence: it ends the transaction that a killed restore has left, which would hide the topic's end.
        async with one_transaction(options, f"{settings.app_id}-{state}-restore", seconds=seconds) as bulk:
            await _refuse_state(logs, state)
            async for number, position in _positions(folder, manifest):
                await _refuse_foreign(settings, logs, number, position, rebuilt=unsent is not None)
            ends = await logs.ends(state)
            for part in manifest.parts:
                await bulk.append(state, part.partition, _entries(read(folder, part.file)))
                passed("after_changelog")
            entries = missing_entries(await logs.registry(registry), registry_of(folder, manifest))
            await bulk.append(registry, 0, _entries((key.encode(), body) for key, body in entries.items()))
            for (topic, number), messages in (unsent or {}).items():
                await bulk.append(topic, number, iter(messages))
            await _alone(settings, logs, bulk, ends)
            passed("before_commit")
    return Restored(manifest, len(entries))


def _entries(rows: Iterable[tuple[bytes, bytes]]) -> Iterator[Entry]:
    return ((key, value, []) for key, value in rows)


async def refuse_unready(settings: Settings, logs: Logs, partitions: int) -> None:
    """Nothing if the topics are as they have to be, for so many partitions, and no worker runs. Raises Refusal."""
    refuse_differences(await asyncio.to_thread(check_topics, client_options(settings), settings.topic_prefix))
    users = settings.topic(USERS.name)
    if (found := await logs.count(users)) != partitions:
        line = f"{users} has {found} partitions, and the snapshot {partitions}: users would be on other partitions"
        raise Refusal(Exit.PARTITIONS, f"{line}; make the topics anew with --partitions {partitions}")
    await _refuse_workers(settings, logs)


async def _refuse_workers(settings: Settings, logs: Logs) -> None:
    if members := await logs.members(settings.app_id):
        line = f"{members} worker{'s' if members > 1 else ''} of group {settings.app_id} run: stop them first"
        raise Refusal(Exit.USAGE, f"{line} (one that was killed counts for {settings.session_timeout:.0f} s more)")


async def _refuse_state(logs: Logs, state: str) -> None:
    starts, ends = await logs.starts(state), await logs.ends(state)
    async for number, _ in logs.read(state, starts, ends):
        line = f"{state} is not empty (partition {number}): a snapshot is written into an empty topic only; delete it"
        raise Refusal(Exit.TOPICS, f"{line} and run: rekindle topics create --partitions {len(ends)}")


async def _refuse_foreign(settings: Settings, logs: Logs, number: int, position: Position, *, rebuilt: bool) -> None:
    """The partition's log has to be the one that was folded, and nothing may have been sent from behind the position:
    workers would send it again.
    """
    users, offset, last = settings.topic(USERS.name), position.offset, position.last
    async with reader(client_options(settings)) as consumer:
        source = await probe_source(consumer, users, number, last[0] if last else None)
    where = f"{users} partition {number}"
    if offset >= 0:
        check_source(where, settings.topic(STATE.name), offset, last, source, accept_gap=settings.accept_gap)
    next_record = max(offset, source.earliest)
    for topic in OUTPUTS:
        # An erasure whose record is lost is made up for by a rebuild only.
        first = max(offset, 0) if topic is ERASURES and not rebuilt else next_record
        if (sent := await last_sent(settings, logs, topic.name, number)) >= first:
            line = (
                f"the snapshot stands at record {offset} of {where}, and {settings.topic(topic.name)} has what record"
            )
            raise Refusal(Exit.RECREATED, f"{line} {sent} led to: workers would send it again; use `rekindle rebuild`")


async def _positions(folder: Path, manifest: Manifest) -> AsyncIterator[tuple[int, Position]]:
    for part in manifest.parts:
        rows = {key: value for key, value in read(folder, part.file) if key == b"p"}
        yield part.partition, position_of(rows)


async def last_sent(settings: Settings, logs: Logs, topic: str, number: int) -> int:
    """Offset of the last record of the user topic that led to an output in this topic and partition; -1: none did."""
    name = settings.topic(topic)
    start, end = (await logs.starts(name))[number], (await logs.ends(name))[number]
    begin, width = end, _TAIL
    while begin > start:
        begin, width = max(start, end - width), width * 16
        last = -1
        async for _, records in logs.read(name, {number: begin}, {number: end}):
            last = max(last, *(source_offset(topic, record.headers) or -1 for record in records))
        if last >= 0:
            return last
    return -1


def missing_entries(there: Mapping[str, bytes], snapshot: Mapping[str, bytes]) -> dict[str, bytes]:
    """What a registry lacks: all of an empty one, in its order; else policies and skips. A history is not mixed: its
    last entry has to be the last that was published.
    """
    lacking = {key: body for key, body in snapshot.items() if key not in there}
    return {key: body for key, body in lacking.items() if not there or not key.startswith(HISTORY)}


async def _alone(settings: Settings, logs: Logs, bulk: Bulk, ends: Mapping[int, int]) -> None:
    """Nobody has written to the state meanwhile or is about to. A worker that comes now reads the state only when this
    transaction has ended: it waits for the end of what it can't see yet.
    """
    state = settings.topic(STATE.name)
    landed = await bulk.landed()
    await _refuse_workers(settings, logs)
    for number, end in ends.items():
        if landed.get((state, number), end) != end:
            line = f"a worker wrote to {state} partition {number} meanwhile; stop all of them, delete {state}"
            raise Refusal(Exit.TOPICS, f"{line} and run: rekindle topics create --partitions {len(ends)}")
