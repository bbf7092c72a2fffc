"""What became of a contact: whether the user came back within its goal window, in either arm."""

from functools import lru_cache
from typing import Final

import xxhash

from pipeline.state import MAX_DRAWN, Recall
from pipeline.sums import OUTCOMES, TRIALS, Fact, trials
from pipeline.sums.base import Dims
from pipeline.sums.outcomes import ALL_RULES, DECIDED, MEASURED, PERK_COST, RECALLED, RETURNED, VALUE
from pipeline.units import DAY
from schemas.codec import rfc3339
from schemas.outcome import Outcome, OutcomeData
from schemas.trigger import Arm

_TRIED: Final = {
    DECIDED: trials.USERS,
    MEASURED: trials.MEASURED,
    RETURNED: trials.RETURNED,
    RECALLED: trials.RECALLED,
    VALUE: trials.VALUE,
    PERK_COST: trials.PERK_COST,
}


def arm_name(*, holdout: bool) -> Arm:
    """As it is written."""
    return "holdout" if holdout else "treatment"


def cells(recall: Recall) -> tuple[Dims, ...]:
    """The cells in which the contact is counted: its rule's, and the one over all rules if there is a draw."""
    day = recall.decided_at // DAY
    return _cells(day, recall.rule, recall.stratum, recall.holdout, recall.program, recall.withheld)


@lru_cache(maxsize=1024)  # those of a day recur with every contact
def _cells(  # noqa: PLR0917 - what makes them
    day: int, rule: str, stratum: str, holdout: bool, program: str, withheld: bool
) -> tuple[Dims, ...]:
    own = (day, rule, stratum, arm_name(holdout=holdout))
    return (own, (day, ALL_RULES, program, arm_name(holdout=withheld))) if program else (own,)


def count(recall: Recall, facts: list[Fact], field: int, delta: int = 1) -> None:
    """Add to a field of the contact's cells; a user's first contact is a trial, too."""
    tried = _TRIED.get(field)
    for bit, cell in enumerate(cells(recall)):
        facts.append((OUTCOMES, cell, field, delta))
        if tried is not None and recall.first >> bit & 1:
            facts.append((TRIALS, cell, tried, delta))


def _try(recall: Recall, facts: list[Fact], field: int, delta: int) -> None:
    facts.extend((TRIALS, cell, field, delta) for bit, cell in enumerate(cells(recall)) if recall.first >> bit & 1)


def note_draw(recall: Recall) -> None:
    """Take in whether the contact that begins is the user's first under its rule and salt. Its arms are set.

    Under the same salt another share draws almost the same arms, so that those who had a contact are no new evidence.
    """
    recall.first = 0
    for bit, (_, rule, stratum, _) in enumerate(cells(recall)):
        found = _trial(str(rule), str(stratum))
        if found not in recall.drawn:
            recall.drawn = [*recall.drawn, found][-MAX_DRAWN:]
            recall.first |= 1 << bit


@lru_cache(maxsize=1024)
def _trial(rule: str, stratum: str) -> int:
    return _draw(rule, stratum.partition("/")[2])


def note_reminder(recall: Recall) -> None:
    """Take in that the rule of the contact has begun, under whatever salt, in an episode that comes once in a life."""
    found = _draw(recall.rule, "")
    if found not in recall.drawn:
        recall.drawn = [*recall.drawn, found][-MAX_DRAWN:]


def was_reminded(recall: Recall, rule: str) -> bool:
    """Whether this rule has; of the last `MAX_DRAWN`."""
    return _draw(rule, "") in recall.drawn


def _draw(rule: str, salt: str) -> int:
    return xxhash.xxh32_intdigest(f"{rule}/{salt}".encode())


def note_return(
    recall: Recall, user: str, time: int, event: str | None, facts: list[Fact], *, worth: tuple[int, str] | None
) -> Outcome | None:
    """Activity at `time` (ms) within an open goal window: the outcome, if it is the goal. `worth`: minor units,
    currency.
    """
    if time < recall.decided_at:
        return None
    if not recall.returned_at:
        recall.returned_at = time
    if time <= recall.window_end and recall.goal in {None, event}:
        return close(recall, user, facts, goal_at=time, worth=worth)
    return None


def close(
    recall: Recall, user: str, facts: list[Fact], *, goal_at: int | None = None, worth: tuple[int, str] | None = None
) -> Outcome:
    """Write the outcome of the measured contact and end its window; what was to be sent in it no longer is."""
    count(recall, facts, MEASURED)
    if recall.returned_at:
        count(recall, facts, RETURNED)
    if goal_at is not None:
        count(recall, facts, RECALLED)
        if worth is not None:
            count(recall, facts, VALUE, worth[0])
            if worth[0]:
                _try(recall, facts, trials.PAYERS, 1)
    end = recall.window_end
    recall.window_end = 0
    recall.pending = [p for p in recall.pending if not (p.step and p.rule == recall.rule)]
    return Outcome(
        id=f"{recall.trigger_id}.outcome",
        subject=user,
        time=rfc3339(end if goal_at is None else goal_at),
        partitionkey=user,
        data=OutcomeData(
            trigger_id=recall.trigger_id,
            user=user,
            rule_id=recall.rule,
            rule_version=recall.rule_version,
            arm=arm_name(holdout=recall.holdout),
            recalled=goal_at is not None,
            returned_at=rfc3339(recall.returned_at) if recall.returned_at else None,
            goal_at=None if goal_at is None else rfc3339(goal_at),
            latency=None if goal_at is None else goal_at - recall.decided_at,
            value=None if worth is None else worth[0],
            currency=None if worth is None else worth[1],
            window_end=rfc3339(end),
        ),
    )
