"""What differs between policies, in words and over a history; and a policy with one field at several values."""

import pytest

from agents.replay import read_line
from pipeline.backtest import FieldChange, changes, compare, made_live, sweep_texts, what_if
from pipeline.play import in_order
from pipeline.policy import NotActivated, PAliveBelow, RiskAbove, parse
from pipeline.units import DAY
from tests.builders import POLICY, at, event
from tests.policies import two_rules


def differ(old: str, new: str) -> list[FieldChange]:
    return changes(parse(old), parse(new))


def test_what_means_the_same_is_no_change() -> None:
    written_out = POLICY.replace("mode: live\n", "mode: live\nlifecycle: {dormant: 720h}  # the default\n")
    assert differ(POLICY, written_out) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("silence: 30d", "silence: 3w", ("rule silent", "when.silence", "30d", "21d", "")),
        ("salt: test", "salt: other", ("the policy", "salt", "test", "other", "every arm is drawn anew")),
        (
            "template: come-back",
            "template: come-back\n    mode: shadow",
            ("rule silent", "mode", "live", "shadow", "it sends no more"),
        ),
        (
            "salt: test",
            "salt: test\ntime: {lateness: 2h}",
            ("the policy", "time.lateness", "1h", "2h", "the clock moves; "),
        ),
        ("salt: test", "salt: test\norders: [B, A]", ("the policy", "orders", "Order Completed", "A, B", "")),
        (
            "salt: test",
            "salt: test\nchannels: [{name: ads, source: [google, bing]}]",
            ("the policy", "channels.ads", "none", "name ads, source [google, bing]", ""),
        ),
        (
            "{silence: 30d}",
            "{p_alive_below: 0.4, min_silence: 7d, min_active_days: 3}",
            ("rule silent", "when", "silence 30d", "p_alive_below 0.4, min_silence 7d, min_active_days 3", ""),
        ),
        (
            "salt: test",
            'salt: test\nquiet_hours: {from: "21:00", to: "08:30", timezone: Europe/Berlin}',
            ("the policy", "quiet_hours", "none", "from 21:00, to 08:30, timezone Europe/Berlin", ""),
        ),
        (
            "salt: test",
            "salt: test\nsource_guard: {dark_below: 0}",
            ("the policy", "source_guard.dark_below", "0.3", "0", ""),
        ),
        (
            "salt: test",
            "salt: test\ncaps: {channels: {email: {per_day: 1}}}",
            ("the policy", "caps.channels.email", "none", "per_day 1", ""),
        ),
        (
            "    holdout",
            "    backlog: {spread: 14d}\n    holdout",
            ("rule silent", "backlog.spread", "none", "14d", ""),
        ),
        (
            "salt: test",
            "salt: test\nsegments: [{id: quiet, where: {silence_days: {at_least: 35}, lifecycle: [dormant]}}]",
            ("the policy", "segments.quiet", "none", "id quiet, where silence_days at least 35, lifecycle dormant", ""),
        ),
        (
            "salt: test",
            "salt: test\nperks: [{id: tenner, cost: 10, budget: 500}]",
            ("the policy", "perks.tenner", "none", "id tenner, cost 10.00 USD, budget 500.00 USD", ""),
        ),
        ("goal: {within: 7d}", "goal: {event: Paid, within: 7d}", ("rule silent", "goal.event", "none", "Paid", "")),
    ],
)
def test_a_change_is_named_with_before_and_after(old: str, new: str, expected: tuple[str, ...]) -> None:
    (change,) = differ(POLICY, POLICY.replace(old, new))
    assert (change.where, change.name, change.before, change.after) == expected[:4]
    assert change.note.startswith(expected[4])


def test_a_time_of_quiet_hours_and_a_pattern_are_told_as_they_are_written() -> None:
    quiet = 'salt: test\nquiet_hours: {from: "21:00", to: "08:30", timezone: UTC}\nchannels: [{name: to, source: ab*}]'
    base = POLICY.replace("salt: test", quiet)
    source, start = differ(base, base.replace("21:00", "20:15").replace("ab*", '["a(b*c|d*", e.f]'))
    assert (start.name, start.before, start.after) == ("quiet_hours.from", "21:00", "20:15")
    assert (source.name, source.before, source.after) == ("channels.to.source", "ab*", "[a(b*c|d*, e.f]")


def test_a_segment_changes_by_what_it_compares() -> None:
    base = POLICY.replace("salt: test", "salt: test\nsegments: [{id: few, where: {orders_90d: {at_least: 2}}}]")
    (change,) = differ(base, base.replace("at_least: 2", "at_least: 3"))
    assert (change.name, change.before) == ("segments.few.where", "orders_90d at least 2")
    assert change.after == "orders_90d at least 3"


def test_amounts_are_in_the_currency_of_their_policy() -> None:
    base = POLICY.replace("salt: test", "salt: test\nsegments: [{id: big, where: {spent: {at_least: 100}}}]")
    yen = base.replace("salt: test", "salt: test\ncurrency: {reporting: JPY}")
    currency, segment = differ(base, yen)
    assert (currency.before, currency.after) == ("USD", "JPY")
    assert (segment.before, segment.after) == ("spent at least 100.00 USD", "spent at least 100 JPY")


