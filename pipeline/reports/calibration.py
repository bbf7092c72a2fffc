"""Calibration: whether what the churn model foretold is what came, by model version.

Read are the scores whose horizon ended on a day that is over: of a later one who came is known already, and who stays
silent is not. A day is over if there are silent ones of a later day, since silence is known at the horizon's end only;
that this depends on another day's users keeps it from choosing among its own. Everything is from bands of five percent.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import pi, sqrt
from typing import Any, Final, NamedTuple

from pipeline.reports.base import Cells, Report, Span, Table, Value, added, cells_of
from pipeline.sums import CALIBRATION as SUM
from pipeline.sums.calibration import BANDS, CAME, LOST, PERCENT, SILENT, TOLD
from pipeline.wording import CALIBRATION as WORDS
from pipeline.wording import Language, words

LEAST: Final = 1_000
"""Scores below which nothing is concluded."""
TOLERATED: Final = 0.05
"""ECE up to which a model is called calibrated; or twice what chance alone makes of so few, if that is more."""

_NOTHING: Final = [0] * len(SUM.fields)
_COLUMNS: Final = (
    *("model", "verdict", "says", "says_zh", "days", "scores", "waiting", "lost"),
    *("foretold", "silent", "ece", "ece_by_chance", "auc"),
)

Bands = dict[str, list[int]]
"""Band -> the fields of the sum."""


class Fit(NamedTuple):
    """`foretold` and `silent` are means over `scores`; `ece`: mean gap between them within a band; `by_chance`: what
    it would be of a model without a fault; `auc`: P(a silent one was told a higher band), ties counting half.
    """

    scores: int
    foretold: float
    silent: float
    ece: float
    by_chance: float
    auc: float | None

    @property
    def verdict(self) -> str:
        """A code of `pipeline.wording.CALIBRATION`."""
        if self.scores < LEAST:
            return "too_early"
        if self.ece <= max(TOLERATED, 2 * self.by_chance):
            return "calibrated"
        gap = self.foretold - self.silent
        if abs(gap) < self.ece / 2:
            return "uneven"
        return "foretells_too_much" if gap > 0 else "foretells_too_little"


def by_model(cells: Iterable[tuple[tuple[str | int, ...], list[int]]]) -> Iterator[tuple[str, list[tuple[int, Bands]]]]:
    """The days of each model, by version and day."""
    found: dict[str, dict[int, Bands]] = {}
    for (day, model, band), values in cells:
        bands = found.setdefault(str(model), {}).setdefault(int(day), {})
        bands[str(band)] = added(bands.get(str(band)), values)
    for model, days in sorted(found.items()):
        yield model, sorted(days.items())


def over(cells: Iterable[tuple[tuple[str | int, ...], list[int]]]) -> int:
    """Days before this one are over, in all partitions that have come so far; 0: none is."""
    return max((int(dims[0]) for dims, cell in cells if cell[SILENT]), default=0)


def ripe(days: Iterable[tuple[int, Bands]], end: int) -> list[tuple[int, Bands]]:
    """Those before `end` (of `over`) of which nothing waits, in a partition that is behind."""
    return [(day, bands) for day, bands in days if day < end and not waiting(bands)]


def waiting(bands: Bands) -> int:
    """Scores of which nobody knows yet."""
    return sum(cell[TOLD] - cell[SILENT] - cell[CAME] - cell[LOST] for cell in bands.values())


def together(days: Iterable[tuple[int, Bands]]) -> Bands:
    """Bands added up over days."""
    whole: Bands = {}
    for _, bands in days:
        for band, values in bands.items():
            whole[band] = added(whole.get(band), values)
    return whole


def fit(bands: Bands) -> Fit | None:
    """The figures of some scores; None: there are none."""
    rows = [bands.get(band, _NOTHING) for band in BANDS]
    scores = sum(row[SILENT] + row[CAME] for row in rows)
    if not scores:
        return None
    silent, came = sum(row[SILENT] for row in rows), sum(row[CAME] for row in rows)
    foretold = sum(row[PERCENT] for row in rows) / 100
    below = [0, *accumulate(row[CAME] for row in rows)]
    won = sum(row[SILENT] * (under + row[CAME] / 2) for row, under in zip(rows, below, strict=False))
    return Fit(
        scores,
        foretold / scores,
        silent / scores,
        sum(abs(row[PERCENT] / 100 - row[SILENT]) for row in rows) / scores,
        sum(map(_chance, rows)) / scores,
        won / (silent * came) if silent * came else None,
    )


def _chance(row: list[int]) -> float:
    """Mean of |foretold - silent| in a band if what was foretold is true: of a normal variable."""
    count = row[SILENT] + row[CAME]
    p = row[PERCENT] / 100 / count if count else 0.0
    return sqrt(2 / pi * count * p * (1 - p))


def says(found: Fit | None, language: Language = "en") -> str:
    """The verdict in words."""
    if found is None:
        return words(WORDS, "nothing_yet", language)
    figures = {
        "ece": _digits(found.ece),
        "foretold": _digits(found.foretold),
        "silent": _digits(found.silent),
        "needed": f"{max(0, LEAST - found.scores):,}",
    }
    return words(WORDS, found.verdict, language, **figures)


def _digits(figure: float) -> str:
    return f"{figure:.3f}".lstrip("0") if figure < 1 else f"{figure:.0f}"


def _make(cells: Cells, span: Span) -> Table:
    rows: list[tuple[Value, ...]] = []
    end = over(cells_of(cells, SUM, Span()))
    for model, days in by_model(cells_of(cells, SUM, span)):
        whole = together(days)
        known = ripe(days, end)
        found = fit(together(known))
        resolved = found or Fit(0, 0.0, 0.0, 0.0, 0.0, None)
        rows.append(
            (
                *(model, resolved.verdict, says(found), says(found, "zh"), len(known), resolved.scores, waiting(whole)),
                sum(cell[LOST] for cell in whole.values()),
                *(_rounded(each) if found else None for each in resolved[1:]),
            )
        )
    return Table(_COLUMNS, rows)


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)


def tell(table: Table, currency: str) -> list[str]:  # noqa: ARG001 a report's; here is no money
    """The table as lines for people: a paragraph by model."""
    if not table.rows:
        return ["no score was told in these days: no churn model is adopted, or nobody has fallen silent since"]
    lines: list[str] = []
    for row in table.rows:
        lines += [*_paragraph(dict(zip(table.columns, row, strict=True))), ""]
    return lines[:-1]


def _paragraph(row: dict[str, Any]) -> list[str]:
    lost = f", {row['lost']:,} lost with their user" if row["lost"] else ""
    plural = "" if row["days"] == 1 else "s"
    lines = [
        f"model {row['model']}",
        f"  {row['says']}",
        f"  scores    {row['scores']:,} resolved, of {row['days']} day{plural}; {row['waiting']:,} wait{lost}",
    ]
    if row["scores"]:
        chance = _digits(row["ece_by_chance"])
        auc = "unknown" if row["auc"] is None else _digits(row["auc"])
        lines += [
            f"  silent    {_digits(row['foretold'])} foretold, {_digits(row['silent'])} seen",
            f"  error     ECE {_digits(row['ece'])}, of which chance alone would make {chance}; AUC {auc}",
        ]
    return lines


CALIBRATION: Final = Report(
    "calibration",
    "whether the churn model's scores are what came, by model version",
    (SUM,),
    _make,
    tell,
)
