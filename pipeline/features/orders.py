"""What a user bought: in all, and in the last so many UTC days, today among them."""

from typing import Final

from pipeline.features.base import NEVER, ORDER, Feature, Scene, Unit, by_events_only, midnight_after
from pipeline.state import UserState
from pipeline.units import DAY, HOUR

_COUNT, _SPENT = 1, 2


def _window(name: str, unit: Unit, days: int, field: int) -> Feature:
    def value(state: UserState, at: int, scene: Scene) -> int:
        orders = state.orders
        if orders is None:
            return 0
        before = (at + scene.dark * HOUR) // DAY - days
        return sum(entry[field] for entry in orders.recent if entry[0] > before)

    def next_change(state: UserState, at: int, scene: Scene, threshold: float) -> int:
        orders = state.orders
        if orders is None:
            return NEVER
        left = value(state, at, scene)
        if left < threshold:
            return NEVER  # silence brings no orders
        before = (at + scene.dark * HOUR) // DAY - days
        for entry in orders.recent:
            if entry[0] > before:
                left -= entry[field]
                if left < threshold:
                    return midnight_after(entry[0], days, scene)
        return NEVER

    return Feature(name, unit, "window", ORDER, value, next_change)


def _count(state: UserState, at: int, scene: Scene) -> int:  # noqa: ARG001
    return 0 if state.orders is None else state.orders.count


def _spent(state: UserState, at: int, scene: Scene) -> int:  # noqa: ARG001
    return 0 if state.orders is None else state.orders.spent


ORDERS: Final = Feature("orders", "count", "event", ORDER, _count, by_events_only)
SPENT: Final = Feature("spent", "money", "event", ORDER, _spent, by_events_only)
ORDERS_90D: Final = _window("orders_90d", "count", 90, _COUNT)
ORDERS_365D: Final = _window("orders_365d", "count", 365, _COUNT)
VALUE_90D: Final = _window("value_90d", "money", 90, _SPENT)
VALUE_365D: Final = _window("value_365d", "money", 365, _SPENT)
