"""The first start beside a product with years of history: nothing is sent for the past.

With half a million users (a minute or two): REKINDLE_USERS=500000 python -m pytest tests/unit/test_first_start.py
"""

import os
from collections import Counter

import pytest

from pipeline.partition import Partition
from tests.builders import POLICY, Entry, Folded, adopt, at, event, log, now, registry

USERS = int(os.environ.get("REKINDLE_USERS", "10000"))
TODAY = 730  # days of history before the first start
RECENT = 100  # one user in so many was last seen 20 days ago: due 10 days after the start, as the policy asks


def history() -> list[Entry]:
    """One event of each user, imported: most were last seen 130 to 730 days ago."""
    found = []
    for n in range(USERS):
        seen = TODAY - 20 if n % RECENT == 0 else n % 600
        found.append(event(at(seen, n % 24), f"u{n}", backfill=True, appended=at(TODAY)))
    return found


@pytest.mark.parametrize("policy_first", [True, False], ids=["policy first", "history first"])
@pytest.mark.timeout(1200)
def test_long_dormant_users_get_nothing_and_those_who_fall_due_later_get_one(policy_first: bool) -> None:
    folded = Folded(Partition(0, 1, registry(POLICY)))
    start = log(now(at(TODAY)), adopt(appended=at(TODAY)) if policy_first else [], history())
    folded.feed(start)
    assert folded.counts["backfilled"] == USERS
    live = [] if policy_first else adopt(appended=at(TODAY, 1))
    nine_days = [now(at(TODAY, hours)) for hours in range(2, 9 * 24, 6)]
    folded.feed(log(live, nine_days, start=len(start)))
    assert not folded.triggers
    assert not folded.decisions

    later = [now(at(TODAY, hours)) for hours in range(9 * 24, 60 * 24, 6)]
    folded.feed(log(later, start=len(start) + len(live if isinstance(live, list) else [live]) + len(nine_days)))
    sent = Counter(trigger["subject"] for trigger in folded.triggers)
    assert sent == Counter(f"u{n}" for n in range(0, USERS, RECENT))
    assert {decision for _, _, decision, _ in folded.decisions} == {"send"}
