"""The orders section of a user's row: how many, for how much, when, and of what. O(1) per order, bounded."""

from collections.abc import Iterable
from typing import Final

from pipeline.state import MAX_ITEMS, MAX_ORDER_DAYS, Orders
from pipeline.units import DAY

WINDOW_DAYS: Final = 365


def buy(orders: Orders, time: int, worth: int | None, items: Iterable[str]) -> None:
    """Record an order at `time` (ms), in any order of time. `worth`: minor units of the reporting currency, None: no
    rate; `items`: ids.
    """
    orders.count += 1
    orders.spent += worth or 0
    _date(orders, time // DAY, worth or 0)
    for item in items:
        _count(orders, item, time)


def shown(orders: Orders | None, most: int) -> list[str]:
    """Up to `most` items: the last one bought, then the most frequent, the later one of equals first."""
    if orders is None or not orders.items or not most:
        return []
    last = max(orders.items, key=lambda item: (item[2], item[1], item[0]))
    others = sorted((i for i in orders.items if i is not last), key=lambda item: (-item[1], -item[2], item[0]))
    return [last[0], *(item[0] for item in others)][:most]


def _date(orders: Orders, day: int, worth: int) -> None:
    recent = orders.recent
    newest = max(day, recent[-1][0]) if recent else day
    if day <= newest - WINDOW_DAYS:
        return
    for place, (known, count, spent) in enumerate(recent):
        if known == day:
            recent[place] = (day, count + 1, spent + worth)
            break
        if known > day:
            recent.insert(place, (day, 1, worth))
            break
    else:
        recent.append((day, 1, worth))
    while recent[0][0] <= newest - WINDOW_DAYS:
        del recent[0]
    if len(recent) > MAX_ORDER_DAYS:
        (_, count, spent), (later, more, plus) = recent[:2]
        recent[:2] = [(later, count + more, spent + plus)]


def _count(orders: Orders, item: str, time: int) -> None:
    items = orders.items
    for place, (known, times, last) in enumerate(items):
        if known == item:
            items[place] = (item, times + 1, max(last, time))
            return
    if len(items) == MAX_ITEMS:
        items.remove(min(items, key=lambda kept: (kept[1], kept[2], kept[0])))
    items.append((item, 1, time))
