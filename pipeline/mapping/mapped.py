"""Messages that others own as Rekindle's events. Pure: bytes in, events out."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec

from pipeline.admission import Rejection
from pipeline.mapping.paths import Path
from schemas.codec import DECODE_ERRORS, decode_foreign, rfc3339
from schemas.control import CONTROL_KEY, AnyControl

TimeFormat = Literal["rfc3339", "epoch_s", "epoch_ms", "any"]
RecordField = Literal["key", "timestamp"]

TEXTS: Final = ("messageId", "type", "event", "userId", "anonymousId", "previousId")
TIMES: Final = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
OBJECTS: Final = ("properties", "traits")
CONTEXT: Final = (
    *("context.campaign.source", "context.campaign.medium", "context.campaign.name", "context.page.referrer"),
    *("context.active", "context.backfill"),
)
_CONTROLS: Final = frozenset(str(kind.__struct_config__.tag) for kind in get_args(AnyControl))
_MOST_EVENTS: Final = 10_000
_SECONDS_BELOW: Final = 100_000_000_000  # `any`: a smaller number is seconds; as ms it would be before March 1973
_LATEST: Final = 253_402_300_800_000  # ms: the year 10000, where RFC 3339 ends

Event = dict[str, Any]


class Origin(NamedTuple):
    """Where a message lies, and what its record says besides. `timestamp` in ms."""

    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    timestamp: int | None = None


class _Refused(Exception):
    def __init__(self, why: Rejection) -> None:
        self.why = why


class Source(NamedTuple):
    """Where a field's value comes from: the first path that leads to something, else `default`."""

    name: str
    target: tuple[str, ...]
    paths: tuple[Path, ...]
    record: RecordField | None
    default: Any
    rename: dict[str, str] | None
    cast: Callable[[str, Any], Any] | None


class Mapping(NamedTuple):
    """How messages become events; `pipeline.mapping.reader` makes one, deploy/mappings/ shows what one says."""

    topic: str | None
    columns: tuple[str, ...]
    each: Path | None
    skip: Path | None
    skipped: frozenset[str]
    fields: tuple[Source, ...]

    def map(self, value: bytes | None, origin: Origin) -> list[Event | Rejection] | Rejection:
        """The events of a message, in its order; those that can't be mapped are rejections. None at all if the
        mapping skips it. A rejection instead of a list: the message as a whole can't be read.
        """
        if not value:
            return Rejection("tombstone", "ingest", "the value is empty")
        try:
            root = self._columns(value) if self.columns else decode_foreign(value)
        except DECODE_ERRORS as error:
            # Never the error's text: of a text that is not UTF-8 it quotes bytes.
            return Rejection("malformed_json", "ingest", f"no {'TSV' if self.columns else 'JSON'}: {_short(error)}")
        except _Refused as refused:
            return refused.why
        items: Any = [root]
        if self.each is not None:
            found = self.each.find(root, {})
            items = [root] if found is None else found
            if not isinstance(items, list) or len(items) > _MOST_EVENTS:
                why = f"{self.each.text}: expected a list of at most {_MOST_EVENTS} events"
                return Rejection("wrong_type", "ingest", why)
        known: dict[str, Any] = {}
        mapped: list[Event | Rejection] = []
        for index, item in enumerate(items):
            try:
                event = self._event(root, item, index, origin, known)
            except _Refused as refused:
                told = refused.why
                mapped.append(told if len(items) == 1 else told._replace(message=f"event {index}: {told.message}"))
            else:
                if event is not None:
                    mapped.append(event)
        return mapped

    def _columns(self, value: bytes) -> dict[str, str]:
        cells = value.decode().rstrip("\r\n").split("\t")
        if len(cells) < len(self.columns):  # a later release may add some at the end
            why = f"{len(cells)} columns; at least {len(self.columns)}"
            raise _Refused(Rejection("wrong_type", "ingest", why))
        return dict(zip(self.columns, cells, strict=False))

    def _event(self, root: Any, item: Any, index: int, origin: Origin, known: dict[str, Any]) -> Event | None:
        if self.skip is not None and self.skip.find(root if self.skip.whole else item, known) in self.skipped:
            return None
        if not isinstance(item, dict):
            raise _Refused(Rejection("wrong_type", "ingest", "an event must be an object"))
        event: Event = {}
        for name, target, paths, record, default, rename, cast in self.fields:
            value = None
            for path in paths:
                value = path.find(root if path.whole else item, known)
                if value is not None:
                    break
            if value is None and record is not None:
                value = _of_record(origin, record)
            if value is None:
                value = default
                if value is None:
                    continue
            if rename is not None and isinstance(value, str | int):
                value = rename.get(str(value), value)
            _put(event, target, value if cast is None else cast(name, value))
        _refuse_foreign(event)
        if "messageId" not in event:
            place = f"{origin.topic}\x1f{origin.partition}\x1f{origin.offset}\x1f{index}"
            event["messageId"] = sha256(place.encode()).hexdigest()[:32]
        if origin.timestamp is not None and event.keys().isdisjoint(TIMES):
            event["timestamp"] = rfc3339(origin.timestamp)
        return event


