"""From a record to an event that may be applied, or the reason why not: the section "Records" of docs/semantics.md."""

from typing import Any, Final, NamedTuple

import msgspec

from pipeline.money import MoneyError, minor_units, to_reporting
from pipeline.policy import Policy
from pipeline.records import LogRecord
from schemas.codec import DECODE_ERRORS, decode_event, decode_feedback, decode_order, decode_products, decode_traits
from schemas.event import (
    FEEDBACK_EVENTS,
    HOPELESS_IDS,
    MAX_BYTES,
    PASSIVE_EVENTS,
    SCHEMA_VERSION,
    UNSUBSCRIBE_EVENTS,
    Event,
    Traits,
    event_time,
)

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
YEAR_1990: Final = 631_152_000_000


class Refused(Exception):
    """A dead letter, by its reason."""


class Admitted(NamedTuple):
    """An event, of whom, when (ms); an order's worth in the reporting currency (None: no order; -1: no rate), items."""

    event: Event
    key: str
    time: int
    order: int | None
    traits: Traits | None
    items: tuple[str, ...] = ()
    ahead: bool = False

    @property
    def feedback(self) -> tuple[str, str] | None:
        """Kind and trigger."""
        kind = FEEDBACK_EVENTS.get(self.event.event or "") if self.event.type == "track" else None
        try:
            told = decode_feedback(self.event.properties) if kind and bytes(self.event.properties) else None
        except DECODE_ERRORS:
            return None
        return (kind, told.trigger_id) if kind and told is not None and told.trigger_id is not None else None

    @property
    def backfill(self) -> bool:
        return self.event.context is not None and self.event.context.backfill

    @property
    def active(self) -> bool:
        event = self.event
        passive = event.type in ("alias", "delete") or (event.type == "track" and event.event in PASSIVE_EVENTS)
        return not passive and not self.ahead and (event.context is None or event.context.active is not False)

    @property
    def unsubscribes(self) -> bool:
        return self.event.type == "track" and self.event.event in UNSUBSCRIBE_EVENTS

    @property
    def withdraws(self) -> bool:
        traits = self.traits
        told = traits is not None and (traits.unsubscribed is True or False in (traits.consent or {}).values())
        return self.unsubscribes or told


def admit(record: LogRecord, policy: Policy, now: int | None, *, live: bool) -> Admitted:
    """`now`: the record's own time (live), or the last tick's; None before the first. Raises Refused."""
    if not record.value:
        raise Refused("tombstone")
    if len(record.value) >= MAX_BYTES:
        raise Refused("too_large")
    if record.key is None:
        raise Refused("null_key")
    try:
        event = decode_event(record.value)
    except msgspec.ValidationError as error:
        raise Refused(
            "unknown_type" if "Invalid enum value" in str(error) and "$.type" in str(error) else "wrong_type"
        ) from None
    except DECODE_ERRORS:
        raise Refused("malformed_json") from None
    key = event.userId if event.userId is not None else event.anonymousId
    if key is None or key in HOPELESS_IDS or not key.strip():
        raise Refused("bad_id")
    if key.encode() != record.key:
        raise Refused("key_mismatch")
    if event.schemaVersion not in (None, SCHEMA_VERSION):
        raise Refused("unknown_version")
    time = event_time(event, record.timestamp if live else None)
    if time is None:
        raise Refused("no_time")
    if time < YEAR_1990:
        raise Refused("absurd_time")
    if event.type == "track" and event.event is None:
        raise Refused("wrong_type")
    order: int | None = None
    traits: Traits | None = None
    items: tuple[str, ...] = ()
    try:
        if event.type == "identify" and bytes(event.traits):
            traits = decode_traits(event.traits)
        if event.type == "track" and event.event in policy.orders:
            order = order_of(event, policy)
            items = items_of(event) if policy.shows_items else ()
    except DECODE_ERRORS:
        raise Refused("wrong_type") from None
    if event.type in ("delete", "alias") and event.userId is None:
        raise Refused("bad_id")
    item = Admitted(event, key, time, order, traits, items)
    if now is None or (time > now + policy.skew + HOUR * (not live) and event.type != "delete" and not item.withdraws):
        raise Refused("time_in_future")
    return item if time <= now + policy.skew + HOUR * (not live) else item._replace(time=now, ahead=True)


def order_of(event: Event, policy: Policy) -> int:
    """The first of its amounts, in minor units of the reporting currency."""
    found: Any = (decode_order(event.properties) if bytes(event.properties) else None) or decode_order(b"{}")
    currency = policy.currency.reporting if found.currency is None else found.currency
    amounts = [amount for amount in (found.revenue, found.total, found.value) if amount is not None]
    try:
        worth = to_reporting(minor_units(amounts[0], currency), currency, policy.currency) if amounts else 0
    except MoneyError as error:
        raise Refused(error.reason) from None
    return -1 if worth is None else worth


def items_of(event: Event) -> tuple[str, ...]:
    """Of the first 32 products, each once."""
    found = decode_order(event.properties) if bytes(event.properties) else None
    products = decode_products(found.products) if found is not None and bytes(found.products) else None
    names = [one.sku if one.product_id is None else one.product_id for one in (products or [])[:32]]
    return tuple(dict.fromkeys(str(name)[:128] for name in names if name is not None and name != ""))
