"""A score's reasons in words. The codes are stable; the texts may change."""

from collections.abc import Sequence
from typing import Final

from pipeline.risk.calibration import IDENTITY
from pipeline.risk.model import ChurnModel, Features, Term
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
    "base": Words("the average user of the fit: {share}", "拟合时的平均用户：{share}"),
    "calibration": Words("calibration, of {share}", "校准，校准前为 {share}"),
}
"""Code -> what is said of its value."""
_BESIDE: Final = Words(
    "silent for {figure} {days}, beside what else is known", "已沉默 {figure} 天（与其他因素一并考虑）"
)
"""When it lowers the risk: other reasons may count the same silence."""
_RAISES: Final = Words("{so}: raises the risk ({by})", "{so}：提高风险（{by}）")
_LOWERS: Final = Words("{so}: lowers the risk ({by})", "{so}：降低风险（{by}）")
_ADDS: Final = Words("{so} ({by})", "{so}（{by}）")
_ENDS: Final = frozenset({"base", "calibration"})


def addends(model: ChurnModel, features: Features) -> list[Term]:
    """All that the log-odds of `predict` are the sum of: `base`, the terms of `explain`, and what `calibration` adds to
    their score. The values of these two are probabilities: the average user's, and that of the score.
    """
    base, score = model.base, model.score(features)
    begins = Term("base", IDENTITY.probability(base), base)
    ends = Term("calibration", IDENTITY.probability(score), model.calibration.logit(score) - score)
    return [begins, *model.explain(features), ends]


def effect(term: Term, language: Language = "en") -> str:
    """A term as a sentence: what is so, and whether it raises or lowers the risk, and by how much in log-odds; of the
    ends of `addends` what they add.
    """
    value = term.value
    figure, whole = _figure(value), f"{round(value)}"
    days = "day" if (whole if term.code == "active_days" else figure) == "1" else "days"
    lowers = term.contribution < 0
    text = _BESIDE if lowers and term.code == "silence_days" else TEXTS[term.code]
    so = say(text, language, figure=figure, whole=whole, days=days, share=f"{value:.0%}")
    says = _ADDS if term.code in _ENDS else _LOWERS if lowers else _RAISES
    return say(says, language, so=so, by=f"{term.contribution:+.2f}")


def _figure(value: float) -> str:
    """As a person would say it: 2263.1 -> 2,263; 61.87 -> 61.9; 0.0008 -> 0."""
    return f"{value:,.0f}" if value >= 100 else f"{round(value, 1 if value >= 10 else 2):g}"


def reasons(model: ChurnModel, features: Features, language: Language = "en") -> list[str]:
    """`addends` as sentences: the terms, the strongest first, then the two ends."""
    base, *terms, calibration = addends(model, features)
    return [effect(term, language) for term in (*strongest(terms, len(terms)), base, calibration)]


def strongest(terms: Sequence[Term], most: int = 3) -> list[Term]:
    """The terms that move the score most, the strongest first; ties in their order."""
    return sorted(terms, key=lambda term: -abs(term.contribution))[:most]
