"""Bytes to messages and back: one decoder and one encoder per message, made once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from schemas.control import AnyControl, Skip
from schemas.event import Event, OrderProperties, Traits

decode_event = msgspec.json.Decoder(Event).decode
decode_control = msgspec.json.Decoder(AnyControl).decode
decode_order = msgspec.json.Decoder(OrderProperties | None).decode
decode_traits = msgspec.json.Decoder(Traits | None).decode
decode_skip = msgspec.json.Decoder(Skip).decode
decode_foreign = msgspec.json.Decoder(float_hook=Decimal).decode  # any JSON; amounts stay as they were written
encode_json = msgspec.json.Encoder(decimal_format="number").encode

# What msgspec raises on bytes that it cannot take; RecursionError is a depth bomb, UnicodeDecodeError bad UTF-8.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds: 0 -> 1970-01-01T00:00:00.000Z."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
