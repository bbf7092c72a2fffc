"""A fitted model as Markdown: where it comes from, how good it is, what it weighs."""

from collections.abc import Iterator, Sequence
from typing import Final

from pipeline.risk.document import AnyModel, Events, Fitted, Judgement, Measure, Span
from pipeline.risk.logistic import Logistic
from pipeline.risk.mbgnbd import MbgNbd
from pipeline.risk.recency import Recency
from pipeline.units import DAY
from schemas.codec import rfc3339

FIGURES: Final = {
    "auc": "AUC",
    "logloss": "log loss",
    "ece": "ECE (15 bins of equal mass)",
    "lift10": "lift in the top 10 %",
}
"""Field of a judgement -> its heading."""
NOTABLE: Final = 0.01
"""Share of refused events from which on it is warned of: a feed loses single events, not one in a hundred."""


def figures(found: Judgement) -> list[tuple[str, str, str]]:
    """Name, value and 95 % interval of each figure, as text."""
    return [(heading, *_shown(getattr(found, field))) for field, heading in FIGURES.items()]


def weights(model: AnyModel) -> list[tuple[str, str, str]]:
    """Feature, weight and mean, as text; empty where there are none."""
    if isinstance(model, Logistic):
        rows = zip(model.feature_names, model.weights, model.means, strict=True)
        return [(code, f"{weight:+.3f}", f"{mean:.3f}") for code, weight, mean in rows]
    if isinstance(model, Recency):
        return [("silence_days", f"{model.weight:+.3f}", f"{model.mean:.3f}")]
    return []


def says(span: Span) -> str:
    """A span in words."""
    days = f"{rfc3339(span.first)[:10]} to {rfc3339(span.last)[:10]}"
    of = f"{span.samples:,} samples of {span.users:,} users, {span.silent:.1%} of them silent afterwards"
    return f"{span.snapshots} snapshots, {days}: {of}"


def says_events(events: Events) -> str:
    """What became of the events, in words."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in events.reasons.items())
    counted = f"{events.read:,} events read: {events.applied:,} applied, {events.duplicate:,} duplicate"
    return f"{counted}, {events.rejected:,} refused" + (f" ({reasons})" if reasons else "")


def warning(events: Events) -> str | None:
    """What to say where many events were refused; None: few were."""
    if events.refused_share < NOTABLE:
        return None
    return f"{events.refused_share:.1%} of the events were refused: nothing was learned from them"


def markdown(fitted: Fitted, digest: str, calibration: str, lift: str, events: Events) -> str:
    """The report. `digest`: the document's hash; `calibration` and `lift`: file names of the pictures."""
    return "\n".join(_lines(fitted, digest, calibration, lift, events)) + "\n"


def _lines(fitted: Fitted, digest: str, calibration: str, lift: str, events: Events) -> Iterator[str]:
    model, found = fitted.model, fitted.held_out
    yield f"# Churn model `{model.name}`: P(no event within {model.horizon / DAY:g} days)"
    yield ""
    yield f"- model `{digest}`"
    yield f"- events `{fitted.data}`"
    yield f"- {says_events(events)}"
    yield f"- trained on {says(fitted.trained)}"
    yield f"- tested on {says(fitted.tested)}; fitted for this test on what had matured before"
    yield ""
    if warned := warning(events):
        yield f"**{warned}.**"
        yield ""
    yield "A sample is a user as of a snapshot, active in the two horizons before. Intervals: bootstrap over users."
    yield ""
    yield from _table(("figure", "held out", "95 %"), figures(found))
    yield ""
    yield f"![calibration]({calibration}) ![lift]({lift})"
    yield ""
    yield from _table(
        ("foretold", "silent", "samples"), [(f"{p:.1%}", f"{seen:.1%}", f"{count:,}") for p, seen, count in found.bins]
    )
    yield ""
    rows = weights(model)
    if rows:
        yield "Log-odds = base + the sum of weight x (feature - mean), then calibrated; the features are logarithms."
        yield ""
        yield f"Base {model.base:+.3f}."
        yield ""
        yield from _table(("feature", "weight", "mean"), rows)
        yield ""
    mbg = getattr(model, "mbg", None)
    if isinstance(mbg, MbgNbd):
        unit = f"{mbg.unit / DAY:g} days"
        yield f"MBG/NBD: r {mbg.r:.4f}, alpha {mbg.alpha:.4f}, a {mbg.a:.4f}, b {mbg.b:.4f}, in units of {unit}."
        yield ""
    knots = zip(model.calibration.scores, model.calibration.logits, strict=True)
    yield "Calibration, log-odds in and out: " + ", ".join(f"{x:+.3f} -> {y:+.3f}" for x, y in knots) + "."


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (headings, ["---"] * len(headings), *rows):
        yield "| " + " | ".join(cells) + " |"


def _shown(measure: Measure) -> tuple[str, str]:
    return f"{measure.value:.3f}", f"{measure.low:.3f} .. {measure.high:.3f}"
