"""Reading control messages: what is one, what only pretends to be."""

from typing import Final

from pipeline.admission import EARLIEST, Rejection
from pipeline.position import Position
from pipeline.records import Record
from schemas.codec import DECODE_ERRORS, decode_control
from schemas.control import CONTROL_HEADER, CONTROL_KEY, AnyControl, Domain, Tick

LATEST_TICK: Final = 7_258_118_400_000  # ms, 2200-01-01: the fold closes every hour up to a tick, one by one


def is_control(record: Record) -> bool:
    """Whether the record claims to be a control message."""
    return record.key == CONTROL_KEY or (bool(record.headers) and any(h[0] == CONTROL_HEADER for h in record.headers))


def read_control(record: Record, position: Position) -> AnyControl | Rejection:
    """The message, if it may stand at this position of the log."""
    kinds = [value for name, value in record.headers if name == CONTROL_HEADER]
    if record.key != CONTROL_KEY or len(kinds) != 1:
        why = "a control message needs the reserved key and one reserved header"
        return Rejection("forged_control", "control", why)
    try:
        message: AnyControl = decode_control(record.value or b"")
    except DECODE_ERRORS:
        return Rejection("bad_control", "control", "the body is no control message")
    if kinds[0].decode(errors="replace") != message.__struct_config__.tag:
        return Rejection("bad_control", "control", "header and body name different kinds")
    if isinstance(message, Tick) and (message.time is None) != (position.domain == "live"):
        return Rejection("forged_control", "control", f"a tick of another time domain than {position.domain}")
    if isinstance(message, Tick) and message.time is not None and not EARLIEST <= message.time < LATEST_TICK:
        return Rejection("bad_control", "control", "a tick before 1990 or after 2199")
    if isinstance(message, Domain) and position.counts.read + position.counts.control:
        why = "only the first record of a partition may declare its time domain"
        return Rejection("bad_control", "control", why)
    return message
