"""Snapshots: the state of every partition at one committed position each, and the registry, as a folder of files.

`manifest.json` names the files with their SHA-256. A file is gzipped JSON lines: `["key", "value"]` of each record, in
base64, first to last, as they are to be written.
"""

import gzip
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path
from time import time
from typing import Final, NamedTuple

import msgspec

from agents.evidence import UNREADABLE, position_of
from agents.exits import Exit, Refusal
from agents.kafka.connection import client_options
from agents.kafka.read import Logs, fold_table, open_logs
from agents.settings import Settings
from agents.statecheck import invariants
from schemas.codec import rfc3339
from schemas.topics import REGISTRY, STATE, USERS

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
_NAMED: Final = 3  # differences that a refusal names

Table = dict[bytes, bytes]


class File(msgspec.Struct):
    """A file of a snapshot; `bytes` as it lies on disk."""

    name: str
    sha256: str
    bytes: int
    records: int


class Part(msgspec.Struct):
    """A partition. `offset`: the next record of the user topic to fold, -1 if none was folded; `users`: rows;
    the versions are those of the release that wrote the state.
    """

    partition: int
    offset: int
    users: int
    state_version: int
    core_version: int
    file: File


class Origin(msgspec.Struct):
    """Where a snapshot comes from. `at`: when, RFC 3339; `release`: of Rekindle; `cluster`: its id."""

    at: str
    release: str
    cluster: str
    prefix: str


class Manifest(msgspec.Struct):
    """What a snapshot holds."""

    format: int
    origin: Origin
    partitions: int
    parts: list[Part]
    registry: File


# -- writing


async def take(settings: Settings, out: Path) -> Manifest:
    """Write a snapshot of a deployment as the new folder `out`; workers may go on meanwhile.

    Raises:
        Refusal: no broker, a missing topic, `out` exists or can't be written, or the state does not add up.
        UnknownVersion: a newer release wrote the state.
    """
    async with open_logs(client_options(settings)) as logs:
        state = settings.topic(STATE.name)
        count = await logs.count(settings.topic(USERS.name))
        if (found := await logs.count(state)) != count:
            line = f"{state} has {found} partitions, and the user topic {count}; see `rekindle topics check`"
            raise Refusal(Exit.PARTITIONS, line)
        with being_written(out) as folder:
            parts = [write_part(folder, number, await _settled(logs, state, number)) for number in range(count)]
            # After the state: what it has adopted is in it.
            registry = await logs.registry(settings.topic(REGISTRY.name))
            write_manifest(folder, await origin_of(settings, logs), parts, registry)
            return check(folder)


async def _settled(logs: Logs, state: str, number: int) -> Table:
    """The rows of a partition after its last whole transaction: with one producer no other is open before that."""
    table: Table = {}
    start = (await logs.starts(state))[number]
    # Twice: while the first pass reads, compaction may take a value away because of one behind the end of that pass.
    for _ in range(2):
        end = (await logs.stable_ends(state))[number]
        async for _, records in logs.read(state, {number: start}, {number: end}):
            fold_table(table, records)
        start = end
    return table


async def origin_of(settings: Settings, logs: Logs) -> Origin:
    """Of what is written now."""
    return Origin(rfc3339(round(time() * 1000)), version("rekindle"), await logs.cluster(), settings.topic_prefix)


