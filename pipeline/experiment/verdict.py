"""The verdict: what may be said of a recall by now."""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, get_args

from pipeline.experiment.arms import (
    Estimate,
    Stratum,
    comparable,
    holdout_ratio,
    incremental_users,
    incremental_value,
    uplift,
)
from pipeline.experiment.evidence import ALPHA, anytime_p, leaning, ratio_bounds, users_needed

ReportVerdict = Literal["works", "no_effect", "harms", "too_early", "mismatch", "no_holdout"]
VERDICTS: Final[tuple[ReportVerdict, ...]] = get_args(ReportVerdict)

SMALLEST: Final = 0.2
"""The relative lift that is worth finding: with `no_effect`, one of this size would have been found at 80 %."""

MISMATCH: Final = 0.001
"""Arms more unequal than this void whatever else was found (Fabijan et al. 2019)."""


class Finding(NamedTuple):
    """What the counts say.

    `verdict`: mismatch (the arms are not those that were drawn: nothing else counts), no_holdout, works, harms (p
    below 5 %), no_effect (enough came back to find `SMALLEST`), else too_early. `p`: anytime-valid. `ratio`: p1/p0
    that is not ruled out, anytime-valid; None: no upper bound. Estimates are None without both arms. `mismatch`: p of
    the arms' sizes. `needed`: how many users more for `SMALLEST`; None: unknown, as nobody came back.
    """

    verdict: ReportVerdict
    p: float
    ratio: tuple[float, float | None]
    uplift: Estimate | None
    users: Estimate | None
    value: Estimate | None
    mismatch: float
    needed: int | None


def judge(strata: Iterable[Stratum]) -> Finding:
    """Judge one rule, or all together. Empty strata and their order do not matter."""
    drawn = sorted(s for s in strata if s.treated.users or s.holdout.users)
    tested = [s for s in drawn if 0 < s.share < 1]
    p, mismatch = anytime_p(tested), holdout_ratio(tested)
    needed = users_needed(tested, SMALLEST) if tested else None
    verdict: ReportVerdict = "too_early"
    if mismatch < MISMATCH:
        verdict = "mismatch"
    elif not tested:
        verdict = "no_holdout"
    elif p <= ALPHA:
        verdict = "works" if leaning(tested) > 0 else "harms"
    elif needed == 0:
        verdict = "no_effect"
    compared = comparable(tested)
    return Finding(
        verdict,
        p,
        ratio_bounds(tested),
        uplift(compared),
        incremental_users(compared),
        incremental_value(compared),
        mismatch,
        needed,
    )
