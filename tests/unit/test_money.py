"""Money: exact, in integers, and refused by name."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.money import EXPONENTS, Currency, MoneyError, MoneyReason, amount, major, minor_units, to_reporting


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("25", "USD", 2500),
        ("25.00", "USD", 2500),
        ("25", "JPY", 25),
        ("1.234", "KWD", 1234),
        ("25", "usd", 2500),
        ("0", "USD", 0),
        ("-0", "USD", 0),
        ("0.005", "USD", 0),
        ("0.015", "USD", 2),
        ("2.5", "JPY", 2),
        ("3.5", "JPY", 4),
        ("25.990000000000002", "EUR", 2599),
        ("25.990000000000000000000000000", "EUR", 2599),
        ("1e9", "USD", 100_000_000_000),
        ("1e-300", "USD", 0),
        ("3.99", "DEM", 399),
        ("1999", "BYR", 1999),
    ],
)
def test_minor_units(amount: str, currency: str, minor: int) -> None:
    assert minor_units(Decimal(amount), currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "reason"),
    [
        ("1", "USDT", "unknown_currency"),
        ("1", "", "unknown_currency"),
        ("1", "XXX", "unknown_currency"),
        ("1", "XAU", "unknown_currency"),
        ("NaN", "ZZZ", "unknown_currency"),
        ("-0.01", "USD", "negative_amount"),
        ("-1e99999", "USD", "negative_amount"),
        ("NaN", "USD", "absurd_amount"),
        ("sNaN", "USD", "absurd_amount"),
        ("Infinity", "USD", "absurd_amount"),
        ("-Infinity", "USD", "absurd_amount"),
        ("1000000000.01", "USD", "absurd_amount"),
        ("1e999999", "USD", "absurd_amount"),
        ("1e-999999999", "USD", "absurd_amount"),
        ("1.234567890123456789", "USD", "absurd_amount"),
        ("0.1" + "0" * 60 + "1", "USD", "absurd_amount"),
    ],
)
def test_refused(amount: str, currency: str, reason: MoneyReason) -> None:
    with pytest.raises(MoneyError) as caught:
        minor_units(Decimal(amount), currency)
    assert caught.value.reason == reason
    assert "USDT" not in str(caught.value)  # no data of the user


def test_the_table_knows_the_usual_exponents() -> None:
    assert {code: EXPONENTS[code] for code in ("USD", "EUR", "JPY", "KWD", "CLF", "DEM")} == {
        "USD": 2,
        "EUR": 2,
        "JPY": 0,
        "KWD": 3,
        "CLF": 4,
        "DEM": 2,
    }
    assert all(len(code) == 3 and code.isupper() for code in EXPONENTS)


@given(st.integers(0, 10**11), st.sampled_from(sorted(EXPONENTS)))
def test_minor_units_come_back(minor: int, currency: str) -> None:
    amount = Decimal(minor).scaleb(-EXPONENTS[currency])
    if amount <= 10**9:
        assert minor_units(amount, currency) == minor


@given(st.decimals(), st.text(max_size=4) | st.sampled_from(["USD", "JPY", "KWD"]))
def test_any_amount_is_money_or_refused(amount: Decimal, currency: str) -> None:
    try:
        assert minor_units(amount, currency) >= 0
    except MoneyError as error:
        assert error.reason in {"unknown_currency", "negative_amount", "absurd_amount"}  # noqa: PT017


RATES = Currency("USD", {"EUR": Decimal("1.08"), "JPY": Decimal("0.0065"), "KWD": Decimal("3.25")})


@pytest.mark.parametrize(
    ("minor", "currency", "worth"),
    [
        (2500, "USD", 2500),
        (2500, "usd", 2500),
        (2500, "EUR", 2700),
        (2500, "eur", 2700),
        (1000, "JPY", 650),
        (1234, "KWD", 401),
        (-2500, "EUR", -2700),
        (10**20, "EUR", 108 * 10**18),
        (2500, "GBP", None),
    ],
)
def test_to_reporting(minor: int, currency: str, worth: int | None) -> None:
    assert to_reporting(minor, currency, RATES) == worth


def test_the_threads_decimal_context_changes_nothing() -> None:
    with localcontext(prec=2):
        assert minor_units(Decimal("123456.785"), "USD") == 12_345_678
        assert to_reporting(123_456_789, "EUR", RATES) == 133_333_332


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (12_345, "EUR", "123.45 EUR"),
        (5, "EUR", "0.05 EUR"),
        (0, "USD", "0.00 USD"),
        (1_234_567, "JPY", "1,234,567 JPY"),
        (1_234_567, "KWD", "1,234.567 KWD"),
        (-123_456, "USD", "-1,234.56 USD"),
        (10**20 + 1, "USD", "1,000,000,000,000,000,000.01 USD"),
    ],
)
def test_people_read_major_units_with_their_currency(minor: int, currency: str, shown: str) -> None:
    assert amount(minor, currency) == shown


@given(st.integers(-(10**24), 10**24), st.sampled_from(sorted(EXPONENTS)))
def test_what_is_shown_is_the_amount(minor: int, currency: str) -> None:
    shown = major(minor, currency, "+")
    assert shown[0] == ("-" if minor < 0 else "+")
    assert len(shown.partition(".")[2]) == EXPONENTS[currency]
    assert int(shown.replace(",", "").replace(".", "")) == minor
