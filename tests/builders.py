"""Logs in a few words: `fold(log(played(), adopt(POLICY), tick(at(0)), event(at(0, 1), "ann"), tick(at(40))))`.

Times are ms; `at(days, hours)` counts from a Monday midnight. An event's append time is its own time unless told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from pipeline.partition import Partition
from pipeline.play import control_record
from pipeline.records import Commit, Headers, LogRecord, Output
from pipeline.state import UserState, decode_row
from pipeline.sums.base import Dims, decode_key
from pipeline.units import DAY, HOUR, MINUTE
from schemas import control
from schemas.codec import encode_json
from schemas.partitioner import partition_of

T0: Final = 1_704_067_200_000  # 2024-01-01, a Monday

POLICY: Final = """
version: 1
mode: live
salt: test
consent: {email: {basis: opt_out, trait: email}}
rules:
  - id: silent
    when: {silence: 30d}
    channel: email
    template: come-back
    holdout: 0
    expires_after: 3d
    cooldown: 10d
    goal: {within: 7d}
"""
"""One live rule: silent for 30 days; everything else as by default."""


def at(days: float = 0, hours: float = 0, minutes: float = 0) -> int:
    """ms: so long after T0."""
    return T0 + int(days * DAY + hours * HOUR + minutes * MINUTE)


class Entry(NamedTuple):
    """A record before it has an offset."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    appended: int = 0


def iso(ms: int) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def milliseconds(text: str | None) -> int | None:
    """The inverse of `iso`."""
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)


def event(
    time: int | None,
    user: str | None = "ann",
    name: str | None = "Viewed",
    *,
    id: str | None = None,  # noqa: A002 - a message's id
    kind: str = "track",
    anonymous: str | None = None,
    context: Mapping[str, Any] | None = None,
    source: str | None = None,
    backfill: bool = False,
    active: bool | None = None,
    appended: int | None = None,
    key: bytes | None = None,
    **fields: Any,
) -> Entry:
    """A user event; `fields` are further JSON fields (properties=, traits=, schemaVersion=...)."""
    whole = dict(context or {})
    if source is not None:
        whole["campaign"] = {"source": source}
    if backfill:
        whole["backfill"] = True
    if active is not None:
        whole["active"] = active
    body = {
        "messageId": id or f"{user or anonymous}/{time}/{name}",
        "type": kind,
        "event": name if kind == "track" else None,
        "userId": user,
        "anonymousId": anonymous,
        "timestamp": None if time is None else iso(time),
        "context": whole or None,
        **fields,
    }
    identity = user if user is not None else anonymous
    named = key if key is not None or identity is None else identity.encode()
    value = msgspec.json.encode({k: v for k, v in body.items() if v is not None})
    return Entry(named, value, (), appended if appended is not None else time or 0)


def order(
    time: int,
    user: str = "ann",
    revenue: Any = 25,
    currency: str | None = "USD",
    products: Any = None,
    **more: Any,
) -> Entry:
    """An `Order Completed`."""
    named = {"currency": currency, "products": products}
    properties = {"revenue": revenue} | {name: value for name, value in named.items() if value is not None}
    return event(time, user, "Order Completed", properties=properties, **more)


def identify(time: int, user: str = "ann", *, active: bool | None = None, **traits: Any) -> Entry:
    """An identify call."""
    key = f"{user}/{time}/identify/{msgspec.json.encode(traits).decode()}"
    return event(time, user, None, kind="identify", id=key[:256], traits=traits, active=active)


def _control(message: control.AnyControl, appended: int = 0) -> Entry:
    record = control_record(message)
    return Entry(record.key, record.value, record.headers, appended)


def played() -> Entry:
    """Declares the time domain."""
    return _control(control.Domain("played"))


def tick(time: int) -> Entry:
    """The player's tick."""
    return _control(control.Tick(time), time)


def now(appended: int) -> Entry:
    """A live tick: it carries no time."""
    return _control(control.Tick(), appended)


def adopt(policy: str = POLICY, appended: int = 0) -> Entry:
    """Adopts a policy by its text."""
    return _control(control.Adopt(policy=digest(policy)), appended)


def adopt_model(body: bytes | None, appended: int = 0) -> Entry:
    """Adopts a churn model by its JSON (None: ends the use of one)."""
    return _control(control.Adopt(model="" if body is None else sha256(body).hexdigest()), appended)


def adopt_lease(body: bytes, appended: int = 0) -> Entry:
    """Adopts a lease of perks by its JSON."""
    return _control(control.Adopt(lease=sha256(body).hexdigest()), appended)


def adopt_quantiles(features: dict[str, dict[float, float]], appended: int = 0) -> Entry:
    """Adopts these thresholds."""
    return _control(control.Adopt(quantiles=sha256(encode_json(control.Quantiles(features))).hexdigest()), appended)


def adopt_core(version: int) -> Entry:
    """Adopts a core version."""
    return _control(control.Adopt(core=version))


def hold(appended: int = 0) -> Entry:
    """The source is down."""
    return _control(control.Hold(), appended)


def release(appended: int = 0) -> Entry:
    """The source is back."""
    return _control(control.Release(), appended)


def pause(rule: str | None = None) -> Entry:
    """Stops sending."""
    return _control(control.Pause(rule))


def resume(rule: str | None = None) -> Entry:
    """Sends again."""
    return _control(control.Resume(rule))


