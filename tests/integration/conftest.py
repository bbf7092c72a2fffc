"""The oracle after every test that had a deployment on the session's broker."""

import asyncio
from collections.abc import Iterator

import pytest

from agents.exits import Exit, Refusal
from agents.oracle import verify
from agents.settings import load_settings


@pytest.fixture(autouse=True)
def oracle(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once all workers of the test have left: what lies in its topics is what the log leads to, as far as that was
    folded and is still there.

    Left out are tests marked `no_oracle`, which says why, and those without topics or without a broker of the session.
    """
    judged = {"kafka", "prefix"} <= set(request.fixturenames) and not request.node.get_closest_marker("no_oracle")
    if judged:
        broker, prefix = request.getfixturevalue("kafka"), request.getfixturevalue("prefix")
    yield
    if judged:
        try:
            findings = asyncio.run(verify(load_settings(brokers=broker.bootstrap, topic_prefix=prefix), wait=0))
        except Refusal as refusal:
            assert refusal.code == Exit.TOPICS, refusal.line  # noqa: PT017 it made none, or has deleted them
        else:
            wrong = findings.lost + findings.wrong + findings.duplicate + findings.state_errors
            assert not wrong, findings.details
