"""The user event: Segment Common Spec JSON, as a product backend's SDK already sends it
(https://segment.com/docs/connections/spec/common/).

`properties` and `traits` stay undecoded until a reader needs them: they are free-form, and a wrong type in a field that
nobody reads must not cost the event.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec

SCHEMA_VERSION: Final = 1
MAX_BYTES: Final = (
    1_000_000  # a larger value is a dead letter: it would not fit a broker's default message size once wrapped
)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
EventType = Literal["track", "identify", "page", "screen", "group", "alias", "delete"]

# What a broken SDK or template sends when it has no id. All such "users" would share one row.
HOPELESS_IDS: Final = frozenset({"", "null", "undefined", "0", "[object Object]", "None", "NaN"})

# Track calls that systems make about a user. They are no activity: a delivered e-mail must not make its reader
# "active".
PASSIVE_EVENTS: Final = frozenset(
    {
        "Message Sent",
        "Message Failed",
        "Email Sent",
        "Email Delivered",
        "Email Opened",
        "Email Bounced",
        "Email Marked as Spam",
        "Push Notification Sent",
        "Push Notification Received",
        "Push Notification Bounced",
        "Unsubscribed",
        "Email Unsubscribed",
    }
)
# What is reported of a message that was sent for a trigger (`properties.trigger_id`), by Segment's names.
FEEDBACK_EVENTS: Final = {
    "Message Sent": "sent",
    "Email Sent": "sent",
    "Push Notification Sent": "sent",
    "Email Delivered": "delivered",
    "Push Notification Received": "delivered",
    "Email Opened": "delivered",
    "Email Link Clicked": "clicked",
    "Push Notification Tapped": "clicked",
    "Email Bounced": "bounced",
    "Push Notification Bounced": "bounced",
    "Message Failed": "failed",
}
UNSUBSCRIBE_EVENTS: Final = frozenset({"Unsubscribed", "Email Unsubscribed", "Email Marked as Spam"})


class Campaign(msgspec.Struct, gc=False):
    """`context.campaign`: the UTM parameters of the visit."""

    source: str | None = None
    medium: str | None = None
    name: str | None = None


class Page(msgspec.Struct, gc=False):
    """`context.page`."""

    referrer: str | None = None


class Context(msgspec.Struct, gc=False):
    """`context`: `active: false` marks a call that only updates traits; `backfill` marks imported history."""

    campaign: Campaign | None = None
    page: Page | None = None
    backfill: bool = False
    active: bool | None = None


class Event(msgspec.Struct, gc=False):
    """One user event. Times are RFC 3339; one without an offset is read as UTC."""

    messageId: Name
    type: EventType
    event: Name | None = None
    userId: Name | None = None
    anonymousId: Name | None = None
    previousId: Name | None = None
    timestamp: datetime | None = None
    originalTimestamp: datetime | None = None
    sentAt: datetime | None = None
    receivedAt: datetime | None = None
    context: Context | None = None
    properties: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    traits: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    schemaVersion: int | None = None


class OrderProperties(msgspec.Struct):
    """`properties` of an order event; amounts in major units, a JSON number or a string, decoded exactly."""

    order_id: str | int | None = None
    revenue: Decimal | None = None
    total: Decimal | None = None
    value: Decimal | None = None
    currency: str | None = None
    products: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class Product(msgspec.Struct):
    """One of `properties.products`; its id is the first that is given."""

    product_id: str | int | None = None
    sku: str | int | None = None


class FeedbackProperties(msgspec.Struct):
    """`properties` of an event that reports on a message."""

    trigger_id: str | None = None


class FirstTouch(msgspec.Struct):
    """`traits.first_touch`: how the anonymous visitor came before they signed up."""

    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    referrer: str | None = None


class Traits(msgspec.Struct):
    """`traits` of an identify call, as far as Rekindle reads them. `consent` is by channel; false withdraws it."""

    timezone: str | None = None
    locale: str | None = None
    consent: dict[str, bool] | None = None
    unsubscribed: bool | None = None
    first_touch: FirstTouch | None = None


# A device clock that is off by more than this is corrected by the server's: below it, network delay is all one would
# "correct".
SKEW_THRESHOLD_MS: Final = 60_000


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC; a naive time is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def event_time(event: Event, recorded: int | None) -> int | None:
    """When the event happened, in ms: `timestamp`, else the device's time corrected by the server's, else `recorded`.

    Source: Segment's rule timestamp = receivedAt - (sentAt - originalTimestamp), applied above `SKEW_THRESHOLD_MS`
    only.
    """
    if event.timestamp is not None:
        return milliseconds(event.timestamp)
    if event.originalTimestamp is not None:
        original = milliseconds(event.originalTimestamp)
        if event.sentAt is not None and event.receivedAt is not None:
            skew = milliseconds(event.receivedAt) - milliseconds(event.sentAt)
            if abs(skew) > SKEW_THRESHOLD_MS:
                return original + skew
        return original
    if event.receivedAt is not None:
        return milliseconds(event.receivedAt)
    if event.sentAt is not None:
        return milliseconds(event.sentAt)
    return recorded
