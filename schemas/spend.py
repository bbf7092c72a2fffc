"""Channel spend, own topic: what a channel cost on a day; a later revision replaces an earlier one."""

from decimal import Decimal
from typing import Annotated

import msgspec


class Spend(msgspec.Struct):
    """`date` is an ISO day (UTC); `amount` in major units."""

    channel: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    date: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    amount: Decimal
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    revision: int = 0
