"""The ready policies under examples/policies: each of their rules decides for the users whom it was written for."""

from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pytest

from pipeline.perks import SLOTS
from pipeline.policy import parse
from pipeline.risk import Recency
from pipeline.units import DAY
from schemas.control import Lease
from tests.builders import (
    Entry,
    Folded,
    adopt_lease,
    adopt_model,
    at,
    event,
    fold,
    history,
    identify,
    milliseconds,
    ticks,
)

FOLDER: Final = Path(__file__).parents[2] / "examples" / "policies"
MODEL: Final = Recency(horizon=7 * DAY, base=0.0, mean=1.0, weight=2.0).to_json()
"""A risk that reaches .7 after three and a half days of silence."""


def bought(day: float, user: str, event_name: str, revenue: float) -> Entry:
    """An order as this product calls it."""
    properties = {"revenue": revenue, "products": [{"product_id": f"p{int(day) % 3}"}]}
    return event(at(day), user, event_name, properties=properties)


def visits(user: str, *days: float) -> list[Entry]:
    return [event(at(day), user, id=f"{user}/{day}") for day in days]


AGREED: Final = {"email": True, "push": True, "newsletter": True}
USERS: Final[dict[str, list[Entry]]] = {
    "shop": [
        *visits("new", 0, 1),
        *(bought(day, "gold", "Order Completed", 200) for day in (0, 10, 20)),
        *(bought(day, "regular", "Order Completed", 20) for day in (0, 7, 14, 21, 28)),
        bought(1, "once", "Order Completed", 20),
        *visits("browser", 2),
    ],
    "game": [
        *visits("new", 0),
        *visits("gone", 0, 0.1),
        *(bought(day, "payer", "Purchase Completed", 5) for day in (0, 1)),
        *visits("daily", *range(15)),
    ],
    "saas": [
        *visits("new", 0, 1),
        bought(0, "big", "Invoice Paid", 20_000),
        bought(0, "heavy", "Invoice Paid", 900),
        *visits("heavy", *(day + 0.1 for day in range(21))),
        *visits("quiet", *range(6)),
    ],
    "media": [
        *visits("new", 0, 0.5),
        *(bought(day, "subscriber", "Subscription Renewed", 9) for day in (0, 1)),
        *visits("fan", *range(11)),
    ],
}


def folded_as(name: str) -> Folded:
    """Four months of the product's users under its policy, with a model and leases, and everybody's consent."""
    text = (FOLDER / f"{name}.yaml").read_text()
    users = sorted({entry.key.decode() for entry in USERS[name] if entry.key})
    asked = [identify(at(0), user, consent=AGREED, active=False) for user in users]
    leased = msgspec.json.encode(Lease({perk: [10_000] * SLOTS for perk in parse(text).perks}))
    known = {f"model/{sha256(MODEL).hexdigest()}": MODEL, f"lease/{sha256(leased).hexdigest()}": leased}
    hours = ticks(at(0), at(120))
    told = sorted([*USERS[name], *hours], key=lambda entry: (entry.appended, not entry.headers))
    return fold(history(adopt_model(MODEL), adopt_lease(leased), asked, told, policy=text), text, extra=known)


@pytest.mark.parametrize("name", sorted(USERS))
def test_every_rule_decides_for_those_whom_it_was_written_for(name: str) -> None:
    folded = folded_as(name)
    assert folded.deadletters == []
    passed = {rule for _, rule, decision, _ in folded.decisions if decision == "shadow"}
    assert passed == {rule.id for rule in parse((FOLDER / f"{name}.yaml").read_bytes()).rules}


def test_a_shop_asks_who_bought_once_for_a_second_order_a_month_later() -> None:
    decided = [message["data"] for message in folded_as("shop").messages("decisions") if message["subject"] == "once"]
    first = next(data for data in decided if data["decision"] == "shadow")
    assert first["rule_id"] == "second-order"
    assert milliseconds(first["episode"]["entered_at"]) == at(31)


def test_there_is_a_test_for_each() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(USERS)


@pytest.mark.parametrize("name", sorted(USERS))
def test_none_of_them_sends_before_somebody_says_live(name: str) -> None:
    policy = parse((FOLDER / f"{name}.yaml").read_bytes())
    assert {rule.mode for rule in policy.rules} == {"shadow"}
    assert any(rule.holdout for rule in policy.rules)
