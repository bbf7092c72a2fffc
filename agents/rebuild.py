"""Rebuilding a state topic that was lost, from a snapshot and the log. Nothing that was sent is sent again.

A worker writes outputs and position at once, so whatever it folded behind the last output that is there led to none.
The fold therefore goes up to the last record that led to an output, or up to where the group has reported, and no
further: its result is the state from which workers go on without repeating or leaving out anything.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec

from agents.erasure_key import erasure_key
from agents.evidence import position_of
from agents.exits import Exit, Refusal
from agents.kafka.connection import client_options
from agents.kafka.read import Logs, open_logs
from agents.kafka.store import check_source, probe_source, reader
from agents.outputcheck import identity_of, source_offset
from agents.replay import few_collections
from agents.restore import last_sent, refuse_unready, restore
from agents.settings import Settings
from agents.snapshot import Part, Table, check, origin_of, read, registry_of, write_manifest, write_part
from pipeline.erasure import Mark
from pipeline.partition import Partition
from pipeline.position import Position
from pipeline.records import Output
from schemas.erasure import Erasure
from schemas.topics import ERASURES, OUTPUTS, REGISTRY, STATE, TRIGGERS, USERS

_erasure = msgspec.json.Decoder(Erasure).decode
_NAMED = 5  # differences that a refusal names

Missing = Literal["refuse", "leave", "send"]


@dataclass
class Rebuilt:
    """What was done. `start` and `end`: records of the user topic that were folded, by partition."""

    start: dict[int, int] = field(default_factory=dict)
    end: dict[int, int] = field(default_factory=dict)
    users: int = 0
    missing: list[str] = field(default_factory=list)
    """Outputs that follow from the log and are not in their topics, in words."""
    surplus: list[str] = field(default_factory=list)
    """Outputs in the topics that do not follow from the log."""
    sent: int = 0
    """Of the missing ones."""
    unsent: dict[tuple[str, int], list[Output]] = field(default_factory=dict)
    """Missing ones by full name and partition of their topic, without triggers that have expired by the log's clock."""


async def rebuild(settings: Settings, snapshot: Path | None = None, *, missing: Missing = "refuse") -> Rebuilt:
    """Write the state anew into the empty state topic.

    Args:
        settings: the deployment. With `accept_gap` records that are gone are left out, and outputs are not compared:
            what the log says is not what was decided then.
        snapshot: where to begin; the beginning of the log when None.
        missing: what to do if outputs are missing or too many: nothing at all, leave it so, or send what is missing.

    Raises:
        Refusal: as `restore`; or the log does not reach back far enough; or outputs differ. Nothing is visible then.
        MissingBody, UnknownVersion, UnreadableBody, CoreError: the log can't be replayed by this release.
        WrongKey: the snapshot was taken under another key of erasures.
    """
    manifest = check(snapshot) if snapshot is not None else None
    rebuilt = Rebuilt()
    with TemporaryDirectory(prefix="rekindle-rebuild-") as name, few_collections():
        folder = Path(name)
        async with open_logs(client_options(settings)) as logs:
            users = settings.topic(USERS.name)
            count = await logs.count(users)
            await refuse_unready(settings, logs, manifest.partitions if manifest else count)
            registry = await logs.registry(settings.topic(REGISTRY.name))
            secret = erasure_key(settings)
            if snapshot is not None and manifest is not None:
                registry = {**registry_of(snapshot, manifest), **registry}
            reported = await logs.group_offsets(settings.app_id, users)
            parts = []
            for number in range(count):
                table = dict(read(snapshot, manifest.parts[number].file)) if snapshot and manifest else {}
                partition = Partition(number, count, registry, tenant=settings.tenant, topic=users, secret=secret)
                told = reported.get(number, 0)
                parts.append(
                    await _fold(settings, logs, partition, table, reported=told, rebuilt=rebuilt, folder=folder)
                )
            write_manifest(folder, await origin_of(settings, logs), parts, registry)
        if missing == "refuse":
            _refuse_differences(rebuilt)
        unsent = rebuilt.unsent if missing == "send" else {}
        await restore(settings, folder, unsent=unsent)
        rebuilt.sent = sum(map(len, unsent.values()))
    return rebuilt


async def _fold(
    settings: Settings, logs: Logs, partition: Partition, table: Table, *, reported: int, rebuilt: Rebuilt, folder: Path
) -> Part:
    """Fold a partition's log behind `table`, as far as it is known that a worker had, and write the rows."""
    number, position = partition.number, position_of(table)
    partition.restore(table.items())
    begin = max(position.offset, 0)
    last = max([await last_sent(settings, logs, topic.name, number) for topic in OUTPUTS])
    end = max(begin, reported, last + 1)
    earliest = await _refuse_log(settings, number, position, end)
    sent = _Sent() if settings.accept_gap else await _sent(settings, logs, number, begin)
    missing: list[tuple[str, Output]] = []
    if earliest > begin:  # the certificates outlast the log
        partition.forget(await _lost_erasures(settings, logs, number, range(begin, earliest)))
        missing += _taken(partition, table, sent)
    users = settings.topic(USERS.name)
    async for _, records in logs.read(users, {number: max(begin, earliest)}, {number: end}):
        for _ in partition.fold(records):
            missing += _taken(partition, table, sent)
        missing += _taken(partition, table, sent)
    if not settings.accept_gap:
        _note(settings, rebuilt, partition, missing, sent.surplus(begin))
    part = write_part(folder, number, table)
    rebuilt.start[number], rebuilt.end[number] = begin, max(part.offset, begin)
    rebuilt.users += part.users
    return part


