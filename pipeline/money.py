"""Money: amounts in major units (25.00) become int minor units (2500) by the currency's ISO 4217 exponent, and back for
who reads them.

Decimals and integers only. A fraction of a minor unit is rounded half to even.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Final, Literal

import iso4217
import msgspec

# Withdrawn currencies, so that history (CDNOW is of 1997) stays readable whatever the current table has dropped.
_WITHDRAWN: Final = {
    **dict.fromkeys(
        ("ANG", "ATS", "BEF", "BGN", "CUC", "DEM", "EEK", "FIM", "FRF", "GRD", "HRK", "IEP", "LTL", "LUF"), 2
    ),
    **dict.fromkeys(("LVL", "MRO", "NLG", "PTE", "ROL", "SIT", "SKK", "SLL", "STD", "TRL", "VEF", "ZMK", "ZWL"), 2),
    **dict.fromkeys(("BYR", "ESP", "ITL"), 0),
}

EXPONENTS: Final[Mapping[str, int]] = _WITHDRAWN | {
    entry.code: entry.exponent for entry in iso4217.Currency if entry.exponent is not None
}
"""Currency code -> digits after the point. Codes without minor units (gold, testing, "no currency") are no money."""

MAX_AMOUNT: Final = 1_000_000_000
"""The largest amount that is believed, in major units."""

MoneyReason = Literal["unknown_currency", "negative_amount", "absurd_amount"]

# The precision is the rule: an amount of more than 18 significant digits would be inexact, and that is trapped.
_EXACT: Final = Context(prec=18, rounding=ROUND_HALF_EVEN, traps=[Inexact, InvalidOperation])
_WIDE: Final = Context(prec=64, rounding=ROUND_HALF_EVEN)
_MAX: Final = Decimal(MAX_AMOUNT)


class MoneyError(ValueError):
    """An amount that is no money. `reason` is a stable code; the text holds no data of the user."""

    def __init__(self, reason: MoneyReason, message: str) -> None:
        super().__init__(message)
        self.reason: Final[MoneyReason] = reason


class Currency(msgspec.Struct, frozen=True):
    """The reporting currency, and what one major unit of another is worth in it (EUR: 1.08)."""

    reporting: str = "USD"
    rates: dict[str, Decimal] = {}


def minor_units(amount: Decimal, currency: str) -> int:
    """`amount` in major units -> int minor units: (25.00, "USD") -> 2500, (25, "JPY") -> 25.

    The code may be in any case. Raises MoneyError: `unknown_currency`; `negative_amount`; `absurd_amount` for
    NaN, infinity, more than 1e9 major units or more than 18 significant digits.
    """
    exponent = EXPONENTS.get(currency)
    if exponent is None:
        exponent = EXPONENTS.get(currency.upper())
    if exponent is None:
        raise MoneyError("unknown_currency", "the currency is not an ISO 4217 code such as USD")
    if not amount.is_finite():
        raise MoneyError("absurd_amount", "the amount is not a number")
    if amount < 0:
        raise MoneyError("negative_amount", "the amount is negative")
    if amount > _MAX:
        raise MoneyError("absurd_amount", f"the amount is above {MAX_AMOUNT:,}")
    try:
        scaled = amount.scaleb(exponent, _EXACT)
    except DecimalException:
        raise MoneyError("absurd_amount", "the amount has more than 18 significant digits") from None
    whole = int(scaled)
    return whole if whole == scaled else int(scaled.to_integral_value(ROUND_HALF_EVEN, _WIDE))


def to_reporting(minor: int, currency: str, rates: Currency) -> int | None:
    """Minor units of `currency` -> those of the reporting currency, rounded half to even; None: no rate is declared."""
    if currency == rates.reporting:
        return minor
    currency = currency.upper()
    if currency == rates.reporting:
        return minor
    rate = rates.rates.get(currency)
    if rate is None:
        return None
    worth = _WIDE.multiply(Decimal(minor), rate).scaleb(EXPONENTS[rates.reporting] - EXPONENTS[currency], _WIDE)
    return int(worth.to_integral_value(ROUND_HALF_EVEN, _WIDE))


def major(minor: int, currency: str, sign: str = "") -> str:
    """Minor units for people, in major ones: (123456, "EUR") -> "1,234.56", (1200, "JPY") -> "1,200".

    `sign`: "+" to have one in front of what is not negative, too.
    """
    exponent = EXPONENTS[currency]
    return f"{Decimal(minor).scaleb(-exponent, _WIDE):{sign},.{exponent}f}"


def amount(minor: int, currency: str) -> str:
    """Minor units as an amount with its currency: (123456, "EUR") -> "1,234.56 EUR"."""
    return f"{major(minor, currency)} {currency}"
