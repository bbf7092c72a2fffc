"""What of a perk's budget is leased to which of the 256 slots.

A lease only ever rises, and all of a perk add up to its budget at most, whatever is known of what was spent: so stale
figures make a lease worse placed, never too large. Half of what is left goes out at a time, in whole perks: first to
all slots, then to those that can't afford another one.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.perks import SLOTS
from pipeline.policy import Perk
from pipeline.sums import PERKS
from pipeline.sums.base import Dims
from pipeline.sums.perks import OFFERS, SPENT


class Grant(NamedTuple):
    """Of one perk: what each slot may have spent in all, `before` and now, what each has `spent`, as far as known (all
    in minor units), and how many `offers` that was.
    """

    perk: Perk
    before: Sequence[int]
    slots: Sequence[int]
    spent: Sequence[int]
    offers: int


def grants(
    perks: Mapping[str, Perk],
    leased: Mapping[str, Sequence[int]],
    cells: Mapping[tuple[str, Dims], Sequence[int]],
) -> dict[str, Grant]:
    """Perk of the policy -> its next lease, after the last one and by the sum `perks`."""
    found = {}
    for name, perk in perks.items():
        known = [cells.get((PERKS.name, (name, f"{slot:03d}")), (0, 0)) for slot in range(SLOTS)]
        before = leased.get(name, [0] * SLOTS)
        spent = [cell[SPENT] for cell in known]
        after = next_lease(perk, before, spent)
        found[name] = Grant(perk, before, after, spent, sum(cell[OFFERS] for cell in known))
    return found


def next_lease(perk: Perk, leased: Sequence[int], spent: Sequence[int]) -> list[int]:
    """What each slot may have spent in all from now on: never less than in `leased`, and together the budget at most
    (or what is leased already, if the budget was lowered since).
    """
    after = list(leased)
    left = (perk.budget - sum(leased)) // perk.cost
    needy = [slot for slot in range(len(after)) if leased[slot] - spent[slot] < perk.cost]
    if left <= 0 or not needy:
        return after
    going = -(-left // 2)
    needy.sort(key=lambda slot: -spent[slot])  # where the most is asked for comes first; of equal ones the lower
    each, more = divmod(going, len(needy))
    evenly = -(-going // len(after))
    for rank, slot in enumerate(needy):
        gain = each + (rank < more)
        after[slot] += perk.cost * (gain if spent[slot] else min(gain, evenly))
    return after
