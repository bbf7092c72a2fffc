"""From a record to something that happened to a user, or to a dead letter. What depends on the record alone is
checked here; what depends on the partition's clock and on the user is checked in `Partition.fold`.
"""

from typing import Final, NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec

from pipeline.contacts import Feedback
from pipeline.dedupe import digest_of
from pipeline.happening import Happening, Order
from pipeline.money import MoneyError, minor_units, to_reporting
from pipeline.policy import Policy, channel_of
from pipeline.records import Record
from pipeline.units import DAY
from schemas.codec import DECODE_ERRORS, decode_event, decode_feedback, decode_order, decode_products, decode_traits
from schemas.deadletter import DeadLetterReason, Stage
from schemas.event import (
    FEEDBACK_EVENTS,
    HOPELESS_IDS,
    MAX_BYTES,
    PASSIVE_EVENTS,
    SCHEMA_VERSION,
    Event,
    EventType,
    OrderProperties,
    event_time,
)

EARLIEST: Final = 7305 * DAY  # 1990-01-01: no product's event is older
_CACHED_CHANNELS: Final = 10_000
_ORDER_ITEMS: Final = 32
_ID: Final = 128  # characters; a longer id of an item is none
_UNTOLD: Final = OrderProperties()
_KINDS: Final = ", ".join(get_args(EventType))


class Rejection(NamedTuple):
    """Why a record is a dead letter. `message` holds no user data."""

    reason: DeadLetterReason
    stage: Stage
    message: str


class Channels:
    """Channel names by what a visit says of itself; remembers what it has resolved, within a bound."""

    __slots__ = ("_known", "_policy")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._known: dict[tuple[str | None, str | None, str | None, str | None], str | None] = {}

    def resolve(self, source: str | None, medium: str | None, name: str | None, referrer: str | None) -> str | None:
        """The channel; None if the visit names neither a campaign nor a referrer."""
        if not (source or medium or name or referrer):
            return None
        visit = (source, medium, name, referrer)
        if visit not in self._known:
            if len(self._known) >= _CACHED_CHANNELS:
                self._known.clear()
            self._known[visit] = channel_of(self._policy, source, medium, name, _host(referrer))
        return self._known[visit]


def _host(referrer: str | None) -> str | None:
    try:
        return urlsplit(referrer).hostname if referrer else None
    except ValueError:  # a malformed address is no reason to lose the visit
        return None


