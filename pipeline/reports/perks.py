"""Perks: what of each budget was spent, and what is leased to where nobody asks for it."""

from collections.abc import Mapping
from typing import Final

from pipeline.leases import Grant
from pipeline.reports.base import Table, Value, share

PERK_COLUMNS: Final = (
    *("perk", "cost", "budget", "leased", "spent", "offers"),
    *("unused", "stranded", "stranded_share", "slots_without"),
)
PERK_MONEY: Final = ("cost", "budget", "leased", "spent", "unused", "stranded")


def perks_table(grants: Mapping[str, Grant]) -> Table:
    """One row for each perk, as leased in `slots`.

    `unused`: of the budget. `stranded`: what slots hold beyond what they have spent, and nobody else may spend;
    its share is of the budget. `slots_without`: those that can't afford another one.
    """
    rows: list[tuple[Value, ...]] = []
    for name, grant in sorted(grants.items()):
        perk, leased, spent = grant.perk, grant.slots, grant.spent
        stranded = sum(max(0, may - did) for may, did in zip(leased, spent, strict=True))
        without = sum(may - did < perk.cost for may, did in zip(leased, spent, strict=True))
        total = sum(spent)
        rows.append(
            (
                *(name, perk.cost, perk.budget, sum(leased), total, grant.offers),
                *(perk.budget - total, stranded, share(stranded, perk.budget), without),
            )
        )
    return Table(PERK_COLUMNS, rows, PERK_MONEY)
