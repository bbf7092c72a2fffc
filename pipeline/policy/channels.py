"""Acquisition channels: which one a visit came by, from its campaign fields and its referrer.

The policy's own rules come first; the rest falls into a fixed grouping like the default one of analytics tools.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

DIRECT: Final = "direct"
OTHER: Final = "other"
GROUPING: Final = (
    DIRECT,
    "organic-search",
    "organic-social",
    "paid-search",
    "paid-social",
    "email",
    "referral",
    "affiliates",
    "display",
    OTHER,
)
"""The names of the default grouping."""

_SEARCH: Final = frozenset(
    (
        *("google", "bing", "yahoo", "duckduckgo", "baidu", "yandex", "ecosia", "naver", "qwant", "startpage"),
        *("brave", "aol", "ask", "seznam", "sogou", "daum", "msn", "kagi", "com.google.android.googlequicksearchbox"),
    )
)
_SOCIAL: Final = frozenset(
    (
        *("facebook", "fb", "instagram", "ig", "twitter", "x", "linkedin", "reddit", "pinterest", "tiktok", "youtube"),
        *("snapchat", "threads", "whatsapp", "telegram", "quora", "tumblr", "vk", "weibo", "wechat", "line"),
        *("discord", "mastodon", "bsky", "medium", "messenger", "ycombinator", "t.co", "lnkd.in", "youtu.be", "fb.me"),
        *("m.me", "wa.me", "t.me", "com.linkedin.android", "com.facebook.katana", "com.twitter.android"),
    )
)
_MAIL: Final = frozenset(
    ("email", "e-mail", "e_mail", "mail", "newsletter", "outlook", "gmail", "com.google.android.gm"),
)
_DISPLAY: Final = frozenset(("display", "banner", "expandable", "interstitial", "cpm"))
_PAID_SEARCH: Final = frozenset(("cpc", "ppc", "paidsearch", "paid-search", "paid_search", "sem"))
_PAID_SOCIAL: Final = frozenset(("paidsocial", "paid-social", "paid_social"))
_SOCIAL_MEDIA: Final = frozenset(
    ("social", "social-network", "social_network", "social-media", "social_media", "sm"),
)
_MAIL_MEDIA: Final = frozenset(("email", "e-mail", "e_mail", "e mail", "newsletter"))
_PAID: Final = re.compile(r"cp.*|ppc|retargeting|paid.*")
_NOTHING: Final = frozenset(("", "(none)", "(not set)", "(direct)", "none", "direct", "null", "undefined"))
_SECOND_LEVEL: Final = frozenset(("co", "com", "net", "org", "gov", "edu", "ac", "ne", "or"))  # as in google.co.uk


# What `pattern` makes of globs; every other sign that means something to a pattern is escaped.
_TOKENS: Final = re.compile(r"\\(?P<escaped>.)|(?P<star>\(\?>\.\*\?|\.\*)|\(\?:|\)|(?P<end>\|)|(?P<plain>.)", re.DOTALL)


class ChannelRule(msgspec.Struct, frozen=True):
    """A channel and the patterns that a visit must match, all of them. None: no condition."""

    name: str
    source: re.Pattern[str] | None = None
    medium: re.Pattern[str] | None = None
    campaign: re.Pattern[str] | None = None
    referrer: re.Pattern[str] | None = None


def pattern(globs: Iterable[str]) -> re.Pattern[str]:
    """A pattern for a whole, case-folded value: any of `globs`, in which `*` stands for any run of characters."""
    return re.compile("|".join(_translate(glob.strip().casefold()) for glob in globs), re.DOTALL)


def _translate(glob: str) -> str:
    head, *rest = (re.escape(part) for part in re.split(r"\*+", glob))
    if not rest:
        return f"(?:{head})"
    *middle, tail = rest
    # An atomic group takes the first place where a part fits and never tries another: no pattern is slow on any value.
    return f"(?:{head}{''.join(f'(?>.*?{part})' for part in middle)}.*{tail})"


def globs_of(found: re.Pattern[str]) -> tuple[str, ...]:
    """The inverse of `pattern`: the globs, case-folded."""
    texts = [""]
    for token in _TOKENS.finditer(found.pattern):
        if token["end"]:
            texts.append("")
        else:
            texts[-1] += "*" if token["star"] else token["escaped"] or token["plain"] or ""
    return tuple(texts)


def channel_of(
    rules: Iterable[ChannelRule], source: str | None, medium: str | None, campaign: str | None, referrer: str | None
) -> str:
    """The name of the channel. `referrer` is a host name. A rule's condition never matches a field that is missing."""
    source, medium, campaign, referrer = _fold(source), _fold(medium), _fold(campaign), _fold(referrer)
    for rule in rules:
        if (
            _matches(rule.source, source)
            and _matches(rule.medium, medium)
            and _matches(rule.campaign, campaign)
            and _matches(rule.referrer, referrer)
        ):
            return rule.name
    source, medium, campaign = ("" if value in _NOTHING else value for value in (source, medium, campaign))
    return _by_campaign(source, medium) if source or medium or campaign else _by_referrer(referrer)


def _fold(value: str | None) -> str:
    return value.strip().casefold() if value else ""


def _matches(condition: re.Pattern[str] | None, value: str) -> bool:
    return condition is None or (value != "" and condition.fullmatch(value) is not None)


def _by_campaign(source: str, medium: str) -> str:
    site = _site(source)
    if _PAID.fullmatch(medium):
        if site in _SEARCH:
            return "paid-search"
        if site in _SOCIAL:
            return "paid-social"
    if medium in _PAID_SEARCH:
        return "paid-search"
    if medium in _PAID_SOCIAL:
        return "paid-social"
    if medium in _DISPLAY:
        return "display"
    if _PAID.fullmatch(medium):
        return OTHER
    if medium in _MAIL_MEDIA or source in _MAIL:
        return "email"
    if medium in {"affiliate", "affiliates"}:
        return "affiliates"
    if medium in _SOCIAL_MEDIA or site in _SOCIAL:
        return "organic-social"
    if medium == "organic" or (site in _SEARCH and not medium):
        return "organic-search"
    return "referral" if medium in {"referral", "link", "app"} else OTHER


def _by_referrer(host: str) -> str:
    if not host:
        return DIRECT
    if host in _MAIL or host.split(".", 1)[0] in {"mail", "webmail", "outlook"}:
        return "email"
    site = _site(host)
    if site in _SEARCH:
        return "organic-search"
    return "organic-social" if site in _SOCIAL else "referral"


def _site(host: str) -> str:
    """A site's short name: www.google.co.uk -> google, facebook -> facebook. A host that is itself known stays."""
    host = host.removeprefix("www.")
    labels = host.split(".")
    if len(labels) == 1 or host in _SEARCH or host in _SOCIAL:
        return host
    national = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
    return labels[-3] if national else labels[-2]