def admit(record: Record, policy: Policy, channels: Channels, recorded: int | None) -> Happening | Rejection:
    """Decode and validate one record. `recorded` is the time to assume for an event without one (ms), None if there
    is none.
    """
    value, key = record.value, record.key
    if not value:
        return Rejection("tombstone", "decode", "the value is empty; to erase a user send an event of type delete")
    if len(value) >= MAX_BYTES:
        return Rejection("too_large", "decode", f"{len(value)} bytes; at most {MAX_BYTES - 1}")
    if key is None:
        return Rejection("null_key", "validate", "the record has no key; it must be the userId, else the anonymousId")
    try:
        event = decode_event(value)
    except DECODE_ERRORS as error:
        return _undecodable(error)
    user = event.userId
    known = user is not None
    if user is None:
        user = event.anonymousId
        if user is None:
            return Rejection("bad_id", "validate", "neither userId nor anonymousId")
    if user in HOPELESS_IDS or not user.strip():
        return Rejection("bad_id", "validate", "an id that stands for no id, such as an empty one, null or undefined")
    if key != user.encode():
        return Rejection("key_mismatch", "validate", "the key is not the userId (else anonymousId) of the body")
    if event.schemaVersion is not None and not 1 <= event.schemaVersion <= SCHEMA_VERSION:
        return Rejection("unknown_version", "validate", f"schemaVersion {event.schemaVersion}; known: {SCHEMA_VERSION}")
    time = event_time(event, recorded)
    if time is None:
        return Rejection("no_time", "validate", "no timestamp, and in played time the record's own means nothing")
    if time < EARLIEST:
        return Rejection("absurd_time", "time", "before 1990")
    kind, name = event.type, event.event
    happening = Happening(user, key, known, time, kind, name, event.messageId, digest_of(event.messageId), True)
    if kind == "track":
        if name is None:
            return Rejection("wrong_type", "validate", "a track call needs `event`")
        if name in FEEDBACK_EVENTS:
            happening.feedback = _feedback(event, FEEDBACK_EVENTS[name])
        if name in PASSIVE_EVENTS:
            happening.active = False
        elif name in policy.orders:
            order = _order(event, policy)
            if isinstance(order, Rejection):
                return order
            happening.order = order
    elif kind == "identify":
        if event.traits:
            try:
                happening.traits = decode_traits(event.traits)
            except DECODE_ERRORS as error:
                return _undecodable(error, "traits")
            touch = happening.traits.first_touch if happening.traits is not None else None
            if touch is not None:
                happening.first_channel = channels.resolve(touch.source, touch.medium, touch.campaign, touch.referrer)
    elif kind in {"delete", "alias"}:
        happening.active = False
        if not known:
            return Rejection("bad_id", "validate", f"a {kind} needs a userId")
    context = event.context
    if context is not None:
        happening.backfill = context.backfill
        if context.active is False:
            happening.active = False
        campaign = context.campaign
        referrer = context.page.referrer if context.page is not None else None
        if campaign is not None:
            happening.channel = channels.resolve(campaign.source, campaign.medium, campaign.name, referrer)
        elif referrer:
            happening.channel = channels.resolve(None, None, None, referrer)
    return happening


def _order(event: Event, policy: Policy) -> Order | Rejection:
    try:
        properties = (decode_order(event.properties) if event.properties else None) or _UNTOLD
    except DECODE_ERRORS as error:
        return _undecodable(error, "properties")
    amount = properties.revenue
    if amount is None:
        amount = properties.total if properties.total is not None else properties.value
    named = properties.currency
    currency = (policy.currency.reporting if named is None else named).upper()
    items = _items(properties.products) if policy.shows_items else ()
    if amount is None:
        return Order(0, currency, 0, items)
    try:
        minor = minor_units(amount, currency)
        return Order(minor, currency, to_reporting(minor, currency, policy.currency), items)
    except MoneyError as error:
        return Rejection(error.reason, "validate", str(error))


def _items(products: msgspec.Raw) -> tuple[str, ...]:
    """The ids of an order's products. Whoever lists them otherwise has no items, but has bought."""
    try:
        found = (decode_products(products) if products else None) or []
    except DECODE_ERRORS:
        return ()
    ids = [product.product_id if product.product_id is not None else product.sku for product in found]
    return tuple(dict.fromkeys(str(item) for item in ids[:_ORDER_ITEMS] if item is not None and len(str(item)) <= _ID))


def _feedback(event: Event, kind: str) -> Feedback | None:
    """What is reported, if it says of which message."""
    try:
        properties = decode_feedback(event.properties) if event.properties else None
    except DECODE_ERRORS:
        return None
    return Feedback(kind, properties.trigger_id) if properties is not None and properties.trigger_id else None


def _undecodable(error: Exception, where: str = "event") -> Rejection:
    if isinstance(error, msgspec.ValidationError):
        reason: DeadLetterReason = (
            "unknown_type" if where == "event" and str(error).endswith("`$.type`") else "wrong_type"
        )
        text = str(error)  # names the field and what was expected there; of an enum it quotes what was found instead
        if text.startswith("Invalid enum value"):
            text = f"Expected one of {_KINDS} - at {text.rsplit(' - at ', 1)[-1]}"
        return Rejection(reason, "decode", f"{where}: {text}")
    if isinstance(error, RecursionError):
        return Rejection("malformed_json", "decode", f"{where}: nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return Rejection("malformed_json", "decode", f"{where}: not UTF-8")
    return Rejection("malformed_json", "decode", f"{where}: {error}")
