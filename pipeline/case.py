"""A case to be decided: one message of one rule, due to one user at a moment."""

from hashlib import sha256

import msgspec

from pipeline.context import Context, Due, RevealedBy, Transition
from pipeline.policy import Step
from pipeline.state import UserState
from pipeline.units import HOUR


class Case(msgspec.Struct, gc=False):
    """`moment`: when it is due, `deadline`: when it first fell due (both real ms); `identity`: its trigger's id."""

    user: str
    state: UserState
    due: Due
    context: Context
    effects: Transition
    revealed_by: RevealedBy
    moment: int
    deadline: int
    step: Step
    identity: str


def case_of(  # noqa: PLR0917 - what a case is made of
    user: str, state: UserState, due: Due, context: Context, effects: Transition, revealed_by: RevealedBy
) -> Case:
    """The case of a due message, with what follows from it."""
    moment = due.at + context.dark * HOUR
    deadline = moment if due.deadline is None else due.deadline
    identity = trigger_id(context.tenant, user, due.rule.id, due.episode, due.step)
    return Case(user, state, due, context, effects, revealed_by, moment, deadline, due.rule.step(due.step), identity)


def trigger_id(tenant: str, user: str, rule: str, episode: int, step: int = 0) -> str:
    """Fixed when the episode opens; independent of the rule's version and of the wall clock."""
    return sha256(f"{tenant}\x1f{user}\x1f{rule}\x1f{episode}\x1f{step}".encode()).digest()[:16].hex()
