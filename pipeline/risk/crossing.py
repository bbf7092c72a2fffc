"""When a silent user's risk reaches a threshold."""

from typing import Final

from pipeline.activity import Activity
from pipeline.risk.mbgnbd import FAR
from pipeline.risk.model import ChurnModel
from pipeline.units import HOUR

_GROWTH: Final = 1.3


def crossing(model: ChurnModel, activity: Activity, threshold: float, start: int, floor: int) -> int:
    """The first time from `floor` on at which the model's probability is at least `threshold`, if nothing happens.

    A grid from `start` on, each step 1.3 times as far out as the one before, finds where it is reached; bisection finds
    the hour. With a model that does not promise to rise (`ChurnModel.rises`) a rise that falls back between two grid
    points is passed over, and of several crossings between two one is found; what is returned is still at or above
    the threshold, and was below an hour before. The grid depends on `start` only, so the answer of one silence doesn't
    depend on when it is asked, unless it was reached before `floor`: then it is `floor`.

    Args:
        model: any.
        activity: of a user with at least one active day.
        threshold: a probability.
        start: beginning of the silence, ms of effective time; the answer is `floor`, or whole hours after it.
        floor: ms of effective time; not before `start`.

    Returns:
        ms of effective time, `start + FAR` if it is never reached within `FAR`.
    """

    def reached(at: int) -> bool:
        return model.predict(model.features(activity, at)) >= threshold

    if reached(floor):
        return floor
    below, above, step = floor, 0, 1
    while above <= below or not reached(above):
        below = max(below, above)
        if below - start >= FAR:
            return start + FAR
        above = min(start + step * HOUR, start + FAR)
        step = max(step + 1, int(step * _GROWTH))
    low, high = (below - start) // HOUR, (above - start) // HOUR
    while high - low > 1:
        middle = (low + high) // 2
        if reached(start + middle * HOUR):
            high = middle
        else:
            low = middle
    return start + high * HOUR
