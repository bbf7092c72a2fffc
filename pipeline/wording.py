"""Codes in words, English and Chinese: why a recall was decided as it was, and what a report concludes. Gates, which
have values, are worded in `pipeline.sentences` and `pipeline.risk.words`.

Codes are stable: programs compare them, people read the words. A new code needs a line here; a test asks for it.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

Language = Literal["en", "zh"]


class Words(NamedTuple):
    """One sentence without its full stop; `{name}` stands for a figure."""

    en: str
    zh: str


REASONS: Final[dict[str, Words]] = {
    "returned": Words("the user was back before it was decided", "用户在决策之前已经回来"),
    "expired": Words("it could not be sent before it expired", "未能在过期之前发送"),
    "episode_taken": Words(
        "another rule has this silence (one trigger per episode)",
        "这段沉默期已由另一条规则处理（每段沉默期只触发一次）",
    ),
    "activated": Words("the key moment was reached", "用户已到达关键时刻"),
    "not_in_segment": Words("no longer in the segment", "用户已不在规则的分群中"),
    "paused": Words("sending is paused (rekindle resume)", "发送已暂停（rekindle resume）"),
    "unsubscribed": Words("unsubscribed", "用户已退订"),
    "no_consent": Words("no consent to the channel", "用户未同意此渠道"),
    "unreachable": Words("the last message on the channel bounced", "此渠道的上一条消息被退回"),
    "cooldown": Words("too soon after the last contact", "距离上次联系太近"),
    "cap_day": Words("the most messages of a day were sent", "已达到该用户的每日消息上限"),
    "cap_week": Words("the most messages of a week were sent", "已达到该用户的每周消息上限"),
    "channel_cap_day": Words("this channel's most messages of a day were sent", "已达到该用户在此渠道的每日上限"),
    "channel_cap_week": Words("this channel's most messages of a week were sent", "已达到该用户在此渠道的每周上限"),
    "quiet_hours": Words("quiet hours where the user is", "用户所在时区处于免打扰时段"),
    "budget_spent": Words(
        "the perk's budget is spent, or nothing is leased (rekindle perks lease)",
        "优惠预算已用完，或尚未分配（rekindle perks lease）",
    ),
    "shadow_mode": Words(
        "the rule is in shadow (decisions are written, nothing is sent)", "规则处于影子模式（只写决策，不发送）"
    ),
    "ceiling": Words("the rule has reached its ceiling of this hour", "该规则已达到本小时的发送上限"),
    "global_holdout": Words("in the holdout over all rules", "用户属于所有规则的对照组"),
}
"""Of every `schemas.decision.Reason`."""

VERDICTS: Final[dict[str, Words]] = {
    "send": Words("send", "发送"),
    "holdout": Words("held out (measured, not sent to)", "对照组（只度量，不发送）"),
    "suppressed": Words("suppressed", "不发送"),
    "shadow": Words("would send", "本应发送"),
    "returned": Words("came back", "用户已回来"),
    "stale": Words("too late", "已过时"),
    "episode_taken": Words("left to another rule", "由另一条规则处理"),
}
"""Of every `schemas.decision.Verdict`."""

OUTLOOKS: Final[dict[str, Words]] = {
    "never_active": Words("never active yet: no rule applies", "从未活跃：没有适用的规则"),
    "visitor": Words(
        "an anonymous visitor: rules apply to users with a userId only", "匿名访客：规则只适用于有 userId 的用户"
    ),
    "no_rules": Words("no policy with rules was adopted: nothing is decided", "尚未采用带有规则的策略：不作任何决策"),
    "held": Words("the source is held: silence does not count until it is released", "数据源已挂起：释放之前不计沉默"),
    "sends": Words(
        "if silence goes on, {rule} sends for the deadline {at}", "若继续沉默，{rule} 将为到期时间 {at} 发送"
    ),
    "decides": Words("if silence goes on, {rule} decides: {what}", "若继续沉默，{rule} 的决策：{what}"),
    "over": Words("nothing more falls due in this silence", "这段沉默期内不再有到期事项"),
    "own_holdout": Words("in the rule's own holdout", "用户属于该规则的对照组"),
    "before_adoption": Words(
        "its deadline lies before the policy was adopted: switching on sends nothing for the past",
        "到期时间早于策略的采用：启用不会为过去补发",
    ),
    "before_model": Words(
        "it lies before the model was adopted: a new model sends nothing for the past",
        "到期时间早于模型的采用：新模型不会为过去补发",
    ),
    "settled": Words(
        "its deadline of this silence is over: it was decided, or passed over",
        "这段沉默期的到期时间已过：已决策或已略过",
    ),
    "sent": Words("sent by {channel} for the deadline {at}", "已为到期时间 {at} 通过 {channel} 发送"),
}
"""Of what becomes of a user, or became."""

FINDINGS: Final[dict[str, Words]] = {
    "works": Words("works: more come back than without it", "有效：回来的用户多于不召回时"),
    "harms": Words("harms: fewer come back than without it", "有害：回来的用户少于不召回时"),
    "no_effect": Words(
        "no effect seen: a lift of {lift} would probably have been found",
        "未见效果：若有 {lift} 的提升，很可能已经发现",
    ),
    "too_early": Words(
        "too early: about {needed} more users are needed to find a lift of {lift}",
        "为时尚早：要发现 {lift} 的提升，大约还需要 {needed} 名用户",
    ),
    "too_early_nobody": Words("too early: nobody has come back yet", "为时尚早：还没有用户回来"),
    "mismatch": Words(
        "void: the arms are not as large as they were drawn; find out why before believing any figure",
        "无效：两组人数与抽样比例不符；查明原因之前，不要相信任何数字",
    ),
    "no_holdout": Words("unknown: nobody is held out to compare with", "无法判断：没有可供比较的对照组"),
}

CALIBRATION: Final[dict[str, Words]] = {
    "calibrated": Words("calibrated: what it foretells is what comes", "已校准：预测与实际一致"),
    "foretells_too_much": Words(
        "off by {ece}: it foretells {foretold} silent, and {silent} were; fit and publish a new one",
        "偏差 {ece}：预测沉默比例 {foretold}，实际为 {silent}；请重新拟合并发布模型",
    ),
    "foretells_too_little": Words(
        "off by {ece}: it foretells only {foretold} silent, and {silent} were; fit and publish a new one",
        "偏差 {ece}：预测沉默比例仅 {foretold}，实际为 {silent}；请重新拟合并发布模型",
    ),
    "uneven": Words(
        "off by {ece}: right on the whole, too high for some and too low for others; fit and publish a new one",
        "偏差 {ece}：总体正确，但对一部分用户偏高、对另一部分偏低；请重新拟合并发布模型",
    ),
    "too_early": Words("too early: {needed} more scores have to be resolved", "为时尚早：还需 {needed} 个评分得到验证"),
    "nothing_yet": Words(
        "too early: the horizon of its first scores is not over", "为时尚早：首批评分的预测期尚未结束"
    ),
}


def words(table: dict[str, Words], code: str, language: Language = "en", **figures: object) -> str:
    """A code in words. Raises KeyError: no such code, or a figure that its words need is missing."""
    return say(table[code], language, **figures)


def say(found: Words, language: Language = "en", **figures: object) -> str:
    """The words in a language. Raises KeyError: a figure that they need is missing."""
    return (found.zh if language == "zh" else found.en).format_map(figures)


def stated(what: str, why: Sequence[str], language: Language = "en") -> str:
    """`what: why; why`, in the punctuation of the language."""
    colon, semicolon = ("：", "；") if language == "zh" else (": ", "; ")
    return what + colon + semicolon.join(why) if why else what


def decided(verdict: str, reasons: Iterable[str], language: Language = "en") -> str:
    """A decision in words: `suppressed: unsubscribed; quiet hours where the user is`. Raises KeyError: no such code."""
    return stated(words(VERDICTS, verdict, language), [words(REASONS, why, language) for why in reasons], language)
