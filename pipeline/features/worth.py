"""What a user is expected to bring, and what of it is at stake: the policy's `value` section."""

from functools import cache
from typing import Final

from pipeline.features.base import ACTIVITY, NEVER, Feature, Scene, first_flip, silence_start, whole_hours
from pipeline.features.score import risk
from pipeline.risk import FAR, MbgNbd
from pipeline.state import UserState
from pipeline.units import HOUR
from pipeline.value import at_stake


def _value(state: UserState, at: int, scene: Scene) -> int:
    activity, orders, policy = state.activity, state.orders, scene.policy
    if orders is None or not isinstance(policy.risk, MbgNbd):
        return 0
    lived = activity.last - activity.first
    return policy.value.worth(
        policy.risk,
        days=activity.days,
        lived=lived,
        age=lived + whole_hours(state, at) - silence_start(state),
        orders=orders.count,
        spent=orders.spent,
        currency=policy.currency.reporting,
    )


def _at_stake(state: UserState, at: int, scene: Scene) -> int:
    worth = _value(state, at, scene)
    return at_stake(worth, risk(state, at, scene)) if worth else 0


def _value_falls(state: UserState, at: int, scene: Scene, threshold: float) -> int:
    if _value(state, at, scene) < threshold:
        return NEVER
    return first_flip(lambda moment: _value(state, moment, scene) >= threshold, silence_start(state), at)


def _stake_flips(state: UserState, at: int, scene: Scene, threshold: float) -> int:
    """What is at stake rises with the risk and falls with the value: in a span it lies between the value at its end
    times the risk at its beginning, and the other way round. So a span that can't hold a flip is passed over whole, and
    no peak is missed (with a model whose risk falls by silence, one may be).
    """
    start = silence_start(state)
    now = _at_stake(state, at, scene) >= threshold

    @cache
    def parts(hour: int) -> tuple[int, float]:
        moment = start + hour * HOUR
        return _value(state, moment, scene), risk(state, moment, scene)

    def search(low: int, high: int) -> int | None:
        (worth, p), (later, more) = parts(low), parts(high)
        if (at_stake(later, p) >= threshold) if now else (at_stake(worth, more) < threshold):
            return None
        if high - low == 1:
            return high if (at_stake(later, more) >= threshold) != now else None
        middle = (low + high) // 2
        found = search(low, middle)
        return search(middle, high) if found is None else found

    low, step = max(0, at - start) // HOUR, 1
    while low * HOUR < FAR and (now or parts(low)[0] >= threshold):
        found = search(low, low + step)
        if found is not None:
            return start + found * HOUR
        low, step = low + step, 2 * step
    return NEVER


VALUE: Final = Feature("value", "money", "score", ACTIVITY, _value, _value_falls)
VALUE_AT_STAKE: Final = Feature("value_at_stake", "money", "score", ACTIVITY, _at_stake, _stake_flips)
