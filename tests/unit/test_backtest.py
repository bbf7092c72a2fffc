"""A backtest's figures, against ones made by hand."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import date, timedelta

import msgspec
import pytest

from agents.replay import read_line
from pipeline.backtest import (
    Arms,
    Backtest,
    Considered,
    FirstContacts,
    WhatIf,
    measure,
    picture,
    row,
    smallest_uplift,
    what_if,
)
from pipeline.backtest.figures import Week
from pipeline.play import Raw, in_order
from pipeline.policy import parse
from pipeline.units import DAY
from schemas.trigger import Perk
from tests.builders import POLICY, Entry, at, event, identify, order
from tests.policies import two_rules

_SVG = "{http://www.w3.org/2000/svg}"


def raws(*entries: Entry) -> list[Raw]:
    return in_order([read_line(entry.value or b"") for entry in entries])


def tried(entries: Sequence[Entry], policy: str = POLICY, horizon: int = 60 * DAY) -> Backtest:
    return measure(what_if(raws(*entries), policy.encode()), horizon)


HISTORY = [
    event(at(0, 1), "ann"),
    event(at(33), "ann"),  # back three days after the flag: by herself, within the window of seven
    event(at(0, 1), "bob"),
    event(at(40), "bob"),  # back ten days after it
    event(at(0, 1), "cat"),  # never back
    identify(at(1), "dan", unsubscribed=True),  # due, but not to be asked
    event(at(98), "fay"),  # flagged on day 128; the window ends after the history
    *(event(at(day), "eve") for day in range(0, 131, 10)),  # always there; her last event ends the history
]


def test_the_shares_are_those_of_the_flagged_whose_window_has_ended() -> None:
    found = tried(HISTORY)
    (rule,) = found.rules
    assert (rule.flagged, rule.users, rule.measured) == (6, 4, 5)
    assert (rule.came_back, rule.wasted, rule.reached_goal, rule.with_goal) == (1, 0.2, 1, 0.2)
    assert rule.later == 1
    assert rule.decisions == {"send": 6, "suppressed": 1}
    assert rule.reasons["unsubscribed"] == 1
    assert rule.first_contacts == FirstContacts(4, 0, 3, 1, round(1 / 3, 4), None), "ann and bob are flagged twice"
    assert found.total == msgspec.structs.replace(rule, rule="all recalls", first_contacts=None)
    assert found.together == rule.first_contacts
    assert (found.events, found.users, found.rejected) == (len(HISTORY), 6, 0)
    assert (found.start[:10], found.end[:10]) == ("2024-01-01", "2024-05-10")


def test_the_lost_are_covered_if_they_were_flagged_before_the_horizon_was_over() -> None:
    coverage = tried(HISTORY).coverage
    assert (coverage.lost, coverage.in_time, coverage.suppressed, coverage.share) == (4, 3, 1, 0.75)
    assert coverage.lead_days == (30, 30, 30)  # lost after 60 days, flagged after 30
    assert coverage.rules == {"silent": 3}
    assert "unsubscribed" in coverage.reasons
    # After a horizon of 30 days the flag comes when they are lost already.
    late = tried(HISTORY, horizon=30 * DAY).coverage
    assert (late.lost, late.in_time, late.late, late.lead_days) == (5, 0, 4, None)
    # Nobody was silent for so long.
    assert tried(HISTORY, horizon=140 * DAY).coverage.share is None


def test_a_silence_that_no_rule_saw_is_told_apart() -> None:
    fading = POLICY.replace("{silence: 30d}", "{p_alive_below: 0.5, min_silence: 7d, min_active_days: 2}")
    entries = [event(at(0), "once"), *(event(at(day), "eve") for day in range(0, 131, 10))]
    coverage = tried(entries, fading).coverage
    assert (coverage.lost, coverage.unseen, coverage.share) == (1, 1, 0.0)


KINDS = """version: 1
mode: live
activation: {event: Order Completed, within: 9d}
consent: {email: {basis: opt_out, trait: email}}
segments:
  - {id: twice, where: {orders: {at_least: 2}}}
rules:
  - {id: hello, kind: activate, when: {not_activated: 5d}, channel: email, holdout: 0, goal: {within: 7d}}
  - {id: thanks, kind: KIND, when: {segment: twice}, channel: email, holdout: 0, goal: {within: 7d}}
