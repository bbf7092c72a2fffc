"""What a policy goes by that isn't in its text: a churn model, leases of perks, thresholds of quantiles."""

from collections.abc import Iterator, Mapping

from pipeline.policy.compiled import Policy, RiskAbove


def unmet(
    policy: Policy,
    *,
    model: bool = False,
    leased: Mapping[str, int] | None = None,
    quantiles: Mapping[str, Mapping[float, float]] | None = None,
) -> Iterator[str]:
    """A sentence for each part of the policy that does nothing until something else is published.

    `model`: one is in use; `leased`: perk -> what all its slots may spend, in minor units; `quantiles`: feature ->
    share at the top -> its threshold. By default nothing is known to be there.
    """
    for rule in policy.rules:
        if isinstance(rule.when, RiskAbove) and not model:
            needed = "nothing is due until a model is published (rekindle model publish)"
            yield f"rule {rule.id} goes by risk_above: {needed}"
    for perk in policy.perks:
        rules = [r.id for r in policy.rules if any(r.step(n).perk == perk for n in range(len(r.steps) + 1))]
        if rules and not (leased or {}).get(perk):
            yield (
                f"perk {perk} is not leased: messages of {', '.join(rules)} with it are suppressed (budget_spent) "
                "until it is (rekindle perks lease, then hourly)"
            )
    for group in (*policy.tiers, *policy.segments):
        for test in group.where:
            if test.top is not None and test.top not in (quantiles or {}).get(test.feature.name, {}):
                yield (
                    f"{group.id} goes by the top {100 * test.top:g} % of {test.feature.name}: "
                    "nobody is in it until thresholds are published (rekindle quantiles publish, then daily)"
                )
