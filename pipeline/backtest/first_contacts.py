"""Users at their first contact under a rule and salt, in both arms: what `report recall` compares, so what a holdout
has to be large enough for. Later contacts of the same users add messages, but no evidence.
"""

from collections.abc import Iterable, Sequence

from pipeline.backtest.figures import FirstContacts
from pipeline.backtest.power import Arms, smallest_uplift
from pipeline.backtest.watch import Considered
from pipeline.policy import Policy
from pipeline.reports.base import share


def of_rule(flags: Iterable[Considered], end: int, holdout: float) -> FirstContacts:
    """Of one rule, by what it flagged in order of time. `end`: of the history, ms; `holdout`: the probability by
    which a rule in shadow would draw.
    """
    return _figures(_by_user(flags), end, holdout, arm_of_all=False)


def together(rules: dict[str, list[Considered]], end: int, policy: Policy) -> FirstContacts:
    """Of all rules, as the report's row over all of them: by the holdout over all rules, if there is one, users at
    their first contact by any rule; else each rule's against its own holdout. Of live rules only, if there are any.
    """
    live = {rule: [one for one in flags if one.arm is not None] for rule, flags in rules.items()}
    found = live if any(live.values()) else rules
    if policy.holdout:
        flags = sorted((one for own in found.values() for one in own), key=lambda one: one.at)
        return _figures(_by_user(flags), end, policy.holdout, arm_of_all=True)
    each = [of_rule(found[rule.id], end, policy.held_out(rule)) for rule in policy.rules]
    measured, reached = sum(one.measured for one in each), sum(one.reached_goal for one in each)
    return FirstContacts(
        treated=sum(one.treated for one in each),
        held=sum(one.held for one in each),
        measured=measured,
        reached_goal=reached,
        base_rate=share(reached, measured),
        uplift=smallest_uplift([_arms(one) for one in each if one.measured]),
    )


def _by_user(flags: Iterable[Considered]) -> list[Considered]:
    first: dict[str, Considered] = {}
    for one in flags:
        first.setdefault(one.user, one)
    return list(first.values())


def _figures(first: Sequence[Considered], end: int, holdout: float, *, arm_of_all: bool) -> FirstContacts:
    # A rule in shadow draws no arms: those that its holdout would give on average.
    drawn = [one for one in first if one.arm is not None]
    held = sum(_is_held(one, arm_of_all=arm_of_all) for one in drawn) + round(holdout * (len(first) - len(drawn)))
    measured = [one for one in first if one.is_measured(end)]
    reached = sum(1 for one in measured if one.goal_at)
    found = FirstContacts(len(first) - held, held, len(measured), reached, share(reached, len(measured)), None)
    if measured:
        found.uplift = smallest_uplift([_arms(found)])
    return found


def _is_held(one: Considered, *, arm_of_all: bool) -> bool:
    return "global_holdout" in one.reasons if arm_of_all else one.arm == "holdout"


def _arms(found: FirstContacts) -> Arms:
    return Arms(found.reached_goal / found.measured, found.treated, found.held)