def _put(event: Event, target: tuple[str, ...], value: Any) -> None:
    *above, name = target
    inside = event
    for step in above:
        inside = inside.setdefault(step, {})
    # A copy: the fields of an object that are mapped by themselves are added to it.
    inside[name] = dict(value) if isinstance(value, dict) else value


def _of_record(origin: Origin, field: RecordField) -> Any:
    if field == "timestamp":
        return None if origin.timestamp is None else rfc3339(origin.timestamp)
    try:
        return (origin.key or b"").decode() or None
    except UnicodeDecodeError:
        return None


def _refuse_foreign(event: Event) -> None:
    """What only Rekindle and its operators may say."""
    kind = event.get("type")
    if kind == "delete":
        why = "an erasure from outside; send it to the user topic yourself (rekindle send)"
        raise _Refused(Rejection("foreign_delete", "ingest", why))
    if kind in _CONTROLS:
        raise _Refused(Rejection("forged_control", "ingest", f"a control message ({kind}) from outside"))
    if CONTROL_KEY.decode() in (event.get("userId"), event.get("anonymousId")):
        raise _Refused(Rejection("forged_control", "ingest", "the id is reserved for control messages"))


def _short(error: Exception) -> str:
    return str(error)[:100] if isinstance(error, msgspec.DecodeError) else "not UTF-8, or nested too deeply"


# ---- casts: from whatever was found to what the field takes


def as_text(field: str, value: Any) -> str:
    """An id or a name; a whole number becomes its digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _Refused(Rejection("wrong_type", "ingest", f"{field}: expected a text or a whole number"))


def as_object(field: str, value: Any) -> Event:
    """An object; a text may hold one as JSON."""
    if isinstance(value, str):
        try:
            value = decode_foreign(value.encode())
        except DECODE_ERRORS:
            value = None
    if not isinstance(value, dict):
        raise _Refused(Rejection("wrong_type", "ingest", f"{field}: expected an object"))
    return value


def as_flag(field: str, value: Any) -> bool:
    """True or false."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in known:
        raise _Refused(Rejection("wrong_type", "ingest", f"{field}: expected true or false"))
    return known[str(value).lower()]


def as_time(form: TimeFormat) -> Callable[[str, Any], str]:
    """A cast from this form of a time to RFC 3339."""

    def cast(field: str, value: Any) -> str:
        number: Decimal | None = None
        if form != "rfc3339" and not isinstance(value, bool):
            try:
                number = Decimal(value) if isinstance(value, str | int | Decimal) else None
            except InvalidOperation:
                number = None
        if number is None or not number.is_finite():
            if not isinstance(value, str) or form in ("epoch_s", "epoch_ms"):
                raise _Refused(Rejection("wrong_type", "ingest", f"{field}: expected a time as {form}"))
            return value[:10] + "T" + value[11:] if value[10:11] == " " else value
        seconds = form == "epoch_s" or (form == "any" and abs(number) < _SECONDS_BELOW)
        if not 0 <= number < _LATEST or (seconds and number * 1000 >= _LATEST):
            raise _Refused(Rejection("absurd_time", "ingest", f"{field}: not between 1970 and the year 10000"))
        return rfc3339(int(number * 1000 if seconds else number))

    return cast
