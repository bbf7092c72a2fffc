"""A churn model's calibration renewed on what became of its scores: a line in log-odds over what it foretells.

That is Platt's scaling (Platt 1999), as `pipeline.risk.learn.platt` does it where a model is fitted. All that is known
of the scores are sums by day and band of five percent, so a band's scores count at their mean.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import exp, log
from typing import Final, NamedTuple

from msgspec import structs

from pipeline.reports.base import Cells, Span, cells_of
from pipeline.reports.calibration import LEAST, Bands, Fit, by_model, fit, over, ripe, together
from pipeline.risk.calibration import Calibration
from pipeline.risk.document import AnyModel, Fitted, Renewal
from pipeline.risk.model import TooLittle
from pipeline.sums import CALIBRATION
from pipeline.sums.calibration import CAME, PERCENT, SILENT

FLATTEST: Final = 0.1
"""A line below this slope makes nearly the same risk of all: the model no longer tells who leaves."""

Days = Sequence[tuple[int, Bands]]


class Line(NamedTuple):
    """Log-odds = base + slope · log-odds as foretold."""

    base: float
    slope: float

    def probability(self, p: float) -> float:
        """What is foretold instead of `p`."""
        return 1 / (1 + exp(-self.base - self.slope * log(p / (1 - p))))

    def over(self, calibration: Calibration) -> Calibration:
        """The calibration, and then this line."""
        return Calibration(calibration.scores, tuple(self.base + self.slope * logit for logit in calibration.logits))


class Renewed(NamedTuple):
    """`line`: by all days, and `whole`, the figures of what they foretold; `before` and `after`: those of the later
    half of the scores, as foretold and by a line of the earlier half.
    """

    line: Line
    whole: Fit
    before: Fit
    after: Fit

    @property
    def needed(self) -> bool:
        """Whether there is anything to mend: a line over a model that is calibrated follows chance and season."""
        return self.whole.verdict != "calibrated"

    @property
    def helps(self) -> bool:
        """Whether the line foretells better what it has not seen."""
        return self.after.ece < self.before.ece


def known_days(cells: Cells, version: str) -> Days:
    """The days of a model that are over, in their order. `cells`: of the sum `calibration`; `version`: the beginning of
    the model's hash, as it stands there.
    """
    found = list(cells_of(cells, CALIBRATION, Span()))
    mine = dict(by_model(found)).get(version, [])
    return ripe(mine, over(found))


def renew(days: Days) -> Renewed:
    """The line by days that are over, in their order.

    Raises:
        TooLittle: fewer than `LEAST` scores, or half of them are all alike; or nothing follows what was foretold.
    """
    bands = together(days)
    whole = fit(bands)
    if whole is None or whole.scores < LEAST:
        known = 0 if whole is None else whole.scores
        raise TooLittle(f"{known:,} scores of days that are over are known, at least {LEAST:,} are needed")
    counts = accumulate(_count(each) for _, each in days)
    half = next(number for number, count in enumerate(counts, start=1) if 2 * count >= whole.scores)
    later = together(days[half:])
    before = fit(later)
    if before is None:
        raise TooLittle("nearly all scores are of one day: there are none to judge by")
    after = fit(foretold(later, line(together(days[:half]))))
    assert after is not None  # noqa: S101 of the same scores
    found = line(bands)
    if found.slope < FLATTEST:
        raise TooLittle("what came does not follow what the model foretold, which no calibration mends: fit anew")
    return Renewed(found, whole, before, after)


def renewed(document: AnyModel | Fitted, line: Line, about: Renewal) -> AnyModel | Fitted:
    """The document with the line over its calibration; of a fitted model it also says where that is from."""
    if not isinstance(document, Fitted):
        return document.calibrated(line.over(document.calibration))
    model = document.model
    return structs.replace(document, model=model.calibrated(line.over(model.calibration)), renewed=about)


def line(bands: Bands) -> Line:
    """The likeliest line, by the prior of `platt`. Raises TooLittle: all were silent, or all came."""
    from pipeline.risk.learn import platt_of  # noqa: PLC0415 scipy is no part of a worker

    rows = [cell for cell in bands.values() if cell[SILENT] + cell[CAME]]
    silent, came = [row[SILENT] for row in rows], [row[CAME] for row in rows]
    if not (sum(silent) and sum(came)):
        raise TooLittle(f"all {sum(silent) + sum(came):,} are alike: all silent, or none")
    logits = [log(p / (1 - p)) for p in map(_mean, rows)]
    return Line(*platt_of(logits, silent, came))


def foretold(bands: Bands, line: Line) -> Bands:
    """The same scores, had the line been over them."""
    found = {}
    for band, row in bands.items():
        count = row[SILENT] + row[CAME]
        percent = round(100 * count * line.probability(_mean(row))) if count else 0
        found[band] = [*row[:PERCENT], percent]
    return found


def _count(bands: Bands) -> int:
    return sum(row[SILENT] + row[CAME] for row in bands.values())


def _mean(row: list[int]) -> float:
    """Mean of what was foretold, between 0 and 1: percents are whole, and half of one is the most that they hide."""
    return min(max(row[PERCENT] / 100 / (row[SILENT] + row[CAME]), 0.0025), 0.9975)
