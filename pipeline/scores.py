"""Scores against what followed: when a deadline comes, what the adopted model says is kept, and the truth awaited.

A user has one such score at a time. It costs a wake-up at the end of its horizon, and nothing while no model is
adopted. `pipeline.reports.calibration` reads what became of them.
"""

from pipeline.context import Context
from pipeline.state import Check, UserState
from pipeline.sums import CALIBRATION, Fact
from pipeline.sums.calibration import CAME, LOST, PERCENT, SILENT, TOLD, band_of
from pipeline.units import DAY


def tell(state: UserState, at: int, context: Context, facts: list[Fact]) -> None:
    """Keep what the model says as of effective time `at` (ms) of a user with an active day, unless one waits."""
    model = context.model
    if model is None or state.check is not None:
        return
    risk = model.predict(model.features(state.activity, at))
    check = state.check = Check(context.model_version, round(100 * risk), at, model.horizon)
    facts.append((CALIBRATION, cell_of(check), TOLD, 1))


def hear(state: UserState, time: int, facts: list[Fact]) -> None:
    """The user was active at effective time `time` (ms)."""
    check = state.check
    if check is not None and time > check.at:
        _resolve(state, check, CAME if time <= matures_at(check) else SILENT, facts)


def matures_at(check: Check) -> int:
    """The last moment at which an activity counts, ms of effective time."""
    return check.at + check.horizon


def mature(state: UserState, effective: int, facts: list[Fact]) -> None:
    """All that lies before `effective` (ms) is known."""
    check = state.check
    if check is not None and matures_at(check) < effective:
        _resolve(state, check, SILENT, facts)


def lose(state: UserState, facts: list[Fact]) -> None:
    """The row goes: what followed will not be known."""
    if state.check is not None:
        _resolve(state, state.check, LOST, facts)


def _resolve(state: UserState, check: Check, field: int, facts: list[Fact]) -> None:
    cell = cell_of(check)
    facts.append((CALIBRATION, cell, field, 1))
    if field != LOST:
        facts.append((CALIBRATION, cell, PERCENT, check.percent))
    state.check = None


def cell_of(check: Check) -> tuple[int, str, str]:
    """Where a score counts: the sum's dimensions."""
    return matures_at(check) // DAY, check.model, band_of(check.percent)
