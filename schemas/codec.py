"""Bytes to messages and back: one decoder and one encoder per message, made once."""

from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache

import msgspec

from schemas.control import AnyControl, Lease, Quantiles, Skip
from schemas.event import Event, FeedbackProperties, OrderProperties, Product, Traits

decode_event = msgspec.json.Decoder(Event).decode
decode_control = msgspec.json.Decoder(AnyControl).decode
decode_order = msgspec.json.Decoder(OrderProperties | None).decode
decode_products = msgspec.json.Decoder(list[Product] | None).decode
decode_feedback = msgspec.json.Decoder(FeedbackProperties | None).decode
decode_traits = msgspec.json.Decoder(Traits | None).decode
decode_quantiles = msgspec.json.Decoder(Quantiles).decode
decode_lease = msgspec.json.Decoder(Lease).decode
decode_skip = msgspec.json.Decoder(Skip).decode
decode_foreign = msgspec.json.Decoder(float_hook=Decimal).decode  # any JSON; amounts stay as they were written
_encoder = msgspec.json.Encoder(decimal_format="number")
encode_json = _encoder.encode
encode_json_into = _encoder.encode_into

# What msgspec raises on bytes that it cannot take; RecursionError is a depth bomb, UnicodeDecodeError bad UTF-8.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_EPOCH = date(1970, 1, 1)
_TWO = tuple(f"{n:02}" for n in range(60))
_THREE = tuple(f"{n:03}" for n in range(1000))


@lru_cache(maxsize=4096)
def _day(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()


@lru_cache(maxsize=4096)
def _clock(rest: int) -> str:
    seconds, ms = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_TWO[hour]}:{_TWO[minute]}:{_TWO[second]}.{_THREE[ms]}Z"


def rfc3339(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds: 0 -> 1970-01-01T00:00:00.000Z."""
    day, rest = divmod(ms, 86_400_000)
    return f"{_day(day)}T{_clock(rest)}"  # deadlines lie whole days apart: both halves recur
