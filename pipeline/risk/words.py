"""A score's reasons in words. The codes are stable; the texts may change."""

from collections.abc import Sequence
from typing import Final

from pipeline.risk.model import Term
from pipeline.wording import Language, Words, say

TEXTS: Final[dict[str, Words]] = {
    "silence_days": Words("silent for {figure} {days}", "已沉默 {figure} 天"),
    "silence_to_gap": Words("silence is {figure} times the usual gap", "沉默时长是通常间隔的 {figure} 倍"),
    "active_days": Words("{whole} active {days} so far", "迄今活跃 {whole} 天"),
    "active_days_7d": Words("{figure} recent active days (half-life 7 days)", "近期活跃 {figure} 天（半衰期 7 天）"),
    "active_days_30d": Words("{figure} recent active days (half-life 30 days)", "近期活跃 {figure} 天（半衰期 30 天）"),
    "active_days_90d": Words("{figure} recent active days (half-life 90 days)", "近期活跃 {figure} 天（半衰期 90 天）"),
    "tenure_days": Words("first seen {figure} {days} ago", "首次出现于 {figure} 天前"),
    "p_alive": Words("has not left for good: {share}", "尚未永久离开：{share}"),
    "p_active_if_alive": Words(
        "would be active within the horizon, if not gone: {share}", "若未离开，期限内会活跃：{share}"
    ),
    "mbg_p_none": Words(
        "the rhythm so far (MBG/NBD) expects silence: {share}", "按以往节奏（MBG/NBD）预计沉默：{share}"
    ),
}
"""Code -> what is said of its value."""
_RAISES: Final = Words("{so}: raises the risk ({by})", "{so}：提高风险（{by}）")
_LOWERS: Final = Words("{so}: lowers the risk ({by})", "{so}：降低风险（{by}）")


def effect(term: Term, language: Language = "en") -> str:
    """A term as a sentence: what is so, and whether it raises or lowers the risk, and by how much in log-odds."""
    value = term.value
    figure, whole = _figure(value), f"{round(value)}"
    days = "day" if (whole if term.code == "active_days" else figure) == "1" else "days"
    so = say(TEXTS[term.code], language, figure=figure, whole=whole, days=days, share=f"{value:.0%}")
    return say(_RAISES if term.contribution >= 0 else _LOWERS, language, so=so, by=f"{term.contribution:+.2f}")


def _figure(value: float) -> str:
    """As a person would say it: 2263.1 -> 2,263; 61.87 -> 61.9; 0.0008 -> 0."""
    return f"{value:,.0f}" if value >= 100 else f"{round(value, 1 if value >= 10 else 2):g}"


def strongest(terms: Sequence[Term], most: int = 3) -> list[Term]:
    """The terms that move the score most, the strongest first; ties in their order."""
    return sorted(terms, key=lambda term: -abs(term.contribution))[:most]
