"""The policy: what is read, what is refused and how it is said."""

from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lifecycle import Lifecycle
from pipeline.money import Currency
from pipeline.policy import (
    DEFAULT,
    Activation,
    Goal,
    PAliveBelow,
    Policy,
    PolicyError,
    Silence,
    SourceGuard,
    channel_names,
    channel_of,
    parse,
)
from pipeline.risk import MbgNbd
from pipeline.units import DAY, HOUR, MINUTE

SHIPPED = Path(__file__).parents[2] / "deploy" / "policy.yaml"

FULL = """\
version: 1
mode: shadow
salt: "2026"
time: {lateness: 90s, skew: 15m}
lifecycle: {new_for: 2d, at_risk: 5d, dormant: 2w, returned_for: 3d}
activation: {event: Signed Up, within: 7d}
orders: [Order Completed, Subscribed]
currency: {reporting: EUR, rates: {USD: 0.925}}
risk: {model: mbg, r: 0.243, alpha: 4.414, a: 0.793, b: 2.426, unit: 1d}
channels:
  - {name: google-ads, source: google, medium: [cpc, ppc]}
  - {name: newsletter, campaign: "spring-*"}
  - {name: partner-blog, referrer: "*.example.org"}
source_guard: {min_expected: 50, dark_below: 0.25}
consent:
  push: {basis: opt_in, trait: push}
  email: {basis: opt_out, trait: newsletter}
caps: {per_day: 1, per_week: 3, channels: {email: {per_week: 2}}}
quiet_hours: {from: "22:00", to: "08:30", timezone: Europe/Berlin}
holdout: 0.05
perks: [{id: ten-off, cost: 10, budget: 5000.50}]
rules:
  - id: dormant-30d
    when: {silence: 30d}
    mode: live
    channel: push
    template: come-back
    priority: 3
    holdout: 0.2
    expires_after: 2d
    cooldown: 21d
    goal: {event: Order Completed, within: 14d}
  - id: fading
    when: {p_alive_below: 0.3, min_silence: 4d, min_active_days: 3}
"""


CONSENT = "consent: {email: {basis: opt_out, trait: email}}"


def problems(text: str | bytes) -> list[str]:
    """Of a policy; one with rules is given a consent for their channel at its end."""
    if isinstance(text, str) and "rules:" in text and "consent:" not in text:
        text = f"{text.rstrip()}\n{CONSENT}\n"
    with pytest.raises(PolicyError) as caught:
        parse(text)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_every_field_is_read() -> None:
    policy = parse(FULL)
    dormant, fading = policy.rules
    assert (policy.version, policy.mode, policy.salt) == (1, "shadow", "2026")
    assert (policy.lateness, policy.skew) == (90_000, 15 * MINUTE)
    assert policy.lifecycle == Lifecycle(2 * DAY, 5 * DAY, 14 * DAY, 3 * DAY)
    assert policy.activation == Activation("Signed Up", 7 * DAY)
    assert policy.orders == {"Order Completed", "Subscribed"}
    assert policy.currency == Currency("EUR", {"USD": Decimal("0.925")})
    assert policy.risk == MbgNbd(0.243, 4.414, 0.793, 2.426, DAY)
    assert policy.guard == SourceGuard(50, 0.25)
    assert dormant.when == Silence(30 * DAY)
    assert (dormant.id, dormant.mode, dormant.channel, dormant.template) == ("dormant-30d", "live", "push", "come-back")
    assert (dormant.priority, dormant.holdout, dormant.expires_after) == (3, 0.2, 2 * DAY)
    assert (dormant.cooldown, dormant.goal) == (21 * DAY, Goal("Order Completed", 14 * DAY))
    assert fading.when == PAliveBelow(0.3, 4 * DAY, 3)
    assert (fading.mode, fading.channel, fading.template, fading.goal) == (
        "shadow",
        "email",
        "fading",
        Goal(None, 14 * DAY),
    )
    assert policy.hash == sha256(FULL.encode()).hexdigest()
    assert policy.min_silence == 4 * DAY


