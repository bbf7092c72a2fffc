"""The stocks that a user is counted in: one of each kind at a time, none after the row has gone."""

from pipeline import scores, segments
from pipeline.lifecycle import DORMANT, STAGES, UNSEEN
from pipeline.state import UserState
from pipeline.sums import GROWTH, RISK, STAGE, Fact
from pipeline.sums import growth as grown
from pipeline.sums.population import P_ALIVE_BUCKETS


def move(state: UserState, kind: str, stage: int, time: int, facts: list[Fact]) -> None:
    """To another stage, at `time` (ms)."""
    if state.stage != UNSEEN:
        facts.append((STAGE, (kind, STAGES[state.stage]), 0, -1))
    facts.append((STAGE, (kind, STAGES[stage]), 0, 1))
    state.stage, state.since = stage, time


def rate(state: UserState, bucket: int, facts: list[Fact]) -> None:
    """To another tenth of P(alive)."""
    if bucket != state.risk:
        facts.append((RISK, (P_ALIVE_BUCKETS[state.risk],), 0, -1))
        facts.append((RISK, (P_ALIVE_BUCKETS[bucket],), 0, 1))
        state.risk = bucket


def leave(state: UserState, day: int, facts: list[Fact]) -> None:
    """The row goes: the stocks lose it."""
    if state.stage == UNSEEN:
        return
    scores.lose(state, facts)
    kind = "user" if state.known else "visitor"
    facts.append((STAGE, (kind, STAGES[state.stage]), 0, -1))
    if state.known:
        facts.append((RISK, (P_ALIVE_BUCKETS[state.risk],), 0, -1))
    segments.forget(state, facts)
    if state.stage != DORMANT:
        facts.append((GROWTH, (day, kind), grown.EXPIRED, 1))