@contextmanager
def being_written(out: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `out` when the block ends well: half a snapshot never lies there.

    Raises:
        Refusal: `out` exists, or can't be written.
    """
    if out.exists():
        raise Refusal(Exit.USAGE, f"{out} exists already, and a snapshot is never written over; name another folder")
    folder = out.with_name(out.name + ".part")
    try:
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir(parents=True)
        yield folder
        _sync(*(path for path in folder.iterdir()), folder)
        folder.rename(out)
        _sync(out.parent)
    except OSError as error:
        raise Refusal(Exit.USAGE, f"{error.filename or out}: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_part(folder: Path, number: int, table: Table) -> Part:
    """Write a partition's rows, its position last. Raises UnknownVersion; Refusal if the position can't be read."""
    position = table.pop(b"p", None)
    if position is not None:
        table[b"p"] = position
    try:
        at = position_of(table)
    except UNREADABLE as error:
        raise Refusal(Exit.BUG, f"partition {number}: the partition row can't be read: {error}") from error
    users = sum(key[:1] == b"u" for key in table)
    file = _write(folder, f"state-{number:03d}.jsonl.gz", table.items())
    return Part(number, at.offset, users, at.version, at.core, file)


def write_manifest(folder: Path, origin: Origin, parts: list[Part], registry: dict[str, bytes]) -> None:
    """Write the registry, then the manifest, which makes the folder a snapshot."""
    entries = _write(folder, "registry.jsonl.gz", ((key.encode(), body) for key, body in registry.items()))
    manifest = Manifest(FORMAT, origin, len(parts), parts, entries)
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def _write(folder: Path, name: str, records: Iterable[tuple[bytes, bytes]]) -> File:
    path, encode, count = folder / name, msgspec.json.Encoder().encode, 0
    with path.open("wb") as raw, gzip.GzipFile(name, "wb", 3, raw, mtime=0) as file:
        for record in records:
            file.write(encode(record) + b"\n")
            count += 1
    return File(name, _digest(path), path.stat().st_size, count)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _sync(*paths: Path) -> None:
    """What was written survives a power cut."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# -- reading


def read(folder: Path, file: File) -> Iterator[tuple[bytes, bytes]]:
    """The records of a file, first to last, a line in memory at a time."""
    decode = msgspec.json.Decoder(tuple[bytes, bytes]).decode
    with gzip.open(folder / file.name) as lines:
        for line in lines:
            yield decode(line)


def registry_of(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Entries of the registry topic, in the order in which they were written."""
    return {key.decode("utf-8", "replace"): body for key, body in read(folder, manifest.registry)}


class Begin(NamedTuple):
    """A snapshot in memory: rows by partition, and the registry."""

    tables: dict[int, Table]
    registry: dict[str, bytes]


def load(folder: Path) -> Begin:
    """A whole snapshot. Raises as `check`."""
    manifest = check(folder)
    tables = {part.partition: dict(read(folder, part.file)) for part in manifest.parts}
    return Begin(tables, registry_of(folder, manifest))


def check(folder: Path) -> Manifest:
    """Read a whole snapshot and see that it is as it was written, and that rows, sums and positions add up.

    Raises:
        Refusal: it is not; the line names the file.
        UnknownVersion: a newer release wrote it.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        line = f"{folder} holds no snapshot: {MANIFEST}: {error.strerror}; see `rekindle snapshot`"
        raise Refusal(Exit.USAGE, line) from error
    except msgspec.MsgspecError as error:
        raise Refusal(Exit.USAGE, f"{folder / MANIFEST} can't be read: {error}") from error
    if manifest.format != FORMAT:
        line = f"{folder} has the format {manifest.format}, and this release knows {FORMAT}; use the release"
        raise Refusal(Exit.USAGE, f"{line} that wrote it ({manifest.origin.release})")
    if [part.partition for part in manifest.parts] != list(range(manifest.partitions)):
        raise Refusal(Exit.USAGE, f"{folder / MANIFEST} does not name every partition once")
    for file in (manifest.registry, *(part.file for part in manifest.parts)):
        _intact(folder, file)
    registry = registry_of(folder, manifest)
    for part in manifest.parts:
        _sound(folder, part, registry)
    return manifest


def _intact(folder: Path, file: File) -> None:
    path = folder / file.name
    try:
        digest = _digest(path)
    except OSError as error:
        raise Refusal(Exit.USAGE, f"{path}: {error.strerror}; the snapshot can't be used") from error
    if digest != file.sha256:
        raise Refusal(
            Exit.USAGE, f"{path} was changed since it was written (its SHA-256 differs); use another snapshot"
        )


def _sound(folder: Path, part: Part, registry: dict[str, bytes]) -> None:
    where = f"{folder / part.file.name} (partition {part.partition})"
    table = dict(read(folder, part.file))
    position = position_of(table)
    found = (len(table), position.offset, b"p" in table or not table)
    if found != (part.file.records, part.offset, True):
        raise Refusal(Exit.USAGE, f"{where} holds other records than the manifest says")
    for kind, digest in (
        *(("policy", position.policy), ("model", position.model)),
        *(("lease", position.lease), ("quantiles", position.quantiles)),
    ):
        if digest and f"{kind}/{digest}" not in registry:
            line = f"{where} has adopted the {kind} {digest}, which the registry does not hold"
            raise Refusal(Exit.POLICY, line)
    if wrong := list(invariants(part.partition, table)):
        line = (
            f"{where} does not add up: {'; '.join(wrong[:_NAMED])}; `rekindle verify` compares the state with the log"
        )
        raise Refusal(Exit.BUG, line)
