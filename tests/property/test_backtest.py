"""A backtest decides and measures as the replay does."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.replay import read_line, run
from pipeline.backtest import WhatIf, measure, what_if
from pipeline.play import Raw, in_order
from pipeline.policy import parse
from pipeline.reports import Span
from pipeline.reports.recall import EACH_RULE, RECALL
from pipeline.sums.base import Dims
from pipeline.sums.outcomes import ALL_RULES
from pipeline.units import DAY, HOUR, MINUTE
from tests.builders import Entry, at, event, milliseconds, order
from tests.policies import two_rules
from tests.property.histories import cdnow, needs_cdnow
from tests.property.policies import MODELS, POLICIES

_TIMES = st.tuples(st.sampled_from("abcd"), st.integers(0, 100), st.booleans())
_PERKS: Final = re.compile(r"^perks:.*\n|^ +perk: \w+\n|, perk: \w+", re.MULTILINE)
"""No budget is leased to a replay, and none is asked for in a backtest: there the two decide differently."""
_STEPS: Final = (0, 0, 10 * MINUTE, 50 * MINUTE, HOUR, 5 * HOUR, 11 * HOUR, 26 * HOUR, 80 * HOUR)
_KINDS: Final = ("view", "view", "order", "order", "letter", "report", "delete")
_HAPPENED = st.tuples(st.sampled_from("abc"), st.sampled_from(_STEPS), st.sampled_from(_KINDS))


@settings(max_examples=30)
@given(st.lists(_TIMES, min_size=1, max_size=40), st.sampled_from([0.0, 0.5]))
def test_a_backtest_decides_and_measures_as_the_replay_does(drawn: list[tuple[str, int, bool]], holdout: float) -> None:
    entries = [
        (order if bought else event)(at(day, ord(user) - 97), user, id=str(number))
        for number, (user, day, bought) in enumerate(drawn)
    ]
    agree(_read(*entries, event(at(101), "end")), two_rules(holdout))


@given(st.lists(_HAPPENED, min_size=3, max_size=30), st.sampled_from(POLICIES), st.sampled_from(MODELS))
def test_so_it_does_by_segments_and_for_rules_of_every_kind(
    drawn: list[tuple[str, int, str]], policy: str, model: bytes
) -> None:
    entries, time = [], at(0)
    for number, (user, step, kind) in enumerate(drawn):
        time += step
        match kind:
            case "order":
                entries.append(order(time, user, id=str(number)))
            case "letter":
                entries.append(event(time, user, source="newsletter", id=str(number)))
            case "report":
                entries.append(event(time, user, "Email Delivered", id=str(number)))
            case "delete":
                entries.append(event(time, user, kind="delete", id=str(number)))
            case _:
                entries.append(event(time, user, id=str(number)))
    agree(_read(*entries, event(time + 240 * HOUR, "end")), _PERKS.sub("", policy), model)


def _read(*entries: Entry) -> list[Raw]:
    return in_order([read_line(entry.value or b"") for entry in entries])


@needs_cdnow
def test_it_agrees_with_the_replay_on_real_purchases() -> None:
    agree(in_order(cdnow(most=300)), two_rules(0.2))


def agree(history: list[Raw], policy: str, model: bytes | None = None) -> None:
    body = policy.encode()
    found = what_if(history, body, model=model)
    replayed = run(history, sha256(body).hexdigest(), body, model=model)
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
        (one.user, one.rule, one.episode): one
        for one in found.considered
        if one.flags and one.verdict in {"send", "holdout"}
    }
    outcomes = [msgspec.json.decode(line)["data"] for line in replayed.outputs["outcomes"]]
    for outcome in outcomes:
        user, rule, start = named[outcome["trigger_id"]]
        one = contacts.pop((user, rule, ms(start)))
        assert (one.goal_at or None) == (outcome["goal_at"] and ms(outcome["goal_at"]))
        came_back = one.came_back if one.came_back <= one.window_end else 0
        assert (came_back or None) == (outcome["returned_at"] and ms(outcome["returned_at"]))
    still_open = found.end - parse(body).lateness
    erased = {key for raw in history if b'"delete"' in raw.value and (key := raw.key)}
    if not erased:  # whose row is gone may have a first contact again
        _compares_as_the_report_does(found, replayed.partition.cells.values)
    assert all(
        one.window_end >= still_open and not one.goal_at for one in contacts.values() if one.user.encode() not in erased
    )


def _compares_as_the_report_does(found: WhatIf, cells: Mapping[tuple[str, Dims], list[int]]) -> None:
    table = RECALL.make(cells, Span())
    compared = {str(row[0]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    backtest = measure(found, 90 * DAY)
    own = {rule.rule: rule.first_contacts for rule in backtest.rules if rule.mode == "live"}
    own[ALL_RULES if found.policy.holdout else EACH_RULE] = backtest.together
    for rule, row in compared.items():
        assert (own[rule].treated, own[rule].held) == (row["treated"], row["held_out"])


def ms(text: str) -> int:
    found = milliseconds(text)
    assert found is not None
    return found