"""


def test_what_is_no_recall_wastes_and_covers_nothing() -> None:
    entries = [
        event(at(0), "ann"),
        event(at(6), "ann"),
        order(at(0), "bob"),
        order(at(1), "bob"),
        order(at(130), "eve"),
    ]
    found = tried(entries, KINDS.replace("KIND", "grow"))
    assert [(rule.rule, rule.flagged, rule.came_back, rule.wasted) for rule in found.rules] == [
        ("hello", 1, 1, None),
        ("thanks", 1, 0, None),
    ]
    assert (found.total.flagged, found.total.wasted, found.together.treated) == (0, None, 2)
    coverage = found.coverage
    assert (coverage.lost, coverage.unseen, coverage.in_time, coverage.rules) == (2, 2, 0, {})
    assert row("a", "1", found).messages == 2, "they are sent all the same"


def test_who_is_flagged_by_their_last_activity_is_told_apart() -> None:
    entries = [order(at(0), "bob"), order(at(1), "bob"), event(at(130), "eve")]
    coverage = tried(entries, KINDS.replace("KIND", "recall")).coverage
    assert (coverage.lost, coverage.by_activity, coverage.unseen, coverage.in_time) == (1, 1, 0, 0)


_LATER = [event(at(98), "fay"), *(event(at(day), "eve") for day in range(0, 131, 10))]


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (POLICY.replace("30d", "200d"), "the history is shorter than 200d"),
        (POLICY.replace("30d", "110d"), "nobody was silent for 110d"),
        (POLICY.replace("{silence: 30d}", "{risk_above: 0.5}"), "it goes by a churn model, of which none was named"),
        (
            POLICY.replace("{silence: 30d}", "{p_alive_below: 0.5, min_active_days: 50}"),
            "min_active_days is 50, and no user has more than 14",
        ),
        (
            POLICY.replace("{silence: 30d}", "{p_alive_below: 0.0001, min_silence: 8d}"),
            "no silence of 8d or more came to the threshold, 0.0001",
        ),
        (KINDS.replace("KIND", "recall"), "nobody entered the segment twice"),
        (
            KINDS.partition("  - {id: thanks")[0].replace("5d}", "200d}").replace("9d}", "300d}"),
            "everybody was activated",
        ),
        (
            POLICY.replace("rules:\n", "segments: [{id: best, where: {spent: {top: 0.1}}}]\nrules:\n").replace(
                "{silence: 30d}", "{segment: best}"
            ),
            "the segment best goes by a quantile (top), and none is published here",
        ),
        (POLICY.replace("opt_out", "opt_in"), "flags nobody of those who were due: no_consent"),
    ],
)
def test_a_rule_that_flags_nobody_says_why(policy: str, why: str) -> None:
    assert why in tried(_LATER, policy).rules[-1].nobody
    assert not tried(HISTORY).rules[0].nobody


def test_weeks_begin_on_monday_and_load_knows_its_fullest_hour() -> None:
    found = tried(HISTORY)
    weeks = {week.start: week for week in found.weeks}
    assert len(found.weeks) == 19
    assert weeks["2024-01-29"].sent == weeks["2024-01-29"].flagged == {"silent": 3}  # day 30, a Wednesday
    assert weeks["2024-01-01"].sent == {}
    assert (weeks["2024-02-26"].lost, weeks["2024-02-26"].in_time) == (2, 1)  # cat and dan, days 60 and 61
    (load,) = found.load
    assert (load.channel, load.sends, load.peak, load.peak_at) == ("email", 6, 3, "2024-01-31T01:00:00.000Z")
    assert load.by_hour[2 * 24 + 1] == 3
    assert sum(load.by_hour) == 6
    assert load.per_week == round(6 / (130 / 7), 2)


def test_two_rules_overlap_where_both_considered_a_silence() -> None:
    found = tried([event(at(0), "ann"), event(at(0), "bob"), event(at(25), "bob"), event(at(60), "eve")], two_rules())
    (pair,) = found.overlap
    assert (pair.rules, pair.episodes, pair.users) == (("early", "silent"), 2, 2)  # not bob's first: back on day 25
    early, silent = sorted(found.rules, key=lambda rule: rule.rule)
    assert (early.flagged, early.measured, early.came_back, early.reached_goal) == (3, 3, 1, 0)  # no order, no goal
    assert silent.decisions == {"episode_taken": 2}
    assert [load.channel for load in found.load] == ["push"]


def test_a_rule_in_shadow_flags_and_its_holdout_is_that_of_the_average() -> None:
    shadow = POLICY.replace("mode: live", "mode: shadow").replace("holdout: 0\n", "holdout: 0.5\n")
    found = tried(HISTORY, shadow)
    (rule,) = found.rules
    assert rule.decisions["shadow"] == rule.flagged == 6
    first = rule.first_contacts
    assert first is not None
    assert (first.treated, first.held, found.load) == (2, 2, [])
    assert first.uplift is None, "four users show nothing"
    assert "nothing is sent" in picture(found, "shadow")


def test_an_erased_user_is_neither_measured_nor_lost() -> None:
    entries = [event(at(0), "ann"), event(at(32), "ann", None, kind="delete"), event(at(100), "eve")]
    found = tried(entries)
    assert (found.total.flagged, found.total.measured, found.coverage.lost) == (1, 0, 0)


def test_who_is_erased_after_the_window_is_measured() -> None:
    found = tried([event(at(0), "ann"), event(at(38), "ann", None, kind="delete"), event(at(100), "eve")])
    assert (found.total.flagged, found.total.measured, found.total.came_back) == (1, 1, 0)


def test_an_activity_is_no_return_from_what_itself_brings_about() -> None:
    bought_again = POLICY.replace(
        "rules:\n", "segments:\n  - {id: twice, where: {orders: {at_least: 2}}}\nrules:\n"
    ).replace("{silence: 30d}", "{segment: twice}")
    once_more = [order(at(0), "ann"), order(at(5), "ann"), event(at(100), "eve")]
    found = tried(once_more, bought_again)
    assert (found.total.flagged, found.total.came_back, found.total.reached_goal) == (1, 0, 0)
    found = tried([*once_more, event(at(7), "ann")], bought_again)
    assert (found.total.flagged, found.total.came_back, found.total.reached_goal) == (1, 1, 1)


def decided(
    user: str = "ann",
    verdict: str = "send",
    day: int = 30,
    step: int = 0,
    reserved: int = 0,
    *,
    rule: str = "silent",
    goal: bool = False,
    reasons: Sequence[str] = (),
) -> Considered:
    return Considered(
        user=user,
        rule=rule,
        verdict=verdict,
        reasons=list(reasons),
        at=at(day),
        episode=at(0),
        step=step,
        channel="email",
        arm={"holdout": "holdout", "send": "treatment"}.get(verdict),
        goal=None,
        window_end=at(day + 7),
        perk=Perk("tenner", reserved) if reserved else None,
        goal_at=at(day + 1) if goal else 0,
    )


def measured(*considered: Considered, policy: str = POLICY) -> Backtest:
    return measure(WhatIf(parse(policy), list(considered), {}, at(0), at(50), 3, 0), 90 * DAY)


def test_perks_are_added_up_over_what_is_sent() -> None:
    offers = [decided("ann", reserved=1000), decided("bob", reserved=500), decided("cat", "holdout", reserved=1000)]
    found = measured(*offers, decided("dan"))
    assert [(perk.perk, perk.sends, perk.reserved) for perk in found.perks] == [("tenner", 2, 1500)]
    assert found.perks[0].budget is None  # of no perk that this policy has


def test_a_perk_needs_what_its_sends_cost_whatever_its_budget_and_no_lease() -> None:
    policy = POLICY.replace("rules:\n", "perks:\n  - {id: tenner, cost: 10, budget: 15}\nrules:\n")
    found = tried(HISTORY, policy.replace("    holdout: 0\n", "    holdout: 0\n    perk: tenner\n"))
    (perk,) = found.perks
    assert (perk.perk, perk.sends, perk.reserved, perk.budget) == ("tenner", 6, 6000, 1500)
    assert tried([event(at(0)), event(at(5), "eve")], policy).perks[0].reserved == 0


def test_steps_of_a_contact_are_sent_but_flag_nobody_anew() -> None:
    steps = "    holdout: 0.0\n    steps:\n      - {after: 2d}\n      - {after: 2d, channel: push}\n"
    policy = two_rules().partition("  - id: early")[0].replace("    holdout: 0.0\n", steps)
    found = tried([event(at(0), "ann"), event(at(60), "eve")], policy)
    assert (found.total.flagged, found.total.decisions) == (1, {"send": 3})
    assert {load.channel: load.sends for load in found.load} == {"email": 2, "push": 1}


def test_later_steps_are_load_but_no_new_flag() -> None:
    found = measured(decided(), decided(day=33, step=1))
    assert (found.total.flagged, found.load[0].sends) == (1, 2)


@pytest.mark.parametrize(
    ("base", "treated", "held", "uplift"),
    [
        (0.10, 686, 686, 0.05),  # the textbook's example: 686 in each arm show 10 % against 15 %
        (0.50, 1565, 1565, 0.05),  # 1,565 in each: 50 % against 55 %
    ],
)
def test_the_smallest_uplift_is_that_of_the_textbook(base: float, treated: int, held: int, uplift: float) -> None:
    assert smallest_uplift([Arms(base, treated, held)]) == pytest.approx(uplift, abs=2e-4)


def test_what_no_holdout_can_show_has_no_uplift() -> None:
    assert smallest_uplift([Arms(0.2, 100, 0)]) is None
    assert smallest_uplift([Arms(0.9, 3, 3)]) is None
    few, many = smallest_uplift([Arms(0.1, 900, 100)]), smallest_uplift([Arms(0.1, 9000, 1000)])
    assert few is not None
    assert many is not None
    assert many < few


def test_a_stratum_cut_in_two_shows_what_it_showed_before_and_empty_arms_show_nothing() -> None:
    whole, half = Arms(0.1, 9000, 1000), Arms(0.1, 4500, 500)
    assert smallest_uplift([half, half]) == pytest.approx(smallest_uplift([whole]), abs=1e-3)
    assert smallest_uplift([whole, Arms(0.5, 100, 0)]) == smallest_uplift([whole])


def first(policy: str, *considered: Considered) -> FirstContacts:
    return measured(*considered, policy=policy).together


def test_all_rules_are_compared_as_the_report_does_it() -> None:
    early = [decided(user, rule="early", day=10, goal=user == "ann") for user in ("ann", "bob")]
    later = [decided("ann", day=30, goal=True), decided("cat", "holdout", day=30)]
    both = two_rules(0.5)
    assert first(both, *early, *later) == FirstContacts(3, 1, 4, 2, 0.5, None), "each rule's, added up"
    withheld = decided("cat", "holdout", day=10, rule="early", reasons=["global_holdout"])
    by_all = both.replace("salt: test", "salt: test\nholdout: 0.1")
    found = first(by_all, *early, *later, withheld, decided("dan", "holdout"))
    assert found == FirstContacts(3, 1, 4, 1, 0.25, None), "dan is held out by his rule, cat by all; each once"


def test_in_shadow_the_holdout_of_a_rule_is_its_own_and_the_one_over_all() -> None:
    shadow = POLICY.replace("mode: live", "mode: shadow\nholdout: 0.5").replace("holdout: 0\n", "holdout: 0.5\n")
    found = measured(*(decided(f"u{number}", "shadow") for number in range(8)), policy=shadow)
    (rule,) = found.rules
    assert rule.first_contacts is not None
    assert (rule.first_contacts.treated, rule.first_contacts.held) == (2, 6)
    assert (found.together.treated, found.together.held) == (4, 4)


def test_the_picture_is_svg_with_every_rule_and_the_same_each_time() -> None:
    found = tried(HISTORY)
    drawn = picture(found, "a <title> & more")
    assert drawn == picture(tried(HISTORY), "a <title> & more")
    texts = [node.text for node in ET.fromstring(drawn).iter(f"{_SVG}text")]  # noqa: S314 our own
    assert {"a <title> & more", "silent", "2024-01-01"} <= set(texts)


@pytest.mark.parametrize(
    ("weeks", "rules", "most"),
    [(1, 1, 1), (8, 3, 0), (50, 2, 11), (50, 12, 98), (51, 7, 999), (520, 30, 12_345_678)],
)
def test_nothing_in_the_picture_is_cut_whatever_the_history(weeks: int, rules: int, most: int) -> None:
    names = [f"win-back-with-a-long-name-{n}" for n in range(rules)]
    sent = dict.fromkeys(names, most // rules) | {names[0]: most - (rules - 1) * (most // rules)}
    days = ((date(2024, 1, 1) + timedelta(weeks=n)).isoformat() for n in range(weeks))
    found = tried(HISTORY)
    found = msgspec.structs.replace(
        found,
        rules=[msgspec.structs.replace(found.rules[0], rule=name) for name in names],
        weeks=[Week(day, sent, sent, most, most // 2) for day in days],
    )
    root = ET.fromstring(picture(found, "a.yaml over " + ", ".join(names)))  # noqa: S314 our own
    width, height = (float(root.get(side, "0")) for side in ("width", "height"))
    for text in root.iter(f"{_SVG}text"):
        x, wide = float(text.get("x", "0")), 0.6 * float(text.get("font-size", "0")) * len(text.text or "")
        left = x - wide if text.get("text-anchor") == "end" else x
        assert 0 <= left <= left + wide <= width, text.text
    for box in root.iter(f"{_SVG}rect"):
        x, y, wide, high = (float(box.get(name, "0")) for name in ("x", "y", "width", "height"))
        assert x + wide <= width + 0.01
        assert y + high <= height + 0.01
    scale = [text.text or "" for text in root.iter(f"{_SVG}text") if text.get("text-anchor") == "end"]
    assert not any("." in label for label in scale if "M" not in label), "no half triggers"
    colours = {box.get("fill") for box in root.iter(f"{_SVG}rect")}
    assert len(colours - {"#fff", "#444444", "#d0d0d0"}) == min(rules, 8), "each rule has its own, or shares the grey"
    assert (f"{rules - 7} others" in [text.text for text in root.iter(f"{_SVG}text")]) == (rules > 7)
