"""What `rekindle fit` does once the samples are there: judge the recipe out of time, then fit it on everything."""

from collections.abc import Callable, Sequence

from pipeline.risk.document import AnyModel, Fitted, Span
from pipeline.risk.evaluate import judge, split
from pipeline.risk.learn import eligible
from pipeline.risk.model import Sample


def fit(
    kind: type[AnyModel],
    samples: Sequence[Sample],
    horizon: int,
    data: str,
    done: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """A model for use, fitted on all samples, and its figures out of time.

    Args:
        kind: of `CHURN_MODELS`.
        samples: of `pipeline.samples.collect`.
        horizon: ms.
        data: sha256 (hex) of the history.
        done: told of each step when it is finished.

    Raises:
        TooLittle: the history is too short or too small.
    """
    train, test = split(samples, horizon)
    past = kind.fit(train, horizon)
    done("fitted on the past")
    held_out = judge(past, test)
    done("judged on what followed")
    model = kind.fit(samples, horizon)
    done("fitted on everything")
    return Fitted(model, data, _span(eligible(samples, horizon)), _span(test), held_out)


def _span(samples: Sequence[Sample]) -> Span:
    times = {sample.at for sample in samples}
    users = {sample.user for sample in samples}
    silent = sum(sample.silent for sample in samples)
    return Span(min(times), max(times), len(times), len(samples), len(users), silent / len(samples))
