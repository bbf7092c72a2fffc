"""What a user bought: the section "Orders" of docs/semantics.md, and the items that are shown."""

from tests.reference.person import User
from tests.reference.reading import DAY


def bought(user: User, time: int, worth: int, items: tuple[str, ...]) -> None:
    """An order of a user; `worth` is -1 if it can't be priced."""
    user.orders += 1
    user.spent += max(0, worth)
    day = time // DAY
    number, value = user.order_days.get(day, (0, 0))
    user.order_days[day] = (number + 1, value + max(0, worth))
    latest = max(user.order_days)
    user.order_days = {d: user.order_days[d] for d in sorted(user.order_days) if d > latest - 365}
    if len(user.order_days) > 24:
        (_, first), (day, second), *_ = user.order_days.items()
        merged = {day: (first[0] + second[0], first[1] + second[1])}
        user.order_days = merged | dict(list(user.order_days.items())[2:])
    for item in items:
        times, last = user.items.pop(item, (0, 0))
        if len(user.items) == 8:
            del user.items[min(user.items, key=lambda i: (*user.items[i], i))]
        user.items[item] = (times + 1, max(time, last))


def shown(user: User, most: int) -> list[str]:
    """The last item, then the most frequent ones."""
    if not user.items or not most:
        return []
    last = max(user.items, key=lambda i: (user.items[i][1], user.items[i][0], i))
    others = sorted((i for i in user.items if i != last), key=lambda i: (-user.items[i][0], -user.items[i][1], i))
    return [last, *others][:most]
