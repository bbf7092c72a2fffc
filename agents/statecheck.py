"""Comparing the rows of a state topic: with those that had to be there, and with their own sums."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from agents.evidence import UNREADABLE
from pipeline.lifecycle import DORMANT, STAGES, UNSEEN
from pipeline.position import decode_position
from pipeline.scores import cell_of
from pipeline.state import UserState, decode_row
from pipeline.sums import CALIBRATION, GROWTH, SEGMENTS, STAGE
from pipeline.sums.base import Cells, Dims, decode_key
from pipeline.sums.calibration import CAME, LOST, SILENT, TOLD
from pipeline.sums.growth import DORMANT as FELL_DORMANT
from pipeline.sums.growth import EXPIRED, NEW, RETURNED

_NAMED: Final = 3  # of what differs in a row
_SHOWN: Final = 40  # characters

Rows = Mapping[bytes, bytes]
_any = msgspec.msgpack.Decoder().decode


def differences(number: int, expected: Rows, actual: Rows) -> Iterator[str]:
    """One line for each key that differs, saying whose row it is and in what."""
    for key in sorted(expected.keys() | actual.keys()):
        should, is_there = expected.get(key), actual.get(key)
        if should == is_there:
            continue
        name = f"partition {number}: {_name(key)}"
        if should is None:
            yield f"{name} should not be there"
        elif is_there is None:
            yield f"{name} is missing"
        else:
            try:
                found = list(_unlike(_fields(key, should), _fields(key, is_there)))
                unlike = ", ".join(found[:_NAMED])
                unlike += f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            except UNREADABLE:
                unlike = "everything: it can't be read"
            if unlike:
                yield f"{name} differs in {unlike}"


def _name(key: bytes) -> str:
    kind, rest = key[:1], key[1:]
    if kind == b"u":
        return f"the row of user {rest.decode('utf-8', 'replace')!r}"
    if kind == b"s":
        return f"the cell {' '.join(map(str, _cell_name(rest)))}"
    if kind == b"e":
        return f"the mark {rest.hex()}"
    return {b"p": "the partition row", b"g": "the source guard"}.get(key, f"the key {key!r}")


def _cell_name(key: bytes) -> Iterator[str | int]:
    try:
        name, dims = decode_key(key)
    except UNREADABLE:
        yield repr(key)
    else:
        yield name
        yield from dims


def _fields(key: bytes, value: bytes) -> Any:
    if key[:1] == b"u":
        return _named(decode_row(value))
    if key == b"p":
        return _named(decode_position(value))
    return _any(value)


def _named(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _named(getattr(value, name)) for name in value.__struct_fields__}
    return value


def _unlike(should: Any, actual: Any, path: str = "") -> Iterator[str]:
    if isinstance(should, dict) and isinstance(actual, dict):
        for name in sorted(should.keys() | actual.keys(), key=str):
            yield from _unlike(should.get(name), actual.get(name), f"{path}.{name}" if path else str(name))
    elif isinstance(should, list) and isinstance(actual, list) and len(should) == len(actual):
        for place, (wanted, found) in enumerate(zip(should, actual, strict=True)):
            yield from _unlike(wanted, found, f"{path}[{place}]")
    elif should != actual:
        yield f"{path or 'value'}: {_worded(actual)} instead of {_worded(should)}"


def _worded(value: Any) -> str:
    """A value on a terminal: of what is long only how long it is."""
    if isinstance(value, bytes | list | dict):
        what = "bytes" if isinstance(value, bytes) else "entries"
        return f"{len(value)} {what}" if value else f"no {what}"
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"a text of {len(value)} characters"
    return repr(value)


def invariants(number: int, rows: Rows) -> Iterator[str]:
    """One line for each sum that does not agree with the rows that it counts."""
    counts = decode_position(rows[b"p"]).counts if b"p" in rows else None
    if counts is not None and counts.read != counts.applied + counts.duplicate + counts.rejected:
        yield (
            f"partition {number}: read {counts.read} is not applied {counts.applied} + duplicate {counts.duplicate} "
            f"+ rejected {counts.rejected}"
        )
    cells = Cells()
    stock: Counter[tuple[str, str]] = Counter()
    awake: Counter[str] = Counter()
    scores: Counter[Dims] = Counter()
    members: Counter[Dims] = Counter()
    for key, value in rows.items():
        try:
            if key[:1] == b"s":
                cells.restore(key[1:], value)
            elif key[:1] == b"u":
                state: UserState = decode_row(value)
                kind = "user" if state.known else "visitor"
                if state.check is not None:
                    scores[cell_of(state.check)] += 1
                if state.groups is not None:
                    members.update(("segment", found.segment) for found in state.groups.segments)
                    members.update([("tier", state.groups.tier)] if state.groups.tier else [])
                if state.stage != UNSEEN:
                    stock[kind, STAGES[state.stage]] += 1
                    awake[kind] += state.stage != DORMANT
        except UNREADABLE:  # it differs from what had to be there, and is named there
            continue
    grown: Counter[str] = Counter()
    for (name, dims), values in cells.values.items():
        if name == GROWTH.name:
            grown[str(dims[1])] += values[NEW] + values[RETURNED] - values[FELL_DORMANT] - values[EXPIRED]
        elif name == STAGE.name:
            kind, stage = str(dims[0]), str(dims[1])
            if values[0] != (there := stock.pop((kind, stage), 0)):
                yield f"partition {number}: the sums say {values[0]} {kind}s {stage}, and there are {there} rows"
        elif name == CALIBRATION.name:
            scores[dims] -= values[TOLD] - values[SILENT] - values[CAME] - values[LOST]
        elif name == SEGMENTS.name:
            members[dims] -= values[0]
    for dims, over in members.items():
        if over:
            yield f"partition {number}: {over:+} users are in {dims}, by rows against the sums"
    for dims, over in scores.items():
        if over:
            yield f"partition {number}: {over:+} scores wait of {dims}, by rows against the sums"
    for (kind, stage), there in stock.items():
        yield f"partition {number}: the sums say nothing of {kind}s {stage}, and there are {there} rows"
    for kind in grown.keys() | awake.keys():
        if grown[kind] != awake[kind]:
            yield (
                f"partition {number}: growth adds up to {grown[kind]} {kind}s that are not dormant, "
                f"and there are {awake[kind]}"
            )
