"""What the doctor says of brokers that can't be had in a test."""

import pytest

from agents.cli.doctor import broker_look


@pytest.mark.parametrize("version", [(3, 9), (4, 2)])
def test_a_broker_that_ends_its_transactions_is_fine(version: tuple[int, ...]) -> None:
    assert broker_look("1 at x:9092", version).status == "ok"


@pytest.mark.parametrize("version", [(4, 3), (4, 4), (5, 0)])
def test_a_broker_that_may_lose_the_ends_of_transactions_is_named(version: tuple[int, ...]) -> None:
    look = broker_look("1 at x:9092", version)
    assert look.status == "note"
    assert "4.3.0, 4.3.1 and 4.4.0" in look.found
