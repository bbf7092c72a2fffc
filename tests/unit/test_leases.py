"""Budgets are leased to slots and never over-spent, whatever the figures are worth."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.leases import grants, next_lease
from pipeline.perks import SLOTS
from pipeline.policy import Perk
from pipeline.sums.base import Dims

COUNT = st.integers(0, 10**7)


@st.composite
def leased(draw: st.DrawFn) -> list[int]:
    """Any lease, also one that another cost has made."""
    some = draw(st.dictionaries(st.integers(0, SLOTS - 1), st.integers(0, 10**5), max_size=20))
    return [some.get(slot, 0) for slot in range(SLOTS)]


@st.composite
def reported(draw: st.DrawFn) -> list[int]:
    """What somebody believes was spent: too little, too much, of another day."""
    base = draw(st.integers(0, 10**5))
    some = draw(st.dictionaries(st.integers(0, SLOTS - 1), st.integers(0, 10**6), max_size=20))
    return [some.get(slot, base) for slot in range(SLOTS)]


@given(st.integers(1, 10**6), COUNT, leased(), reported())
def test_a_lease_only_rises_and_stays_within_the_budget(
    cost: int, budget: int, before: list[int], spent: list[int]
) -> None:
    after = next_lease(Perk("p", cost, budget), before, spent)
    assert all(new >= old for new, old in zip(after, before, strict=True))
    assert sum(after) <= max(budget, sum(before))
    assert all((new - old) % cost == 0 for new, old in zip(after, before, strict=True))


@given(st.integers(1, 400), st.integers(0, 10**6), st.data())
def test_no_slots_overspend_the_budget_by_stale_figures(cost: int, budget: int, data: st.DataObject) -> None:
    """Slots spend what was leased to them; whoever leases sees any earlier picture of it."""
    perk, lease = Perk("p", cost, budget), [0] * SLOTS
    spent = [0] * SLOTS
    pictures = [spent]
    for _ in range(data.draw(st.integers(1, 12))):
        seen = data.draw(st.sampled_from(pictures))
        risen = next_lease(perk, lease, seen)
        assert all(new >= old for new, old in zip(risen, lease, strict=True))
        lease = risen
        share = data.draw(st.sampled_from((0, 1, 2, 4)))
        spent = [max(s, (m * share // 4) // cost * cost) for s, m in zip(spent, lease, strict=True)]
        pictures.append(spent)
        assert sum(spent) <= sum(lease) <= budget


def test_half_goes_to_all_and_then_to_those_who_used_theirs_up() -> None:
    perk = Perk("p", 10, 2 * 256 * 30)
    first = next_lease(perk, [0] * SLOTS, [0] * SLOTS)
    assert first == [30] * SLOTS
    spent = [30 if slot in {7, 9} else 20 for slot in range(SLOTS)]
    second = next_lease(perk, first, spent)
    assert {slot: m for slot, m in enumerate(second) if m != 30} == {7: 30 + 1_920, 9: 30 + 1_920}
    assert next_lease(perk, second, spent) == second  # nobody is short of one


def test_a_slot_that_asks_for_nothing_strands_little() -> None:
    """A budget of fewer perks than twice the slots: the first lease leaves some without; the next gives them one."""
    perk = Perk("p", 10, 5_000)
    first = next_lease(perk, [0] * SLOTS, [0] * SLOTS)
    assert first == [10] * 250 + [0] * 6
    second = next_lease(perk, first, [0] * SLOTS)
    assert second == [10] * SLOTS
    assert next_lease(perk, second, [0] * SLOTS) == second
    third = next_lease(perk, second, [10 if slot == 3 else 0 for slot in range(SLOTS)])
    assert sum(third) - third[3] == 10 * 255
    assert third[3] == 10 + 1_220


def test_all_of_a_budget_can_be_spent() -> None:
    perk, lease = Perk("p", 10, 12_345), [0] * SLOTS
    for _ in range(100):
        lease = next_lease(perk, lease, lease)
    assert sum(lease) == 12_340


def test_a_small_budget_is_leased_in_whole_perks() -> None:
    assert sum(next_lease(Perk("p", 10, 35), [0] * SLOTS, [0] * SLOTS)) == 20
    assert sum(next_lease(Perk("p", 10, 9), [0] * SLOTS, [0] * SLOTS)) == 0


def test_a_budget_that_was_lowered_takes_nothing_back() -> None:
    lease = [30] * SLOTS
    assert next_lease(Perk("p", 10, 100), lease, lease) == lease


def test_what_is_spent_is_read_from_the_sum() -> None:
    cells: dict[tuple[str, Dims], list[int]] = {
        ("perks", ("p", "003")): [20, 2],
        ("perks", ("q", "003")): [9, 9],
        ("growth", (1, "user")): [1],
    }
    [grant] = grants({"p": Perk("p", 10, 20 * 256)}, {"p": [20] * SLOTS, "gone": [1] * SLOTS}, cells).values()
    assert (grant.spent[3], sum(grant.spent), grant.offers, sum(grant.before)) == (20, 20, 2, 20 * 256)
    assert grant.slots == grant.before
