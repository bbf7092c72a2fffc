"""What a sound policy does that its author may not mean: notes, no refusals."""

from collections.abc import Iterator

from pipeline.policy.compiled import DEFAULT, InSegment, PAliveBelow, Policy
from pipeline.policy.entering import by_activity


def notes(policy: Policy, *, model: bool = False) -> Iterator[str]:
    """A sentence for each. `model`: a churn model is in use, which tells the risk then."""
    yield from _foreign(policy, model=model)
    yield from _hasty(policy)


def _foreign(policy: Policy, *, model: bool) -> Iterator[str]:
    """Who decides by parameters that are of other people's customers: the policy states none of its own."""
    by_risk = [f"rule {rule.id}" for rule in policy.rules if isinstance(rule.when, PAliveBelow)]
    by_value = []
    for group in (*policy.tiers, *policy.segments):
        names = {test.feature.name for test in group.where}
        closed = {"p_alive", "value", "value_at_stake"} | (set() if model else {"risk"})
        by_risk += [group.id] if names & closed else []
        by_value += [group.id] if names & {"value", "value_at_stake"} else []
    for section, users, stated in (
        ("risk", by_risk, policy.risk != DEFAULT.risk),
        ("value", by_value, not _same_orders(policy)),
    ):
        if users and not stated:
            decide = "decides" if len(users) == 1 else "decide"
            own = f"until `{section}:` states your own (rekindle fit)"
            yield f"{', '.join(users)} {decide} by CDNOW's parameters, of a CD shop in 1997, {own}"


def _same_orders(policy: Policy) -> bool:
    found, default = policy.value, DEFAULT.value
    return (found.p, found.q, found.gamma) == (default.p, default.q, default.gamma)


def _hasty(policy: Policy) -> Iterator[str]:
    """Rules that are to recall, and are due for who was here just now."""
    segments = {segment.id: segment for segment in policy.segments}
    for rule in policy.rules:
        when = rule.when
        if rule.kind == "recall" and isinstance(when, InSegment) and by_activity(segments[when.segment], policy.tiers):
            yield (
                f"rule {rule.id} (kind recall) is due on entering {when.segment}, which an activity can bring about: "
                "then it sends right after that, and takes the silence that has only begun. Add `silence_days` to "
                f"{when.segment}, such as {{at_least: 14}}; if it is meant so, set `kind: grow`"
            )
