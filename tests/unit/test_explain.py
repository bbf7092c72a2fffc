"""Why, in words. That it is what will be decided is in tests/property/test_explain.py."""

from typing import Any

import msgspec
import pytest

from pipeline.explain import context_of, explain
from pipeline.outlook import Outlook
from pipeline.risk import Recency
from pipeline.sentences import sentence
from pipeline.units import DAY
from pipeline.wording import Language
from schemas.trigger import Gate
from tests.builders import (
    POLICY,
    Entry,
    adopt,
    adopt_model,
    at,
    event,
    fold,
    history,
    hold,
    identify,
    log,
    models,
    order,
    pause,
    tick,
    ticks,
)

TWO = (
    POLICY + "  - {id: regulars, when: {p_alive_below: 0.5, min_silence: 7d, min_active_days: 3}, goal: {within: 7d}}\n"
)


def outlook(
    *entries: Entry | list[Entry],
    policy: str = POLICY,
    as_of: int | None = None,
    user: str = "ann",
    language: Language = "en",
) -> Outlook:
    folded = fold(history(*entries, policy=policy), policy)
    partition = folded.partition
    context = context_of(partition.position, partition.guard, partition.policy, "default")
    return explain(user, folded.users[user], context, as_of, held=partition.guard.held, language=language)


def words(found: list[Any]) -> list[str]:
    return [gate.words for gate in found if not gate.passed]


def test_a_user_who_was_here_is_told_when_the_rule_falls_due() -> None:
    found = outlook(event(at(0)), ticks(at(1), at(10)))
    [rule] = found.rules
    assert found.summary == "if silence goes on, silent sends for the deadline 2024-01-31T00:00:00.000Z"
    assert (rule.status, rule.deadline, rule.foretold) == ("pending", "2024-01-31T00:00:00.000Z", "send")
    assert rule.decided_from == "2024-01-31T02:00:00.000Z"
    assert words(rule.now) == ["only silent for 9.96 days, the rule asks for 30"]
    assert words(rule.then) == []
    assert rule.why_not == []
    assert found.next is not None
    assert (found.next.what, found.next.at) == ("at_risk", "2024-01-15T00:00:00.000Z")


def test_whoever_was_here_a_moment_ahead_of_the_clock_is_not_silent() -> None:
    assert outlook(event(at(0, 1)), as_of=at(0)).silent_days == 0


def test_as_of_moves_the_risk_and_the_gates_but_not_the_deadline() -> None:
    early, late = (outlook(event(at(0)), ticks(at(1), at(2)), as_of=at(day)) for day in (2, 60))
    assert early.risk is not None
    assert late.risk is not None
    assert late.risk.p_alive < early.risk.p_alive
    assert late.risk.p_none > early.risk.p_none
    assert early.rules[0].deadline == late.rules[0].deadline
    assert words(late.rules[0].now) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([identify(at(1), unsubscribed=True, active=False)], ["unsubscribed"]),
        ([identify(at(1), consent={"email": False}, active=False)], ["no consent to email"]),
        ([pause()], ["sending is paused (rekindle resume)"]),
    ],
)
def test_what_stands_in_the_way_is_said(more: list[Entry], said: list[str]) -> None:
    found = outlook(event(at(0)), tick(at(1)), more, ticks(at(1), at(2)))
    assert found.fires_at is None
    assert found.rules[0].foretold == "suppressed"
    assert found.rules[0].why_not == said
    assert found.summary == f"if silence goes on, silent decides: suppressed: {said[0]}"


def test_one_day_tells_too_little_about_a_habit() -> None:
    found = outlook(event(at(0)), ticks(at(1), at(2)), policy=TWO)
    rule = found.rules[1]
    assert (rule.status, rule.deadline) == ("no_deadline", None)
    assert rule.why_not == ["only 1 active day, the rule asks for 3"]


