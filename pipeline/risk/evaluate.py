"""How good churn models are, out of time: fitted on what had matured before the first test snapshot, judged after it.

Judged are users who were active in the two horizons before a snapshot. Intervals are bootstrapped over users, since a
user stands in several snapshots.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.risk.document import Judgement, Measure
from pipeline.risk.learn import Floats, eligible
from pipeline.risk.model import ChurnModel, Sample, TooLittle

TEST_SHARE: Final = 0.3
"""Of the time that the samples span: what comes last is for the test."""
BINS: Final = 15
_RESAMPLES: Final = 300
_SEED: Final = 1


class Split(NamedTuple):
    """`train` matured before the first snapshot of `test`; train has all users, test those who are judged."""

    train: list[Sample]
    test: list[Sample]


def split(samples: Sequence[Sample], horizon: int, share: float = TEST_SHARE) -> Split:
    """Cut the samples in time; `share`: of their span (the last horizon included) that is for the test.

    Raises:
        TooLittle: no snapshot on one side.
    """
    if not samples:
        raise TooLittle("no snapshot has matured: the history is shorter than the horizon")
    first, last = min(sample.at for sample in samples), max(sample.at for sample in samples)
    cut = min(last, last + horizon - int((last + horizon - first) * share))
    test = [sample for sample in samples if sample.at >= cut]
    begins = min(sample.at for sample in test)
    train = [sample for sample in samples if sample.at + horizon <= begins]
    if not train:
        raise TooLittle(
            "nothing had matured before the test began: the history has to span three horizons or more, or the horizon "
            "has to be shorter"
        )
    return Split(train, eligible(test, horizon))


def judge(model: ChurnModel, test: Sequence[Sample], resamples: int = _RESAMPLES) -> Judgement:
    """A model's figures on samples that it was not fitted on, of at least one silent and one active user."""
    risks = np.array([model.predict(model.features(sample.activity, sample.at)) for sample in test])
    labels = np.array([float(sample.silent) for sample in test])
    order = np.argsort(risks, kind="stable")
    risks, labels = risks[order], labels[order]
    _, users = np.unique(np.array([sample.user for sample in test], dtype=object)[order], return_inverse=True)
    everyone = np.ones(len(risks))
    drawn = [_draw(users, np.random.default_rng((_SEED, number))) for number in range(resamples)]

    def measure(figure: Callable[[Floats, Floats, Floats], float]) -> Measure:
        found = [figure(risks, labels, weights) for weights in drawn]
        low, high = np.nanpercentile(found, (2.5, 97.5))
        return Measure(figure(risks, labels, everyone), float(low), float(high))

    parts = [part for part in np.array_split(np.arange(len(risks)), BINS) if len(part)]
    bins = tuple((float(risks[part].mean()), float(labels[part].mean()), len(part)) for part in parts)
    caught = np.cumsum(labels[::-1]) / labels.sum()
    gains = tuple(float(caught[max(0, len(labels) * percent // 100 - 1)]) for percent in range(5, 101, 5))
    return Judgement(measure(auc), measure(log_loss), measure(ece), measure(lift10), bins, gains)


def evaluate(
    models: Iterable[type[ChurnModel]],
    samples: Sequence[Sample],
    horizon: int,
    done: Callable[[str], None] = lambda _: None,
) -> dict[str, Judgement]:
    """Fit and judge each model, out of time; `done` is told the name of each that is finished.

    Raises:
        TooLittle: see `split` and `ChurnModel.fit`.
    """
    train, test = split(samples, horizon)
    found = {}
    for kind in models:
        found[kind.name] = judge(kind.fit(train, horizon), test)
        done(kind.name)
    return found


# Each of the following takes risks in rising order, the labels and the weights of the samples.


def auc(risks: Floats, labels: Floats, weights: Floats) -> float:
    """P(a silent user's risk is above an active one's), ties counting half; nan if there is but one kind."""
    positive, negative = weights * labels, weights * (1 - labels)
    starts = np.flatnonzero(np.diff(risks, prepend=-1.0))  # of runs of equal risks
    won, lost = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    pairs = won.sum() * lost.sum()
    return float((won * (np.cumsum(lost) - lost / 2)).sum() / pairs) if pairs else float("nan")


def log_loss(risks: Floats, labels: Floats, weights: Floats) -> float:
    """Mean of -log P(what happened)."""
    return float(-np.average(np.log(np.where(labels > 0, risks, 1 - risks)), weights=weights))


def ece(risks: Floats, labels: Floats, weights: Floats) -> float:
    """Expected calibration error: mean |foretold - seen| over bins of equal mass."""
    below = np.cumsum(weights) - weights / 2
    bins = np.minimum((below / weights.sum() * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(bins, weights * (risks - labels), BINS)).sum() / weights.sum())


def lift10(_risks: Floats, labels: Floats, weights: Floats) -> float:
    """Share of silent ones in the tenth of greatest risk, against that of all."""
    above = np.cumsum(weights[::-1])[::-1] - weights
    top = np.clip(weights.sum() / 10 - above, 0, weights)  # what of each sample falls into the tenth
    base = np.average(labels, weights=weights)
    return float(np.average(labels, weights=top) / base) if base else float("nan")


def _draw(users: NDArray[Any], rng: np.random.Generator) -> Floats:
    """Weights of the samples of as many users, drawn with replacement."""
    count = int(users.max()) + 1
    return np.asarray(np.bincount(rng.integers(count, size=count), minlength=count)[users].astype(float))
