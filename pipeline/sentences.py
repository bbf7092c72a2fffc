"""Gates in words, for people who ask why. Where a gate that is shut says no more than its reason code, it has the words
of that.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from pipeline.risk import Term
from pipeline.risk.words import effect
from pipeline.wording import REASONS, Language, Words, say
from schemas.trigger import Gate


class Sentence(msgspec.Struct):
    """A gate, and what it means in words."""

    feature: str
    value: float | int | str | None
    threshold: float | int | str | None
    passed: bool
    words: str


_NO_MODEL: Final = Words(
    "no churn model is adopted (rekindle model publish)", "尚未采用流失模型（rekindle model publish）"
)
_JUST_BELOW: Final = Words("P(alive) has just fallen below {threshold}", "P(alive) 刚刚低于 {threshold}")
_P_ALIVE: Final = Words(
    "P(alive) is {value}, the rule asks for less than {threshold}", "P(alive) 为 {value}，规则要求低于 {threshold}"
)
_RISK: Final = Words(
    "the risk is {value}, the rule asks for {threshold} or more", "风险为 {value}，规则要求不低于 {threshold}"
)
GATES: Final[dict[str, tuple[Words, Words]]] = {
    "silence_days": (
        Words("silent for {value} {days}, the rule asks for {threshold}", "已沉默 {value} 天，规则要求 {threshold} 天"),
        Words(
            "only silent for {value} {days}, the rule asks for {threshold}",
            "仅沉默 {value} 天，规则要求 {threshold} 天",
        ),
    ),
    "p_alive": (_P_ALIVE, _P_ALIVE),
    "risk": (_RISK, _RISK),
    "age_days": (
        Words(
            "first seen {value} {days} ago, the rule asks for {threshold}",
            "首次出现于 {value} 天前，规则要求 {threshold} 天",
        ),
        Words(
            "only first seen {value} {days} ago, the rule asks for {threshold}",
            "首次出现距今仅 {value} 天，规则要求 {threshold} 天",
        ),
    ),
    "segment": (Words("entered {value}", "已进入分群 {value}"), Words("not in {value}", "不在分群 {value} 中")),
    "active_days": (
        Words("{value} active {days}, the rule asks for {threshold}", "活跃 {value} 天，规则要求 {threshold} 天"),
        Words(
            "only {value} active {days}, the rule asks for {threshold}", "仅活跃 {value} 天，规则要求 {threshold} 天"
        ),
    ),
    "days_since_contact": (
        Words(
            "{value} {days} since the last contact, the next may come after {threshold}",
            "距离上次联系 {value} 天，{threshold} 天后可再联系",
        ),
        Words(
            "only {value} {days} since the last contact, the next may come after {threshold}",
            "距离上次联系仅 {value} 天，{threshold} 天后可再联系",
        ),
    ),
    "not_activated": (Words("the key moment was not reached", "用户尚未到达关键时刻"), REASONS["activated"]),
    "in_segment": (Words("in the segment", "用户在规则的分群中"), REASONS["not_in_segment"]),
    "not_quiet_hours": (
        Words("no quiet hours where the user is", "用户所在时区不在免打扰时段"),
        REASONS["quiet_hours"],
    ),
    "budget": (Words("the perk's budget has room", "优惠预算尚有余额"), REASONS["budget_spent"]),
    "ceiling": (
        Words("the rule is below its ceiling of this hour", "该规则未达到本小时的发送上限"),
        REASONS["ceiling"],
    ),
    "cap_day": (Words("below the cap of a day", "未达到每日消息上限"), REASONS["cap_day"]),
    "cap_week": (Words("below the cap of a week", "未达到每周消息上限"), REASONS["cap_week"]),
    "channel_cap_day": (
        Words("below the channel's cap of a day", "未达到此渠道的每日上限"),
        REASONS["channel_cap_day"],
    ),
    "channel_cap_week": (
        Words("below the channel's cap of a week", "未达到此渠道的每周上限"),
        REASONS["channel_cap_week"],
    ),
    "still_silent": (Words("still silent at the deadline", "到期时仍在沉默"), REASONS["returned"]),
    "in_time": (Words("decided in time", "决策及时"), REASONS["expired"]),
    "episode_free": (
        Words("no other rule has this silence", "没有其他规则处理这段沉默期"),
        REASONS["episode_taken"],
    ),
    "not_paused": (Words("sending is not paused", "发送未暂停"), REASONS["paused"]),
    "subscribed": (Words("subscribed", "用户未退订"), REASONS["unsubscribed"]),
    "live": (Words("the rule is live", "规则已正式启用"), REASONS["shadow_mode"]),
}
BY_CHANNEL: Final = {
    "consent_": (
        Words("consent to {channel}", "用户同意渠道 {channel}"),
        Words("no consent to {channel}", "用户未同意渠道 {channel}"),
    ),
    "reachable_": (
        Words("reachable by {channel}", "可通过 {channel} 触达"),
        Words("the last message by {channel} bounced", "渠道 {channel} 的上一条消息被退回"),
    ),
}
_UNHEARD_OF: Final = (Words("{feature}: yes", "{feature}：是"), Words("{feature}: no", "{feature}：否"))

SHORT: Final[dict[str, Words]] = {
    "p_alive": Words("P(alive) {value}, below {threshold}", "P(alive) {value}，低于 {threshold}"),
    "risk": Words("risk {value}, {threshold} or more", "风险 {value}，不低于 {threshold}"),
    "age_days": Words(
        "first seen {value} {days} ago (the rule's limit is {threshold})",
        "首次出现于 {value} 天前（规则的期限为 {threshold} 天）",
    ),
    "segment": GATES["segment"][0],
    "silence_days": Words(
        "silent for {value} {days} (the rule's limit is {threshold})",
        "已沉默 {value} 天（规则的期限为 {threshold} 天）",
    ),
}
"""By which a rule can be due; a silence is told of some of the others, too."""
_SHORT_JUST_BELOW: Final = Words("P(alive) just below {threshold}", _JUST_BELOW.zh)
_SILENT_TOO: Final = Words(", silent for {value} {days}", "，已沉默 {value} 天")
_BY_ITS_RULE: Final = Words("by its rule", "按规则")


def sentence(gate: Gate, language: Language = "en") -> Sentence:
    """A gate of a trigger or a decision in words."""
    return Sentence(gate.feature, gate.value, gate.threshold, gate.passed, _words(gate, language))


def because(gates: Iterable[Gate], language: Language = "en") -> str:
    """What made the rule due, in short: `silent for 30 days (the rule's limit is 30)`."""
    found = {gate.feature: gate for gate in gates}
    named = next((feature for feature in SHORT if feature in found), None)
    if named is None:
        return say(_BY_ITS_RULE, language)
    value, threshold = (short(found[named].value), short(found[named].threshold))
    just_below = named == "p_alive" and value == threshold
    text = _SHORT_JUST_BELOW if just_below else SHORT[named]
    said = say(text, language, value=value, threshold=threshold, days=_days(value))
    silence = found.get("silence_days")
    if silence is None or named not in {"p_alive", "risk"}:
        return said
    quiet = short(silence.value)
    return said + say(_SILENT_TOO, language, value=quiet, days=_days(quiet))


def short(value: float | str | None) -> str:
    """A number as a person would say it: 48.197 -> 48.2, 0.6499 -> 0.65."""
    if not isinstance(value, float | int):
        return str(value)
    return f"{round(value, 1 if abs(value) >= 1 else 2):g}"


def _days(figure: str) -> str:
    return "day" if figure == "1" else "days"


def _words(gate: Gate, language: Language) -> str:
    value, threshold = _exact(gate.value), _exact(gate.threshold)
    if gate.feature == "p_alive" and gate.passed and value == threshold:
        return say(_JUST_BELOW, language, threshold=threshold)
    if gate.feature == "risk" and gate.value is None:
        return say(_NO_MODEL, language)
    if gate.contribution is not None:
        return effect(Term(gate.feature.removeprefix("risk."), float(gate.value or 0), gate.contribution), language)
    prefix = next((prefix for prefix in BY_CHANNEL if gate.feature.startswith(prefix)), "")
    pair = BY_CHANNEL[prefix] if prefix else GATES.get(gate.feature, _UNHEARD_OF)
    return say(
        pair[0 if gate.passed else 1],
        language,
        value=value,
        threshold=threshold,
        days=_days(value),
        channel=gate.feature.removeprefix(prefix),
        feature=gate.feature,
    )


def _exact(value: float | str | None) -> str:
    """A number next to a limit: 9.96 is not yet 10."""
    return f"{round(value, 2):g}" if isinstance(value, float | int) else str(value)