def test_a_second_rule_finds_the_silence_taken() -> None:
    found = outlook(
        [entry for day in range(5) for entry in (tick(at(day)), event(at(day)))], ticks(at(5), at(6)), policy=TWO
    )
    taken = [rule for rule in found.rules if rule.foretold == "episode_taken"]
    assert [rule.why_not[0] for rule in taken] == ["another rule has this silence (one trigger per episode)"]


def test_after_the_trigger_nothing_more_is_due_and_after_a_return_the_cooldown_counts() -> None:
    found = outlook(event(at(0)), ticks(at(1), at(33)))
    assert found.rules[0].status == "settled"
    assert found.summary == "nothing more falls due in this silence"
    back = POLICY.replace("cooldown: 10d", "cooldown: 60d")
    found = outlook(event(at(0)), ticks(at(1), at(33)), event(at(33)), ticks(at(34), at(35)), policy=back)
    assert found.rules[0].why_not == [
        "it could not be sent before it expired",
        "only 36 days since the last contact, the next may come after 60",
    ]


def test_shadow_and_holdout_and_hold_are_said() -> None:
    shadow = outlook(event(at(0)), ticks(at(1), at(2)), policy=POLICY.replace("mode: live", "mode: shadow"))
    assert shadow.rules[0].why_not == ["the rule is in shadow (decisions are written, nothing is sent)"]
    nearly_all = POLICY.replace("holdout: 0", "holdout: 0.999999")
    held_out = outlook(event(at(0)), ticks(at(1), at(2)), policy=nearly_all)
    assert held_out.rules[0].foretold == "holdout"
    assert held_out.rules[0].why_not == ["in the rule's own holdout"]
    everybody = POLICY.replace("rules:", "holdout: 0.999999\nrules:")
    held_out = outlook(event(at(0)), ticks(at(1), at(2)), policy=everybody)
    assert held_out.summary == (
        "if silence goes on, silent decides: held out (measured, not sent to): in the holdout over all rules"
    )
    held = outlook(event(at(0)), hold(), ticks(at(1), at(2)))
    assert held.summary == "the source is held: silence does not count until it is released"


def test_in_chinese_the_same_is_said() -> None:
    told = [event(at(0)), tick(at(1)), pause(), ticks(at(1), at(2))]
    english, chinese = (outlook(*told, language=language) for language in ("en", "zh"))
    assert chinese.summary == "若继续沉默，silent 的决策：不发送：发送已暂停（rekindle resume）"
    assert chinese.rules[0].why_not == ["发送已暂停（rekindle resume）"]
    assert words(chinese.rules[0].now)[0] == "仅沉默 1.96 天，规则要求 30 天"
    for said in (english, chinese):
        said.summary, said.rules = "", [msgspec.structs.replace(r, now=[], then=[], why_not=[]) for r in said.rules]
    assert english == chinese


def test_a_segment_that_will_be_entered_has_its_deadline() -> None:
    quiet = "segments: [{id: quiet, where: {silence_days: {at_least: 20}}}]\nrules:"
    policy = POLICY.replace("rules:", quiet) + "  - {id: quiet-ones, when: {segment: quiet}, goal: {within: 7d}}\n"
    found = outlook(event(at(0)), ticks(at(1), at(2)), policy=policy)
    rule = next(rule for rule in found.rules if rule.rule == "quiet-ones")
    assert (rule.status, rule.deadline, rule.foretold) == ("pending", "2024-01-21T00:00:00.000Z", "send")
    assert rule.decided_from == "2024-01-21T02:00:00.000Z"
    assert words(rule.now) == ["not in quiet"]
    entered = outlook(event(at(0)), ticks(at(1), at(20.5)), policy=policy)
    rule = next(rule for rule in entered.rules if rule.rule == "quiet-ones")
    assert words(rule.now)[:1] != ["not in quiet"]


