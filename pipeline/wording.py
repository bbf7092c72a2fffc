"""Codes in words, English and Chinese: why a recall was decided as it was, and what a report concludes.

Codes are stable: programs compare them, people read the words. A new code needs a line here; a test asks for it.
"""

from typing import Final, Literal, NamedTuple

Language = Literal["en", "zh"]


class Words(NamedTuple):
    """One sentence without its full stop; `{name}` stands for a figure."""

    en: str
    zh: str


REASONS: Final[dict[str, Words]] = {
    "returned": Words("the user came back before it was decided", "用户在决策之前已经回来"),
    "expired": Words("decided too late: it had expired", "决策太晚：已经过期"),
    "episode_taken": Words(
        "another rule has this silence: one recall per silence", "这段沉默期已由另一条规则处理：每段沉默期只召回一次"
    ),
    "activated": Words("the user has reached the goal of the rule already", "用户已达成该规则的目标"),
    "paused": Words("sending is paused", "发送已暂停"),
    "unsubscribed": Words("the user has unsubscribed", "用户已退订"),
    "no_consent": Words("no consent to this channel", "用户未同意此渠道"),
    "unreachable": Words("the last message on this channel bounced", "此渠道的上一条消息被退回"),
    "cooldown": Words("too soon after the last contact", "距离上次联系太近"),
    "cap_day": Words("the user has had the most messages of a day", "已达到该用户每日消息上限"),
    "cap_week": Words("the user has had the most messages of a week", "已达到该用户每周消息上限"),
    "channel_cap_day": Words(
        "the user has had this channel's most messages of a day", "已达到该用户在此渠道的每日上限"
    ),
    "channel_cap_week": Words(
        "the user has had this channel's most messages of a week", "已达到该用户在此渠道的每周上限"
    ),
    "quiet_hours": Words("it is quiet hours where the user is", "用户所在时区处于免打扰时段"),
    "budget_spent": Words("the budget of its perk is spent", "优惠预算已用完"),
    "ceiling": Words("the rule has reached its ceiling of this hour", "该规则已达到本小时的发送上限"),
    "shadow_mode": Words("the rule is in shadow: decided, not sent", "规则处于影子模式：只决策，不发送"),
    "not_in_segment": Words("the user is no longer in the rule's segment", "用户已不在规则的分群中"),
    "global_holdout": Words(
        "the user is in the holdout over all rules: measured, not sent to", "用户属于全局对照组：只度量，不发送"
    ),
    "erased": Words("the user was erased", "用户数据已被删除"),
}

DECISIONS: Final[dict[str, Words]] = {
    "send": Words("sent", "发送"),
    "holdout": Words("held out: measured, not sent to", "对照组：只度量，不发送"),
    "suppressed": Words("suppressed", "已抑制"),
    "shadow": Words("would be sent, but the rule is in shadow", "本应发送，但规则处于影子模式"),
    "returned": Words("came back by themselves", "用户自行回来"),
    "stale": Words("too late to send", "已过时，不再发送"),
    "episode_taken": Words("left to another rule", "由另一条规则处理"),
}

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
    found = table[code]
    return (found.zh if language == "zh" else found.en).format_map(figures)
