"""The budgets of perks. Users fall into 256 slots; a slot spends what was leased to it, and nothing else.

A slot lies in one partition, whatever their number, so what it has spent is known there exactly. Leases come through
the log; as long as they add up to the budget or less, it is never over-spent.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pipeline.sums.base import Dims, Fact
from pipeline.sums.perks import PERKS, SPENT
from schemas.partitioner import partition_of

SLOTS: Final = 256


def slot_of(user: str) -> str:
    """The slot of a user, as it is written in a sum's cell."""
    return f"{partition_of(user.encode(), SLOTS):03d}"


class Purse:
    """What a partition may still spend. `leases`: perk -> by slot, minor units; `cells`: the partition's sums."""

    __slots__ = ("_cells", "leases")

    def __init__(self, leases: Mapping[str, Sequence[int]], cells: Mapping[tuple[str, Dims], Sequence[int]]) -> None:
        self.leases = leases
        self._cells = cells

    def room(self, perk: str, slot: str, facts: Iterable[Fact]) -> int:
        """What the slot has left, given `facts` that are not in the sums yet; 0 without a lease."""
        leased = self.leases.get(perk)
        if leased is None:
            return 0
        spent = self._cells.get((PERKS.name, (perk, slot)), (0,))[SPENT]
        spent += sum(f[3] for f in facts if f[0] is PERKS and f[1] == (perk, slot) and f[2] == SPENT)
        return leased[int(slot)] - spent
