"""What a risk costs: the largest model's features and probability, and the hour at which a threshold is reached."""

import random

from benchmarks.measure import Figures, Job, cpu, quiet_collector
from pipeline.activity import Activity, observe
from pipeline.risk import Logistic, MbgNbd, crossing
from pipeline.units import DAY

_START = 20_000 * DAY
_HORIZON = 90 * DAY
# Of a fit on CDNOW, rounded.
_MODEL = Logistic(
    _HORIZON,
    base=1.09,
    means=(-3.62, -1.52, -0.16, 4.03, -0.06, 1.21, 4.99, 1.01),
    weights=(-0.03, 0.44, -1.41, -0.07, 0.26, -0.05, 0.03, 0.33),
    mean_gap=65.4,
    mbg=MbgNbd(0.586, 8.17, 0.523, 1.005),
)


def evaluation(job: Job) -> Figures:
    """`size` users of all kinds, each asked once for the risk at some silence, and once when it reaches .7."""
    rng = random.Random(1)
    asked = [(user, user.last + rng.randrange(200 * DAY)) for user in (_user(rng) for _ in range(job.size))]
    features, predict = _MODEL.features, _MODEL.predict
    quiet_collector()
    began = cpu()
    for user, at in asked:
        predict(features(user, at))
    told = cpu() - began
    began = cpu()
    for user, _ in asked:
        crossing(_MODEL, user, 0.7, user.last, user.last + 7 * DAY)
    found = cpu() - began
    return {"evaluation_us": told / job.size * 1e6, "crossing_us": found / job.size * 1e6}


def _user(rng: random.Random) -> Activity:
    user, day = Activity(), rng.uniform(0, 100)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        observe(user, _START + int(day * DAY), 0)
        day += rng.expovariate(1 / 20)
    return user
