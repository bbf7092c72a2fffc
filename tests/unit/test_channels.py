"""Acquisition channels: the default grouping, and the policy's patterns."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policy.channels import GROUPING, ChannelRule, channel_of, globs_of, pattern


@pytest.mark.parametrize(
    ("source", "medium", "referrer", "expected"),
    [
        (None, None, None, "direct"),
        ("(direct)", "(none)", None, "direct"),
        ("", " ", "", "direct"),
        (None, None, "www.google.co.uk", "organic-search"),
        (None, None, "duckduckgo.com", "organic-search"),
        (None, None, "com.google.android.googlequicksearchbox", "organic-search"),
        (None, None, "l.facebook.com", "organic-social"),
        (None, None, "t.co", "organic-social"),
        (None, None, "mail.google.com", "email"),
        (None, None, "com.google.android.gm", "email"),
        (None, None, "blog.example.org", "referral"),
        (None, None, "notgoogle.com", "referral"),
        (None, None, "google.example.org", "referral"),
        ("google", "cpc", None, "paid-search"),
        ("Google", "CPC", "www.google.com", "paid-search"),
        ("adnetwork", "ppc", None, "paid-search"),
        ("facebook", "cpc", None, "paid-social"),
        ("instagram.com", "paid", None, "paid-social"),
        ("adnetwork", "cpm", None, "display"),
        ("adnetwork", "banner", None, "display"),
        ("adnetwork", "paid-video", None, "other"),
        ("google", None, None, "organic-search"),
        ("google", "organic", None, "organic-search"),
        ("unknown", "organic", None, "organic-search"),
        ("twitter", "social", None, "organic-social"),
        ("reddit", None, None, "organic-social"),
        ("crm", "email", None, "email"),
        ("newsletter", None, None, "email"),
        ("partner", "affiliate", None, "affiliates"),
        ("example.org", "referral", None, "referral"),
        ("flyer", "qr", None, "other"),
        ("flyer", None, "www.google.com", "other"),
    ],
)
def test_default_grouping(source: str | None, medium: str | None, referrer: str | None, expected: str) -> None:
    assert channel_of((), source, medium, None, referrer) == expected


def test_the_first_rule_wins_and_all_its_conditions_hold() -> None:
    rules = (
        ChannelRule("ads", source=pattern(["google"]), medium=pattern(["cpc", "ppc"])),
        ChannelRule("google", source=pattern(["GOOGLE"])),
        ChannelRule("any-campaign", campaign=pattern(["*"])),
    )
    assert channel_of(rules, "google", "ppc", None, None) == "ads"
    assert channel_of(rules, " Google ", "organic", None, None) == "google"
    assert channel_of(rules, None, None, "x", None) == "any-campaign"
    assert channel_of(rules, None, None, None, None) == "direct"  # a missing field matches no pattern


@pytest.mark.parametrize(
    ("glob", "value", "matches"),
    [
        ("spring-*", "spring-2026", True),
        ("spring-*", "spring-", True),
        ("spring-*", "late-spring-2026", False),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("a.c", "abc", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "ac", False),
        ("**", "x", True),
        ("[x]", "[x]", True),
        ("a*a", "a", False),
        ("*ab*ab", "ab-ab", True),
        ("*ab*ab", "ab", False),
    ],
)
def test_globs(glob: str, value: str, matches: bool) -> None:
    assert (pattern([glob]).fullmatch(value) is not None) is matches


def naive(glob: str, value: str) -> bool:
    if not glob:
        return not value
    if glob[0] == "*":
        return any(naive(glob[1:], value[i:]) for i in range(len(value) + 1))
    return bool(value) and glob[0] == value[0] and naive(glob[1:], value[1:])


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_globs_agree_with_the_obvious_matcher(glob: str, value: str) -> None:
    assert (pattern([glob]).fullmatch(value) is not None) is naive(glob, value)


@given(st.lists(st.text("aB*.?|()[]\\^- \n", min_size=1, max_size=8), min_size=1, max_size=3))
def test_a_pattern_tells_its_globs(globs: list[str]) -> None:
    assert globs_of(pattern(globs)) == tuple(re.sub(r"\*+", "*", glob.strip().casefold()) for glob in globs)


def test_no_pattern_is_slow_on_any_value() -> None:
    start = time.process_time()
    assert pattern(["*a" * 60 + "b"]).fullmatch("a" * 50_000) is None
    assert time.process_time() - start < 1


@given(*[st.none() | st.text(max_size=20)] * 4)
def test_names_are_bounded(source: str | None, medium: str | None, campaign: str | None, referrer: str | None) -> None:
    assert channel_of((), source, medium, campaign, referrer) in GROUPING