def test_what_is_left_out_is_as_before_any_policy() -> None:
    assert parse("version: 1") == msgspec.structs.replace(DEFAULT, hash=sha256(b"version: 1").hexdigest())
    emptied = "version: 1\ntime:\nlifecycle: {}\nactivation:\ncurrency:\nrisk: {model: mbg}\nchannels: []\nrules:\n"
    assert parse(emptied) == msgspec.structs.replace(DEFAULT, hash=sha256(emptied.encode()).hexdigest())
    assert (DEFAULT.hash, DEFAULT.rules, DEFAULT.mode) == ("", (), "shadow")
    assert (DEFAULT.lateness, DEFAULT.skew, DEFAULT.min_silence) == (HOUR, HOUR, 14 * DAY)


def test_the_shipped_policy_says_what_is_built_in() -> None:
    policy = parse(SHIPPED.read_bytes())
    built_in = {"hash", "rules", "activation", "consent", "min_silence"}
    for field in set(Policy.__struct_fields__) - built_in:
        assert getattr(policy, field) == getattr(DEFAULT, field), field
    bare = parse(
        f"version: 1\nrules: [{{id: fading, when: {{p_alive_below: 0.3}}, template: we-miss-you}}]\n{CONSENT}"
    ).rules[0]
    shipped = policy.rules[1]
    assert msgspec.structs.replace(shipped, goal=bare.goal, version=bare.version) == bare


SPAN = "expected a duration, a whole number with its unit such as 90s, 15m, 1h, 30d or 2w"


def test_all_problems_are_named_at_once_with_line_and_nearest_name() -> None:
    text = """\
version: 2
mod: live
time: {lateness: 1hour, skew: 8d}
rules:
  - id: a
    when: {silence: 30}
    cooldwn: 4d
    holdout: 1
  - id: b
    mode: on
"""
    assert problems(text) == [
        "policy.yaml:1: version: expected 1, not '2'",
        "policy.yaml:2: unknown field 'mod'; did you mean 'mode'?",
        f"policy.yaml:3: lateness: {SPAN}, not '1hour'",
        "policy.yaml:3: skew: expected a duration between 0s and 7d, not '8d'",
        f"policy.yaml:6: silence: {SPAN}, not '30'",
        "policy.yaml:7: unknown field 'cooldwn'; did you mean 'cooldown'?",
        "policy.yaml:8: holdout: expected a share of at least 0 and below 1, such as 0.1, not '1'",
        "policy.yaml:9: a rule needs the field 'when': {silence: 30d} or {p_alive_below: 0.3}",
        "policy.yaml:10: mode: expected shadow or live, not 'on'",
    ]


def test_an_unknown_field_far_from_any_name_lists_the_names() -> None:
    (line,) = problems("version: 1\ntime: {zzz: 1h}")
    assert line == "policy.yaml:2: unknown field 'zzz'; the fields of time are lateness, skew"