GROUPS = """tiers: [{id: gold, where: {value_90d: {at_least: 20}}}, {id: silver, where: {orders: {at_least: 1}}}]
segments:
  - {id: fresh, where: {age_days: {below: 3}}}
  - {id: quiet, where: {silence_days: {at_least: 5, below: 9}}}
  - {id: wavering, where: {p_alive: {below: 0.6}, tier: gold}}
rules:"""


def test_segments_and_tiers_to_be_entered_or_left_are_named_as_the_core_then_does() -> None:
    policy = POLICY.replace("rules:", GROUPS)
    records = history(event(at(0)), order(at(0, 1)), tick(at(1)), policy=policy)
    folded = fold(records, policy)
    said = len(folded.messages("segments"))
    context = context_of(folded.partition.position, folded.partition.guard, folded.partition.policy, "default")
    found = explain("ann", folded.users["ann"], context)
    assert found.next is not None
    assert (found.next.what, found.next.at) == ("leaves segment fresh", "2024-01-04T00:00:00.000Z")
    folded.feed(log(ticks(at(1, 1), at(120)), start=len(records)))
    came = [(m["time"], m["data"]) for m in folded.messages("segments")[said:]]
    told = [(change.at, change.change, change.kind, change.name) for change in found.changes]
    assert told == [(time, data["change"], data["kind"], data["segment"]) for time, data in came]
    assert [change[1:] for change in told if change[3] != "wavering"] == [
        ("leave", "segment", "fresh"),
        ("enter", "segment", "quiet"),
        ("leave", "segment", "quiet"),
        ("leave", "tier", "gold"),
        ("enter", "tier", "silver"),
    ]
    assert [change[1] for change in told if change[3] == "wavering"] == ["enter", "leave"]


def test_what_a_new_policy_makes_of_a_user_is_told_before_anybody_has_looked() -> None:
    policy = POLICY.replace("rules:", "segments: [{id: buyers, where: {orders: {at_least: 1}}}]\nrules:")
    records = history(event(at(0)), order(at(0, 1)), ticks(at(1), at(100)), adopt(policy))  # nothing else is due
    folded = fold(records, POLICY, policy)
    context = context_of(folded.partition.position, folded.partition.guard, folded.partition.policy, "default")
    found = explain("ann", folded.users["ann"], context)
    folded.feed(log(ticks(at(101), at(102)), start=len(records)))
    came = [(m["time"], m["data"]["change"], m["data"]["segment"]) for m in folded.messages("segments")]
    assert [(change.at, change.change, change.name) for change in found.changes] == came
    assert [name for _, _, name in came] == ["buyers"]


def test_what_waits_says_for_what_and_until_when() -> None:
    policy = POLICY.replace("rules:", 'quiet_hours: {from: "00:00", to: "23:00", timezone: UTC}\nrules:')
    found = outlook(event(at(0)), ticks(at(1), at(30.2)), policy=policy)
    [rule] = found.rules
    assert (rule.status, rule.foretold, rule.deadline) == ("pending", "send", "2024-01-31T00:00:00.000Z")
    assert rule.decided_from == "2024-02-01T01:00:00.000Z"
    assert words(rule.now) == ["quiet hours where the user is"]
    assert found.fires_at == "2024-01-31T23:00:00.000Z"


def test_visitors_and_who_was_never_active_have_no_rules() -> None:
    visitor = outlook(event(at(0), None, anonymous="v"), ticks(at(1), at(2)), user="v")
    assert visitor.rules == []
    assert visitor.next is not None
    assert visitor.next.what == "expires"
    assert "visitor" in visitor.summary
    unseen = outlook(identify(at(0), consent={"email": True}, active=False), ticks(at(1), at(2)))
    assert unseen.summary == "never active yet: no rule applies"
    assert unseen.risk is None


def test_before_the_adoption_nothing_is_due() -> None:
    old = event(at(-60), backfill=True)
    found = outlook(old, ticks(at(1), at(2)))
    assert found.rules[0].status in {"before_adoption", "settled"}
    assert found.fires_at is None