def gap(start: int, end: int) -> Entry:
    """An accepted loss."""
    return _control(control.Gap(start, end))


def ticks(start: int, end: int, every: int = HOUR) -> list[Entry]:
    """Ticks from `start` to `end`, both included."""
    return [tick(time) for time in range(start, end + 1, every)]


def log(*entries: Entry | Sequence[Entry], start: int = 0) -> list[LogRecord]:
    """Entries, or lists of them, as the records of a partition."""
    flat: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Entry):
            flat.append(entry)
        else:
            flat.extend(entry)
    return [LogRecord(start + i, e.appended, e.key, e.value, e.headers) for i, e in enumerate(flat)]


def history(*entries: Entry | Sequence[Entry], policy: str | None = POLICY, begin: int = T0) -> list[LogRecord]:
    """A played log that adopts `policy` at `begin`."""
    return log(played(), tick(begin), [] if policy is None else adopt(policy), *entries)


def digest(policy: str) -> str:
    """A policy's hash."""
    return sha256(policy.encode()).hexdigest()


def registry(*policies: str) -> dict[str, bytes]:
    """A registry that holds these policies."""
    return {f"policy/{digest(policy)}": policy.encode() for policy in policies}


def models(*bodies: bytes) -> dict[str, bytes]:
    """What a registry holds of these churn models."""
    return {f"model/{sha256(body).hexdigest()}": body for body in bodies}


def leases(*bodies: bytes) -> dict[str, bytes]:
    """What a registry holds of these leases of perks."""
    return {f"lease/{sha256(body).hexdigest()}": body for body in bodies}


def quantiles(*features: dict[str, dict[float, float]]) -> dict[str, bytes]:
    """What a registry holds of these thresholds."""
    bodies = [encode_json(control.Quantiles(each)) for each in features]
    return {f"quantiles/{sha256(body).hexdigest()}": body for body in bodies}


@dataclass
class Folded:
    """A partition and everything that it has committed, in order."""

    partition: Partition
    changelog: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    outputs: dict[str, list[Output]] = field(default_factory=dict)

    def take(self, commit: Commit) -> None:
        """Keep what was committed; nothing may go without the partition row, which is last."""
        assert [key for key, _ in commit.changelog[-1:]] == [b"p"] * bool(commit.changelog)
        assert commit.changelog or not commit.outputs
        self.changelog.extend(commit.changelog)
        for topic, messages in commit.outputs.items():
            self.outputs.setdefault(topic, []).extend(messages)

    def feed(self, records: Sequence[LogRecord]) -> "Folded":
        """Fold more, commit at every pause."""
        for _ in self.partition.fold(records):
            self.take(self.partition.commit())
        self.take(self.partition.commit())
        return self

    @property
    def table(self) -> dict[bytes, bytes]:
        """The compacted changelog."""
        latest: dict[bytes, bytes] = {}
        for key, value in self.changelog:
            if value is None:
                latest.pop(key, None)
            else:
                latest[key] = value
        return latest

    @property
    def users(self) -> dict[str, UserState]:
        """The rows, as committed."""
        return {k[1:].decode(): decode_row(v) for k, v in self.table.items() if k[:1] == b"u"}

    @property
    def cells(self) -> dict[tuple[str, Dims], list[int]]:
        """The cells that are not zero, as committed."""
        found = {decode_key(k[1:]): msgspec.msgpack.decode(v) for k, v in self.table.items() if k[:1] == b"s"}
        return {key: cell for key, cell in found.items() if any(cell)}

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the partition row."""
        return msgspec.to_builtins(self.partition.position.counts)  # type: ignore[no-any-return]

    def messages(self, topic: str) -> list[dict[str, Any]]:
        """Decoded outputs."""
        return [msgspec.json.decode(output.value) for output in self.outputs.get(topic, [])]

    @property
    def triggers(self) -> list[dict[str, Any]]:
        """Decoded triggers."""
        return self.messages("triggers")

    @property
    def decisions(self) -> list[tuple[str, str, str, list[str]]]:
        """(user, rule, decision, reasons)."""
        found = self.messages("decisions")
        return [(m["subject"], m["data"]["rule_id"], m["data"]["decision"], m["data"]["reasons"]) for m in found]

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """The data of the outcomes."""
        return [m["data"] for m in self.messages("outcomes")]

    @property
    def deadletters(self) -> list[tuple[int, str]]:
        """(offset, reason)."""
        found = []
        for output in self.outputs.get("deadletters", []):
            headers = dict(output.headers)
            found.append((int(headers["offset"]), headers["reason"].decode()))
        return found


def fold(
    records: Sequence[LogRecord],
    *policies: str,
    number: int = 0,
    count: int = 1,
    extra: Mapping[str, bytes] | None = None,
) -> Folded:
    """Fold a log from the beginning, with the policies given (POLICY if none) in the registry."""
    known = registry(*(policies or (POLICY,))) | dict(extra or {})
    return Folded(Partition(number, count, known)).feed(records)


def spread(records: Iterable[LogRecord], count: int) -> list[list[LogRecord]]:
    """The log of one partition as the logs of `count`: events by their key, control messages to each."""
    logs: list[list[LogRecord]] = [[] for _ in range(count)]
    for record in records:
        everywhere = record.key == control.CONTROL_KEY and record.headers
        for number in range(count) if everywhere else [partition_of(record.key or b"", count)]:
            logs[number].append(msgspec.structs.replace(record, offset=len(logs[number])))
    return logs