def test_the_name_stands_before_the_line() -> None:
    with pytest.raises(PolicyError, match=r"^policy/abc:2: unknown field"):
        parse("version: 1\nx: 1", name="policy/abc")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: the policy is empty"),
        ("# nothing\n", ":1: the policy is empty"),
        ("[]", ":1: the policy: expected fields"),
        ("salt: x", ":1: the policy needs the field 'version': 1"),
        ("version: 1\nversion: 1", ":2: 'version' is given twice; it is already on line 1"),
        ("version: 1\nsalt: {a: 1}", ":2: salt: expected a text"),
        ("version: 1\nsalt:", ':2: salt: expected a text such as "Order Completed", not nothing'),
        ("version: 1\nsalt: true", ":2: salt: expected a text"),
        ("version: 1\nsalt: " + "x" * 201, ":2: salt: expected a text of 1 to 200 printable characters"),
        ("version: 1\ntime: 1h", ":2: time: expected fields with names"),
        ("version: 1\nrules: {}", ":2: rules: expected a list"),
        ("version: 1\nrules: [a]", ":2: a rule: expected fields with names"),
        ("version: 1\nlifecycle: {at_risk: 30d}", ":2: at_risk (30d) must be shorter than dormant (30d)"),
        ("version: 1\nlifecycle: {at_risk: 59m}", ":2: at_risk: expected a duration between 1h and 3650d"),
        ("version: 1\nactivation: {event: x}", ":2: activation needs the field 'within': a duration"),
        ("version: 1\ncurrency: {reporting: usd}", ":2: reporting: expected an ISO 4217 code such as USD, not 'usd'"),
        ("version: 1\ncurrency: {rates: {EURO: 1}}", ":2: rates: unknown currency 'EURO'"),
        ("version: 1\ncurrency: {rates: {USD: 1}}", ":2: rates: USD is the reporting currency itself"),
        ("version: 1\ncurrency: {rates: {EUR: 0}}", ":2: EUR: expected a number above 0"),
        ("version: 1\ncurrency: {rates: {EUR: .nan}}", ":2: EUR: expected a number above 0"),
        ("version: 1\ncurrency: {rates: {EUR: 1e99}}", ":2: EUR: expected a number above 0"),
        ("version: 1\nrisk: {model: pareto}", ":2: model: expected mbg, not 'pareto'"),
        ("version: 1\nrisk: {r: 1, alpha: 1, a: 1, b: 1}", ":2: risk needs the field 'unit': a duration"),
        ("version: 1\nchannels: [{name: x}]", ":2: a channel needs a condition"),
        ("version: 1\nchannels: [{name: X y, source: a}]", ":2: name: expected 1 to 64 small letters"),
        ("version: 1\nchannels: [{name: x, source: []}]", ":2: source: expected at least one text"),
        ("version: 1\nchannels: [{name: x, source: [[a]]}]", ":2: source: expected a text"),
        ("version: 1\nchannels: [{name: x, referrer: 'https://a.org'}]", ":2: referrer: expected a host"),
        ("version: 1\nchannels: [{name: x, referrer: *.a.org}]", ":2: anchors and aliases (& and *) are not allowed"),
        ("version: 1\nsource_guard: {dark_below: 30%}", ":2: dark_below: expected a share"),
        ("version: 1\nsource_guard: {min_expected: '5'}", ":2: min_expected: expected a whole number"),
        ("version: 1\nrules: [{id: A, when: {silence: 1d}}]", ":2: id: expected 1 to 64 small letters"),
        ("version: 1\nrules: [{id: a, when: {}}]", ":2: when: expected one of silence (30d), p_alive_below (0.3)"),
        ("version: 1\nrules: [{id: a, when: {silence: 1d, p_alive_below: 0.1}}]", ":2: when: expected one of"),
        (
            "version: 1\nrules: [{id: a, when: {silence: 1d, min_silence: 1d}}]",
            ":2: min_silence goes with p_alive_below",
        ),
        ("version: 1\nrules: [{id: a, when: {silence: 30m}}]", ":2: silence: expected a duration between 1h"),
        ("version: 1\nrules: [{id: a, when: {p_alive_below: 0}}]", ":2: p_alive_below: expected a share above 0"),
        ("version: 1\nrules: [{id: a, when: {silence: 1d}, goal: {event: x}}]", ":2: goal needs the field 'within'"),
    ],
)
def test_one_problem_each(text: str, expected: str) -> None:
    (line,) = problems(text)
    assert line.startswith("policy.yaml" + expected)


def test_rule_ids_are_unique() -> None:
    rule = "  - {id: a, when: {silence: 1d}}\n"
    assert problems("version: 1\nrules:\n" + rule + rule) == [
        "policy.yaml:4: the rule id 'a' is given twice; decisions could not be told apart"
    ]


def test_measurements_do_not_overlap() -> None:
    text = """\
version: 1
rules:
  - {id: a, when: {silence: 3d}, cooldown: 20d, goal: {within: 7d}}
  - id: b
    when: {silence: 9d}
    goal: {within: 21d}
consent: {email: {basis: opt_out, trait: email}}
"""
    (line,) = problems(text)
    assert line.startswith(
        "policy.yaml:3: cooldown (20d) of rule 'a' must be at least the longest goal window (21d, rule 'b')"
    )
    assert len(parse(text.replace("20d", "3w")).rules) == 2


