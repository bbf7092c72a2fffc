"""Which segments an activity can bring a user into: by hand, and against what the core does."""

import random

import pytest

from pipeline.policy import parse
from pipeline.policy.entering import by_activity
from pipeline.policy.notes import notes
from tests.builders import Entry, at, event, fold, history, identify, milliseconds, order, ticks

HEAD = """
version: 1
source_guard: {dark_below: 0}
lifecycle: {at_risk: 5d, dormant: 12d}
activation: {event: Order Completed, within: 9d}
consent: {email: {basis: opt_out, trait: email}}
tiers: [{id: gold, where: {value_365d: {at_least: 100}}}, {id: often, where: {active_days: {at_least: 4}}}]
"""


def policy(where: str, kind: str = "recall") -> str:
    rule = f"{{id: back, kind: {kind}, when: {{segment: s}}, cooldown: 7d, goal: {{within: 7d}}}}"
    return f"{HEAD}segments: [{{id: s, where: {{{where}}}}}]\nrules: [{rule}]\n"


def enters(where: str) -> bool:
    compiled = parse(policy(where))
    return by_activity(compiled.segments[0], compiled.tiers)


@pytest.mark.parametrize(
    "where",
    [
        "value_at_stake: {at_least: 20}",
        "value: {at_least: 20}",
        "orders_90d: {at_least: 4}",
        "orders: {at_least: 1}, orders_90d: {below: 2}",  # by a second first order, after a year
        "tier: gold, risk: {at_least: 0.5}",
        "tier: often, orders_90d: {below: 1}",
        "lifecycle: [dormant, returned]",
        "risk: {at_least: 0.5}",  # of somebody new it is high
        "age_days: {below: 30}",
        "silence_days: {below: 3}",
        "activated: true",
        "active_days: {below: 2}",
        "value_365d: {top: 0.1}",
    ],
)
def test_an_activity_can_bring_it_about(where: str) -> None:
    assert enters(where)


@pytest.mark.parametrize(
    "where",
    [
        "value_at_stake: {at_least: 20}, silence_days: {at_least: 7}",
        "tier: gold, lifecycle: [at_risk, dormant]",
        "orders_90d: {below: 1}, orders: {at_least: 1}",
        "tier: gold, orders_90d: {below: 1}",  # by neither a visit nor an order
        "age_days: {at_least: 7}, orders: {below: 1}",
        "age_days: {at_least: 7}, orders: {below: 2}, activated: false",
        "risk: {at_least: 0.5}, active_days: {at_least: 3}, age_days: {at_least: 30}, silence_days: {at_least: 1}",
        "orders: {at_least: 1}, value_90d: {below: 10}, age_days: {at_least: 100}, silence_days: {at_least: 30}",
    ],
)
def test_only_silence_brings_it_about(where: str) -> None:
    assert not enters(where)


TESTS = (
    *("silence_days: {at_least: 2}", "silence_days: {below: 2}", "age_days: {at_least: 3}", "age_days: {below: 6}"),
    *("active_days: {at_least: 3}", "active_days: {below: 3}", "orders: {at_least: 2}", "orders: {below: 2}"),
    *("orders_90d: {at_least: 1}", "orders_90d: {below: 1}", "spent: {at_least: 60}", "value_90d: {below: 40}"),
    *("lifecycle: [at_risk, dormant]", "lifecycle: returned", "tier: gold", "tier: often", "activated: true"),
    *("activated: false", "first_channel: email", "last_channel: email", "p_alive: {below: 0.6}", "locale: de-DE"),
    *("p_alive: {at_least: 0.8}", "risk: {at_least: 0.6}", "risk: {below: 0.5}", "value: {at_least: 30}"),
    *("value: {below: 40}", "value_at_stake: {at_least: 20}", "value_at_stake: {below: 25}"),
)


def lives(rng: random.Random) -> list[Entry]:
    entries: list[Entry] = []
    for user in ("ann", "bob", "cy"):
        day = rng.uniform(0, 5)
        entries.append(identify(at(day - 0.01), user, email=True, locale=rng.choice(("de-DE", "en")), active=False))
        while day < 130:
            medium = rng.choice(("email", "cpc"))
            if rng.random() < 0.6:
                entries.append(order(at(day), user, str(rng.choice((5, 30, 80))), id=f"{user}-{day}"))
            else:
                entries.append(event(at(day), user, id=f"{user}-{day}", campaign={"source": "x", "medium": medium}))
            day += rng.choice((0.3, 1, 3, 8, 20, 95)) * rng.uniform(0.9, 1.1)
    return entries


@pytest.mark.parametrize("seed", range(25))
def test_what_the_core_enters_by_an_activity_is_foreseen(seed: int) -> None:
    rng = random.Random(seed)
    pairs = [rng.sample(TESTS, 2) for _ in range(12)]
    wheres = [f"{one}, {two}" for one, two in pairs if one.split(":")[0] != two.split(":")[0]]
    segments = ", ".join(f"{{id: s{n}, where: {{{where}}}}}" for n, where in enumerate(wheres))
    text = f"{HEAD}segments: [{segments}]\n"
    entries = lives(rng)
    hours = ticks(at(0), at(135))
    told = sorted([*entries, *hours], key=lambda entry: (entry.appended, bool(entry.headers)))
    folded = fold(history(told, policy=text), text)
    assert folded.deadletters == []
    moments = {(entry.key.decode(), entry.appended) for entry in entries}
    compiled = parse(text)
    foreseen = {s.id for s in compiled.segments if by_activity(s, compiled.tiers)}
    messages = [m for m in folded.messages("segments") if m["data"]["kind"] == "segment"]
    by = {
        m["data"]["segment"]: m["data"]["explain"]
        for m in messages
        if m["data"]["change"] == "enter" and (m["subject"], milliseconds(m["time"])) in moments
    }
    assert by
    assert set(by) <= foreseen, {wheres[int(each[1:])]: by[each] for each in set(by) - foreseen}


def test_policy_check_notes_a_recall_that_is_no_recall() -> None:
    stake = "value_at_stake: {at_least: 20}"

    def hasty(text: str) -> list[str]:
        return [line for line in notes(parse(text)) if line.startswith("rule back (kind recall) is due on entering s")]

    [line] = hasty(policy(stake))
    assert "silence_days" in line
    assert "`kind: grow`" in line
    assert not hasty(policy(stake, "grow"))
    assert not hasty(policy(f"{stake}, silence_days: {{at_least: 14}}"))
