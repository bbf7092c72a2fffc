"""Why a rule flags nobody in a history, where that is known without a second look at it."""

from pipeline.backtest.figures import RuleFigures
from pipeline.policy import InSegment, NotActivated, PAliveBelow, Policy, RiskAbove, Rule, Silence
from pipeline.policy.form import spell


def why_nobody(rule: Rule, policy: Policy, found: RuleFigures, *, active_days: int, span: int, modelled: bool) -> str:
    """In words, after the rule's name. `active_days`: the most that any user has; `span`: of the history, ms;
    `modelled`: whether a churn model was named.
    """
    if found.considered:
        most = ", ".join(list(found.reasons or found.decisions)[:3])
        return f"flags nobody of those who were due: {most}"
    return f"flags nobody: {_never_due(rule, policy, active_days, span, modelled=modelled)}"


def _never_due(rule: Rule, policy: Policy, active_days: int, span: int, *, modelled: bool) -> str:
    when = rule.when
    match when:
        case RiskAbove() if not modelled:
            return "it goes by a churn model, of which none was named; --model"
        case PAliveBelow() | RiskAbove() if active_days < when.min_active_days:
            return f"min_active_days is {when.min_active_days}, and no user has more than {active_days}"
        case PAliveBelow() | RiskAbove():
            return f"no silence of {spell(when.min_silence)} or more came to the threshold, {when.threshold:g}"
        case Silence() if when.after > span:
            return f"the history is shorter than {spell(when.after)}"
        case Silence():
            return f"nobody was silent for {spell(when.after)}"
        case NotActivated():
            return f"everybody was activated within {spell(when.after)}, or the history ends before"
        case InSegment():
            tests = [test for segment in policy.segments if segment.id == when.segment for test in segment.where]
            if any(test.top is not None for test in tests):
                return f"the segment {when.segment} goes by a quantile (top), and none is published here"
            return f"nobody entered the segment {when.segment}"