def test_numbers_are_bounded() -> None:
    rules = "".join(f"  - {{id: r{i}, when: {{silence: 1d}}}}\n" for i in range(65))
    assert problems("version: 1\nrules:\n" + rules) == ["policy.yaml:3: rules: 65 of them; at most 64"]
    assert problems("# " + "x" * 300_000)[0].startswith("policy.yaml:1: larger than 256 KB")


def test_text_must_be_utf8() -> None:
    assert problems(b"salt: \xff") == ["policy.yaml:1: not UTF-8 text"]
    assert problems("salt: \ud800") == ["policy.yaml:1: not UTF-8 text"]
    assert parse("version: 1\nsalt: Ω".encode()).salt == "Ω"


def test_a_rules_version_is_its_content() -> None:
    first = parse(FULL)
    moved = parse(FULL.replace("priority: 3\n    holdout: 0.2", "holdout: 0.20\n    priority: 3   # as before"))
    changed = parse(FULL.replace("holdout: 0.2", "holdout: 0.3"))
    assert [r.version for r in moved.rules] == [r.version for r in first.rules]
    assert moved.hash != first.hash
    assert changed.rules[0].version != first.rules[0].version
    assert changed.rules[1].version == first.rules[1].version
    # Outcomes are told apart by it for years: it must not change with the code.
    assert [r.version for r in first.rules] == ["5ff18c1af6ac", "dda57275ddb5"]


def test_the_policys_mode_is_the_rules_default() -> None:
    live = parse(FULL.replace("mode: shadow", "mode: live"))
    assert [rule.mode for rule in live.rules] == ["live", "live"]


def test_numbers_are_good_texts() -> None:
    assert parse("version: 1\nsalt: 2026").salt == "2026"
    assert parse("version: 1\nsalt: no").salt == "no"
    assert parse("version: 1\nactivation: {event: 1.10, within: 1d}").activation == Activation("1.10", DAY)


def test_channels_of_the_policy_come_first() -> None:
    policy = parse(FULL)
    assert channel_of(policy, "Google", "CPC", None, None) == "google-ads"
    assert channel_of(policy, "bing", "cpc", None, None) == "paid-search"
    assert channel_of(policy, "crm", "email", "spring-2026", None) == "newsletter"
    assert channel_of(policy, None, None, None, "blog.example.org") == "partner-blog"
    assert channel_of(policy, None, None, None, None) == "direct"
    assert channel_names(policy)[:4] == ("google-ads", "newsletter", "partner-blog", "direct")
    assert len(channel_names(policy)) == 13


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_text_is_a_policy_or_a_list_of_problems(text: str | bytes) -> None:
    try:
        parse(text)
    except PolicyError as error:
        assert error.problems  # noqa: PT017


SCALARS = st.sampled_from(
    ["1", "30d", "0.3", "live", "a", "", "~", "'x'", "[a, b]", "{a: b}", "EUR", "-1", "1e9", "*", "&a", "!t"]
)
WORDS = st.sampled_from(
    [
        *Policy.__struct_fields__,
        *Lifecycle.__struct_fields__,
        "time",
        "source_guard",
        "model",
        "reporting",
        "rates",
        "id",
        "when",
    ]
)


@given(st.recursive(SCALARS, lambda inner: st.dictionaries(WORDS, inner, max_size=4) | st.lists(inner, max_size=3)))
def test_any_tree_is_a_policy_or_a_list_of_problems(tree: Any) -> None:
    def write(node: Any) -> str:
        if isinstance(node, dict):
            return "{" + ", ".join(f"{key}: {write(value)}" for key, value in node.items()) + "}"
        return "[" + ", ".join(map(write, node)) + "]" if isinstance(node, list) else node

    try:
        parse(f"version: 1\nrules: {write(tree)}\nlifecycle: {write(tree)}\n")
        parse(write(tree))
    except PolicyError as error:
        assert all(line.startswith("policy.yaml:") for line in error.problems)  # noqa: PT017
