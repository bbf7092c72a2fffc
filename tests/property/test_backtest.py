"""A backtest decides and measures as the replay does."""

from hashlib import sha256

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.replay import read_line, run
from pipeline.backtest import what_if
from pipeline.play import Raw, in_order
from tests.builders import at, event, milliseconds, order
from tests.policies import two_rules
from tests.property.histories import cdnow, needs_cdnow

_TIMES = st.tuples(st.sampled_from("abcd"), st.integers(0, 100), st.booleans())


@settings(max_examples=30)
@given(st.lists(_TIMES, min_size=1, max_size=40), st.sampled_from([0.0, 0.5]))
def test_a_backtest_decides_and_measures_as_the_replay_does(drawn: list[tuple[str, int, bool]], holdout: float) -> None:
    entries = [
        (order if bought else event)(at(day, ord(user) - 97), user, id=str(number))
        for number, (user, day, bought) in enumerate(drawn)
    ]
    agree(in_order([read_line(entry.value or b"") for entry in (*entries, event(at(101), "end"))]), two_rules(holdout))


@needs_cdnow
def test_it_agrees_with_the_replay_on_real_purchases() -> None:
    agree(in_order(cdnow(most=300)), two_rules(0.2))


def agree(history: list[Raw], policy: str) -> None:
    body = policy.encode()
    found = what_if(history, body)
    replayed = run(history, sha256(body).hexdigest(), body)
    decisions = [msgspec.json.decode(line) for line in replayed.outputs["decisions"]]
    named = {
        d["data"]["trigger_id"]: (d["subject"], d["data"]["rule_id"], d["data"]["episode"]["start"]) for d in decisions
    }
    ours = sorted((one.user, one.rule, one.episode, one.verdict, one.reasons) for one in found.considered)
    theirs = [
        (
            d["subject"],
            d["data"]["rule_id"],
            ms(d["data"]["episode"]["start"]),
            d["data"]["decision"],
            d["data"]["reasons"],
        )
        for d in decisions
    ]
    assert ours == sorted(theirs)
    triggers = [msgspec.json.decode(line) for line in replayed.outputs["triggers"]]
    sent = sorted((one.user, one.rule, one.at) for one in found.considered if one.verdict == "send")
    assert sent == sorted((t["subject"], t["data"]["rule_id"], ms(t["time"])) for t in triggers)
    contacts = {
        (one.user, one.rule, one.episode): one for one in found.considered if one.verdict in {"send", "holdout"}
    }
    outcomes = [msgspec.json.decode(line)["data"] for line in replayed.outputs["outcomes"]]
    for outcome in outcomes:
        user, rule, start = named[outcome["trigger_id"]]
        one = contacts.pop((user, rule, ms(start)))
        assert (one.goal_at or None) == (outcome["goal_at"] and ms(outcome["goal_at"]))
    assert all(one.window_end >= found.end and not one.goal_at for one in contacts.values())  # still open


def ms(text: str) -> int:
    found = milliseconds(text)
    assert found is not None
    return found