def test_rules_come_go_and_change_places() -> None:
    one, two = POLICY, two_rules()
    came = [(change.where, change.before) for change in differ(one, two) if change.where != "the policy"]
    assert came == [("rule early", "none")]
    went = [(change.where, change.after) for change in differ(two, one) if change.where != "the policy"]
    assert went == [("rule early", "none")]
    head, _, rules = two.partition("rules:\n")
    first, second = rules.split("  - id: early")
    (order,) = differ(two, f"{head}rules:\n  - id: early{second}{first}")
    assert (order.name, order.before, order.after) == ("order of rules", "silent, early", "early, silent")


HISTORY = in_order(
    [
        read_line(entry.value or b"")
        for entry in (
            event(at(0), "ann"),  # sent to by both
            event(at(0), "bob"),
            event(at(25), "bob"),  # back before the later rule, silent again until the end, but too short for it
            event(at(50), "end"),
        )
    ]
)


def test_a_comparison_counts_silences_users_and_decisions() -> None:
    before, after = POLICY, POLICY.replace("silence: 30d", "silence: 21d")
    found = compare(what_if(HISTORY, before.encode()), what_if(HISTORY, after.encode()))
    # bob: flagged on day 21, and once more on day 46; ann: on day 21 instead of 30, for the same silence.
    assert (found.both, found.only_before, found.only_after) == (1, 0, 2)
    assert (found.users_both, found.users_before, found.users_after) == (1, 0, 1)
    assert [(c.rule, c.before, c.after, c.count) for c in found.changes] == [("silent", "not considered", "send", 2)]
    assert found.unchanged == 1
    (load,) = found.load
    assert (load.channel, load.before, load.after) == ("email", 1, 3)
    (example,) = found.newly_sent
    assert (example.user, example.rule, example.silent_since[:10], example.at[:10]) == (
        "bob",
        "silent",
        "2024-01-01",
        "2024-01-22",
    )
    assert found.no_longer_sent == []
    back = compare(what_if(HISTORY, after.encode()), what_if(HISTORY, before.encode()), examples=0)
    assert (back.only_before, back.users_before, back.no_longer_sent) == (2, 1, [])


def test_a_sweep_sets_the_field_of_every_rule_that_has_it_and_keeps_comments() -> None:
    body = (two_rules() + "# the end\n").encode()
    first, second = sweep_texts(body, "silence_days", ["14", "2.5"])
    assert [rule.when.after for rule in parse(first.body).rules] == [14 * DAY, 14 * DAY]  # type: ignore[union-attr]
    assert [rule.when.after for rule in parse(second.body).rules] == [60 * DAY // 24] * 2  # type: ignore[union-attr]
    assert first.body.endswith(b"# the end\n")
    (one,) = sweep_texts(body, "early.holdout", ["0.25"])
    assert {rule.id: rule.holdout for rule in parse(one.body).rules} == {"silent": 0, "early": 0.25}
    (goal,) = sweep_texts(body, "goal_days", ["5"])
    assert {rule.goal.within for rule in parse(goal.body).rules} == {5 * DAY}
    assert [change.name for change in changes(parse(body), parse(goal.body))] == ["goal.within", "goal.within"]


def test_a_sweep_knows_every_kind_of_condition() -> None:
    def when(condition: str, field: str, value: str) -> object:
        body = POLICY.replace("{silence: 30d}", condition).replace(
            "salt: test", "salt: test\nactivation: {event: E, within: 9d}"
        )
        return parse(sweep_texts(body.encode(), field, [value])[0].body).rules[0].when

    risky = "{risk_above: 0.5, min_silence: 7d, min_active_days: 2}"
    assert when(risky, "risk_above", "0.8") == RiskAbove(0.8, 7 * DAY, 2)
    assert when(risky, "min_silence_days", "9") == RiskAbove(0.5, 9 * DAY, 2)
    assert when(risky.replace("risk_above", "p_alive_below"), "min_active_days", "3") == PAliveBelow(0.5, 7 * DAY, 3)
    assert when("{not_activated: 3d}\n    kind: activate", "not_activated_days", "4") == NotActivated(4 * DAY)


def test_a_sweep_sets_what_a_rule_left_to_its_default() -> None:
    bare = POLICY.replace("    goal: {within: 7d}\n", "").replace("    holdout: 0\n", "").replace("10d", "30d")
    assert parse(sweep_texts(bare.encode(), "goal_days", ["9"])[0].body).rules[0].goal.within == 9 * DAY
    assert parse(sweep_texts(bare.encode(), "holdout", ["0"])[0].body).rules[0].holdout == 0


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("silence_day", "14", "did you mean 'silence_days'?"),
        ("silence_days", "soon", "expected a number of days, not 'soon'"),
        ("silence_days", "-3", "expected a number of days"),
        ("silence_days", "1e999", "expected a number of days"),
        ("holdout", "7", "holdout=7:"),
        ("p_alive_below", "0.5", "nothing that any rule of this policy has"),
        ("gone.holdout", "0.5", "nothing that the rule 'gone' of this policy has"),
        ("cooldown_days", "2", "must be at least the longest goal window"),
    ],
)
def test_a_sweep_that_makes_no_policy_is_refused(field: str, value: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        sweep_texts(POLICY.encode(), field, [value])
    assert says in str(error.value)


def test_made_live_sets_every_rule_live() -> None:
    shadow = POLICY.replace("mode: live", "mode: shadow").replace("channel: email", "mode: shadow\n    channel: email")
    policy = parse(made_live(shadow.encode()))
    assert [rule.mode for rule in policy.rules] == ["live"]
    assert changes(policy, parse(POLICY)) == []