# ---- by the adopted churn model

RISKY = POLICY + (
    "  - {id: leaving, when: {risk_above: 0.9, min_silence: 1d, min_active_days: 1}, holdout: 0, goal: {within: 7d}}\n"
)
MODEL = Recency(30 * DAY, 0.0, 1.0, 1.0)
"""P(no event) = 1 - 1/(1 + (1 + days of silence) / e)."""


def by_model(*entries: Entry | list[Entry], adopted: bool = True, since: float = 0) -> Outlook:
    body = MODEL.to_json()
    records = history(event(at(0)), ticks(at(0), at(since)), adopt_model(body), *entries, policy=RISKY)
    folded = fold(records, RISKY, extra=models(body))
    partition = folded.partition
    model = MODEL if adopted else None
    context = context_of(partition.position, partition.guard, partition.policy, "default", model)
    return explain("ann", folded.users["ann"], context)


def test_the_risk_is_the_models_and_says_what_it_is_made_of() -> None:
    found = by_model(ticks(at(0), at(9, 1)))
    assert found.risk is not None
    assert (found.risk.p_none, found.risk.horizon) == (0.7863, 30 * DAY)
    assert len(found.risk.model) == 12
    assert found.risk.why == [
        "silent for 9 days: raises the risk (+1.30)",
        "the average user of the fit: 50% (+0.00)",
        "calibration, of 79% (+0.00)",
    ]


def test_a_rule_by_risk_is_explained_term_by_term() -> None:
    found = by_model(ticks(at(0), at(9, 1)))
    rule = next(rule for rule in found.rules if rule.rule == "leaving")
    assert (rule.status, rule.foretold, rule.deadline) == ("pending", "send", "2024-01-24T12:00:00.000Z")
    assert words(rule.now) == ["the risk is 0.79, the rule asks for 0.9 or more"]
    assert "silent for 23.5 days: raises the risk (+2.20)" in [gate.words for gate in rule.then]


def test_a_rule_by_risk_without_a_model_says_so() -> None:
    found = by_model(ticks(at(0), at(9)), adopted=False)
    rule = next(rule for rule in found.rules if rule.rule == "leaving")
    assert (rule.status, rule.why_not) == ("no_deadline", ["no churn model is adopted (rekindle model publish)"])
    assert found.risk is not None
    assert (found.risk.model, found.risk.why) == ("mbg", [])


def test_what_lies_before_the_model_is_not_due_by_it() -> None:
    found = by_model(ticks(at(27), at(28)), since=27)
    rule = next(rule for rule in found.rules if rule.rule == "leaving")
    assert rule.status == "no_deadline"
    assert rule.why_not == ["it lies before the model was adopted: a new model sends nothing for the past"]


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (Gate("risk.p_alive", 0.4, None, True, -0.5), "has not left for good: 40%: lowers the risk (-0.50)"),
        (
            Gate("risk.silence_days", 247.0, None, True, -0.17),
            "silent for 247 days, beside what else is known: lowers the risk (-0.17)",
        ),
        (Gate("reachable_push", "no", "yes", False), "the last message by push bounced"),
        (Gate("segment", "whales", "whales", True), "entered whales"),
        (Gate("segment", "whales", "whales", False), "not in whales"),
        (Gate("p_alive", 0.6487, 0.65, True), "P(alive) has just fallen below 0.65"),
        (Gate("p_alive", 0.6387, 0.65, True), "P(alive) is 0.64, the rule asks for less than 0.65"),
        (Gate("age_days", 1.5, 2.0, False), "only first seen 1.5 days ago, the rule asks for 2"),
        (Gate("heard_of_later", "no", "yes", False), "heard_of_later: no"),
        (Gate("budget", 0, 10, False), "the perk's budget is spent, or nothing is leased (rekindle perks lease)"),
    ],
)
def test_gates_in_words(gate: Gate, said: str) -> None:
    assert sentence(gate).words == said