async def _refuse_log(settings: Settings, number: int, position: Position, end: int) -> int:
    """Nothing if the log is the one that was folded and holds everything from the position to `end`; its earliest
    offset.
    """
    users, state = settings.topic(USERS.name), settings.topic(STATE.name)
    where, begin, last = f"{users} partition {number}", max(position.offset, 0), position.last
    async with reader(client_options(settings)) as consumer:
        source = await probe_source(consumer, users, number, last[0] if last else None)
    check_source(where, state, end, None, source._replace(earliest=0), accept_gap=False)
    check_source(where, state, begin, last, source, accept_gap=True)
    if source.earliest > begin and not settings.accept_gap:
        line = f"{where} begins at {source.earliest}: records {begin} to {source.earliest - 1} are gone"
        what = "a newer snapshot is needed" if position.offset >= 0 else "a snapshot is needed (--from)"
        raise Refusal(Exit.GAP, f"{line}; {what}, or --accept-gap, which forgets what they said")
    return source.earliest


async def _lost_erasures(settings: Settings, logs: Logs, number: int, lost: range) -> dict[bytes, Mark]:
    """Marks of those whose erasure was one of the records that are lost."""
    topic, found = settings.topic(ERASURES.name), {}
    starts, ends = await logs.starts(topic), await logs.ends(topic)
    async for _, records in logs.read(topic, {number: starts[number]}, {number: ends[number]}):
        for record in records:
            data = _erasure(record.value).data
            if data.offset in lost:
                applied = _ms(data.applied_at)
                found[bytes.fromhex(data.mark)] = Mark(_ms(data.erased_until), data.offset, applied, last=applied)
    return found


@dataclass
class _Sent:
    """Outputs that are there: how often each (source offset, identity), and from which record on a topic is whole."""

    there: Counter[tuple[int, str]] = field(default_factory=Counter)
    whole_from: dict[str, float] = field(default_factory=dict)

    def surplus(self, begin: int) -> list[str]:
        """What was not taken, as words; a worker may have been in the middle of the first record when the snapshot was
        taken, so what that one led to is not judged.
        """
        left = +self.there
        return [f"{identity}, from record {offset}" for offset, identity in left.elements() if offset > begin]


async def _sent(settings: Settings, logs: Logs, number: int, begin: int) -> _Sent:
    """All outputs of a partition that records from `begin` on led to."""
    sent = _Sent()
    for topic in OUTPUTS:
        name = settings.topic(topic.name)
        start, end = (await logs.starts(name))[number], (await logs.ends(name))[number]
        whole_from = float("inf") if start else -1.0  # of a topic that retention has cut: the first record it knows
        async for _, records in logs.read(name, {number: start}, {number: end}):
            for record in records:
                offset = source_offset(topic.name, record.headers)
                if offset is None:
                    continue
                whole_from = min(whole_from, offset)
                if offset >= begin:
                    message = (topic.name, record.key or b"", record.value or b"", tuple(record.headers))
                    sent.there[offset, identity_of(message)] += 1
        sent.whole_from[topic.name] = whole_from
    return sent


def _taken(partition: Partition, table: Table, sent: _Sent) -> list[tuple[str, Output]]:
    """Take a commit into the rows; its outputs that were never sent."""
    commit = partition.commit()
    commit.write_to(table)
    missing = []
    for topic, messages in commit.outputs.items():
        for message in messages:
            offset, identity = _named(topic, message)
            if sent.there[offset, identity] > 0:
                sent.there[offset, identity] -= 1
            elif offset > sent.whole_from.get(topic, float("inf")):
                missing.append((topic, message))
    return missing


def _named(topic: str, message: Output) -> tuple[int, str]:
    told = source_offset(topic, message.headers)
    return -1 if told is None else told, identity_of((topic, message.key, message.value, tuple(message.headers)))


def _note(
    settings: Settings, rebuilt: Rebuilt, partition: Partition, missing: list[tuple[str, Output]], surplus: list[str]
) -> None:
    for topic, message in missing:
        offset, identity = _named(topic, message)
        rebuilt.missing.append(f"partition {partition.number}: {identity}, from record {offset}")
        if topic != TRIGGERS.name or not _expired(message.value, partition.clock or 0):
            rebuilt.unsent.setdefault((settings.topic(topic), partition.number), []).append(message)
    rebuilt.surplus += [f"partition {partition.number}: {words}" for words in surplus]


def _expired(trigger: bytes, clock: int) -> bool:
    expires: Any = msgspec.json.decode(trigger)["data"]["expires_at"]
    return _ms(expires) <= clock


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _refuse_differences(rebuilt: Rebuilt) -> None:
    found = [f"{len(rebuilt.missing)} outputs are missing"] if rebuilt.missing else []
    found += [f"{len(rebuilt.surplus)} are there that nothing in the log leads to"] if rebuilt.surplus else []
    if found:
        named = "; ".join([*rebuilt.missing, *rebuilt.surplus][:_NAMED])
        line = (
            f"the log and what was sent differ: {' and '.join(found)} ({named}). Where a worker was lost in the middle "
            "of a record, --missing send mends it; else look for the cause: --missing leave lets the difference stand"
        )
        raise Refusal(Exit.BUG, line)
