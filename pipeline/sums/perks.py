"""Perk x slot: what was reserved for offers, and how many were made. A slot is murmur2(key) mod 256."""

from typing import Final

from pipeline.sums.base import Sum

# spent: minor units of the reporting currency.
PERKS: Final = Sum("perks", ("perk", "slot"), ("spent", "offers"))
SPENT, OFFERS = range(2)
