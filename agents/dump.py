"""All topics as files, and back: gzipped JSON lines, one file for each topic; state and registry as their latest."""

import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from agents.evidence import Evidence
from agents.exits import Exit, Refusal
from agents.files import bytes_of, lines, text_of
from agents.kafka.connection import client_options
from agents.kafka.read import Logs, open_logs
from agents.settings import Settings
from pipeline.records import LogRecord
from schemas.topics import OUTPUTS, REGISTRY, STATE, TOPICS, USERS, Topic

_FORMAT: Final = 1
_MANIFEST: Final = "dump.json"

_Text = str | dict[str, str] | None


class _Manifest(msgspec.Struct):
    """`records` by topic; `starts`: the earliest offset by topic and partition."""

    format: int
    source: str
    partitions: int
    records: dict[str, int]
    starts: dict[str, dict[int, int]] = {}


class _Line(msgspec.Struct):
    """A record; key and value are text, or {"base64": ...} if they are not UTF-8, or null."""

    partition: int
    offset: int
    timestamp: int
    key: _Text
    value: _Text
    headers: list[tuple[str, _Text]] = []


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


async def write_dump(settings: Settings, out: Path, *, force: bool = False) -> dict[str, int]:
    """Write every topic below `out` and return the number of records of each; one picture, also while workers run.

    Args:
        settings: the deployment.
        out: folder; it is made.
        force: a dump that lies there is written over.

    Raises:
        Refusal: no broker, a missing topic, a folder that can't be written, or one that holds a dump already.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 nothing else runs on this loop
        there = [path for path in (out / _MANIFEST, *(_path(out, topic.name) for topic in TOPICS)) if path.exists()]
        if there and not force:
            raise Refusal(Exit.USAGE, f"{out} holds a dump already; name another folder, or --force to write over it")
        for path in there:  # half of another dump would be no dump
            path.unlink()
        async with open_logs(client_options(settings)) as logs:
            source = settings.topic(USERS.name)
            count = await logs.count(source)
            # The state first: whatever it has folded then is in the topics that are read after it.
            written, starts = {}, {}
            for topic in (STATE, USERS, REGISTRY, *OUTPUTS):
                starts[topic.name] = await logs.starts(settings.topic(topic.name))
                written[topic.name] = await _write(logs, topic, settings.topic(topic.name), out)
        manifest = _Manifest(_FORMAT, source, count, written, starts)
        (out / _MANIFEST).write_bytes(msgspec.json.format(_encode(manifest), indent=2) + b"\n")
    except OSError as error:
        raise Refusal(Exit.USAGE, f"{out}: {error.strerror}") from error
    return written


async def _write(logs: Logs, topic: Topic, name: str, out: Path) -> int:
    written = 0
    with gzip.open(_path(out, topic.name), "wb", compresslevel=3) as file:
        async for number, record in _records(logs, topic, name):
            headers = [(header, _text(value)) for header, value in record.headers]
            line = _Line(number, record.offset, record.timestamp, _text(record.key), _text(record.value), headers)
            file.write(_encode(line) + b"\n")
            written += 1
    return written


async def _records(logs: Logs, topic: Topic, name: str) -> AsyncIterator[tuple[int, Any]]:
    # Of the state only whole transactions: rows without their position would not be one picture.
    ends = await (logs.stable_ends(name) if topic is STATE else logs.ends(name))
    starts = await logs.starts(name)
    latest: dict[tuple[int, bytes], Any] = {}
    async for number, records in logs.read(name, starts, ends):
        for record in records:
            if topic not in (STATE, REGISTRY):
                yield number, record
            else:
                latest.pop((number, record.key), None)
                if record.value is not None:
                    latest[number, record.key] = record
    for (number, _), record in latest.items():
        yield number, record


def read_dump(folder: Path) -> Evidence:
    """A dump as the oracle takes it.

    Raises:
        Refusal: no dump, or one of another release, or a file of it can't be read.
    """
    try:
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=_Manifest)
        if manifest.format != _FORMAT:
            raise Refusal(Exit.USAGE, f"{folder} was dumped by another release (format {manifest.format})")
        numbers = range(manifest.partitions)
        evidence = Evidence(manifest.source, manifest.partitions, {}, _lists(numbers), {n: {} for n in numbers}, {})
        evidence.starts = manifest.starts
        for line in _lines(folder, REGISTRY.name):
            evidence.registry[_key(line).decode()] = bytes_of(line.value or "")
        for line in _lines(folder, STATE.name):
            evidence.state[line.partition][_key(line)] = bytes_of(line.value or "")
        for line in _lines(folder, USERS.name):
            evidence.inputs[line.partition].append(_record(line))
        for topic in OUTPUTS:
            found = evidence.outputs[topic.name] = _lists(numbers)
            for line in _lines(folder, topic.name):
                found[line.partition].append(_record(line))
    except (OSError, msgspec.MsgspecError, KeyError) as error:
        raise Refusal(Exit.USAGE, f"{folder} holds no dump that can be read ({error}); see `rekindle dump`") from error
    return evidence


def _lines(folder: Path, topic: str) -> Iterator[_Line]:
    for _, text in lines(str(_path(folder, topic))):
        yield _decode(text)


def _record(line: _Line) -> LogRecord:
    headers = [(name, _bytes(value) or b"") for name, value in line.headers]
    return LogRecord(line.offset, line.timestamp, _bytes(line.key), _bytes(line.value), headers)


def _key(line: _Line) -> bytes:
    return _bytes(line.key) or b""


def _text(data: bytes | None) -> _Text:
    return None if data is None else text_of(data)


def _bytes(text: _Text) -> bytes | None:
    return None if text is None else bytes_of(text)


def _path(folder: Path, topic: str) -> Path:
    return folder / f"{topic}.jsonl.gz"


def _lists(numbers: range) -> dict[int, list[LogRecord]]:
    return {number: [] for number in numbers}
