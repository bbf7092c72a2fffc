"""What the owned partitions' sums come to, as families of metrics. Pure; labels come from bounded sets."""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from pipeline.lifecycle import STAGES
from pipeline.money import EXPONENTS
from pipeline.partition import Partition
from pipeline.policy import Policy
from pipeline.reports.calibration import by_model, over, ripe, together
from pipeline.sums import CALIBRATION, DECISIONS, OUTCOMES, RISK, SEGMENTS, STAGE, TRIALS
from pipeline.sums.calibration import CAME, PERCENT, SILENT
from pipeline.sums.outcomes import ALL_RULES, PERK_COST, VALUE, stratum_of
from pipeline.sums.population import P_ALIVE_BUCKETS
from pipeline.sums.trials import USERS
from schemas.decision import Reason, Verdict
from schemas.trigger import Arm

OTHER: Final = "other"
"""Whatever is in none of the sets below: a label of a rule that no adopted policy has any more, above all."""
_VERDICTS: Final = frozenset(get_args(Verdict))
_WHY: Final = frozenset((*get_args(Reason), ""))
_ARMS: Final = frozenset(get_args(Arm))
_KINDS: Final = ("user", "visitor")
_MONEY: Final = {OUTCOMES.fields[VALUE]: "value", OUTCOMES.fields[PERK_COST]: "perk_cost"}
_SCORED_DAYS: Final = 28

Series = tuple[str, ...]


def population(cores: list[Partition]) -> Iterator[Metric]:
    """Users by stage, by P(alive), by segment and tier."""
    stages: Tally[Series] = Tally({(kind, stage): 0 for kind in _KINDS for stage in STAGES[1:]})
    risks: Tally[Series] = Tally({(edge,): 0 for edge in P_ALIVE_BUCKETS})
    tiers = {("tier", tier.id): 0 for core in cores for tier in core.policy.tiers}
    groups = Tally[Series](tiers | {("segment", s.id): 0 for core in cores for s in core.policy.segments})
    for core in cores:
        for (name, dims), cell in list(core.cells.values.items()):
            labels = tuple(map(str, dims))
            if name == STAGE.name and labels in stages:
                stages[labels] += cell[0]
            elif name == RISK.name and labels in risks:
                risks[labels] += cell[0]
            elif name == SEGMENTS.name and labels in groups:
                groups[labels] += cell[0]
    yield gauge("users", "Users and visitors by stage of their lifecycle.", ("kind", "stage"), stages)
    says = "Users by P(alive) when last looked at: lower edge of a tenth."
    yield gauge("users_by_p_alive", says, ("p_alive",), risks)
    yield gauge("segment_users", "Users in each segment and tier of the policy.", ("kind", "segment"), groups)


def recall(grown: Mapping[Series, int], cores: list[Partition]) -> Iterator[Metric]:
    """Decisions, and what became of them, from `grown`."""
    rules = {ALL_RULES, *(rule.id for core in cores for rule in core.policy.rules)}
    limited = {rule.id for core in cores for rule in core.policy.rules if rule.ceiling is not None}
    decisions = Tally[Series]({(rule, "suppressed", "ceiling"): 0 for rule in limited})  # for an alert to rise from
    people = Tally[Series]()
    money = {"value": Tally[Series](), "perk_cost": Tally[Series]()}
    for (name, rule, *rest), count in grown.items():
        series = (of(rule, rules), *rest)
        if name == DECISIONS.name:
            decisions[series] += count
        elif rest[-1] in _MONEY:
            money[_MONEY[rest[-1]]][series[:-1]] += count
        else:
            people[series] += count
    says = "Decisions by rule, verdict and first reason."
    yield counter("decisions", says, ("rule", "decision", "reason"), decisions)
    says = (
        "Users by rule and arm: decided; window over (measured); of these, back at all, and with the goal (recalled). "
        "Messages: sent, delivered, clicked, bounced, failed. Rule *: by the draw over all rules."
    )
    yield counter("recall_users", says, ("rule", "arm", "step"), people)
    unit = 10 ** max((EXPONENTS[core.policy.currency.reporting] for core in cores), default=2)
    says = "What the goals were worth, in the policy's reporting currency."
    perks = "What was reserved for perks, in the policy's reporting currency."
    for name, amounts in money.items():
        worth = {series: minor / unit for series, minor in amounts.items()}
        yield counter(f"recall_{name}", says if name == "value" else perks, ("rule", "arm"), worth)


def arms(cores: list[Partition]) -> Iterator[Metric]:
    """The arms that the policies in force draw now, by users at their first contact: as drawn, and as they came out."""
    users, expected = Tally[Series](), dict[Series, float]()
    for core in cores:
        drawn = _draws(core.policy)
        for (name, dims), cell in list(core.cells.values.items()):
            if name == TRIALS.name:
                _day, rule, stratum, arm = map(str, dims)
                if (share := drawn.get((rule, stratum))) is not None:
                    users[rule, of(arm, _ARMS)] += cell[USERS]
                    expected[rule,] = expected.get((rule,), 0.0) + cell[USERS] * share
    says = (
        "Users at their first contact, by the present share and salt of the rule. Rule *: of the draw over all rules."
    )
    yield gauge("trial_users", says, ("rule", "arm"), users)
    yield gauge("trial_holdout_expected", "Of them, how many the share would hold out.", ("rule",), expected)


def _draws(policy: Policy) -> dict[tuple[str, str], float]:
    """(rule, stratum) -> share, of every draw that may come out either way."""
    shares = {rule.id: policy.held_out(rule) for rule in policy.rules} | {ALL_RULES: policy.holdout}
    return {(rule, stratum_of(share, policy.salt)): share for rule, share in shares.items() if 0 < share < 1}


def scores(cores: list[Partition]) -> Iterator[Metric]:
    """Of the adopted models, over each partition's last days of which everything is known."""
    seen, foretold = Tally[Series](), Tally[Series]()
    for core in cores:
        version = core.position.model[:12]
        known = list(core.cells.values.items()) if version else []
        scored = [(dims, cell) for (name, dims), cell in known if name == CALIBRATION.name]
        end = over(scored)
        for _, days in by_model((dims, cell) for dims, cell in scored if dims[1] == version):
            recent = [(day, bands) for day, bands in days if day >= end - _SCORED_DAYS]
            for band, cell in together(ripe(recent, end)).items():
                seen[version, band, "silent"] += cell[SILENT]
                seen[version, band, "came"] += cell[CAME]
                foretold[version, band] += cell[PERCENT]
    span = f"the last {_SCORED_DAYS} days whose horizon is over"
    yield gauge("scores", f"Scores of {span}, by what followed.", ("model", "band", "result"), seen)
    expected = {series: percent / 100 for series, percent in foretold.items()}
    says = f"Of the scores of {span}: how many were to be silent."
    yield gauge("scores_foretold", says, ("model", "band"), expected)


def modes(cores: list[Partition]) -> Iterator[Metric]:
    """How many partitions are owned, held, paused, and by which policy they decide."""
    yield gauge("partitions", "Partitions owned.", (), {(): len(cores)})
    counts: dict[Series, float] = {(): cores[0].count} if cores else {}
    yield gauge("source_partitions", "Partitions of the user topic, as whoever owns one knows.", (), counts)
    held = sum(core.guard.held for core in cores)
    yield gauge("source_held_partitions", "Owned partitions whose source an operator holds.", (), {(): held})
    paused = sum(bool(core.position.paused) for core in cores)
    yield gauge("sending_paused_partitions", "Owned partitions where a rule is paused.", (), {(): paused})
    adopted = Tally[Series]((core.position.policy[:12] or "none",) for core in cores)
    says = "Owned partitions by the policy that they decide by: 12 digits of its hash."
    yield gauge("policy_partitions", says, ("policy",), adopted)


def gauge(name: str, says: str, labels: Series, samples: Mapping[Series, float]) -> Metric:
    """A family of gauges: label values -> figure."""
    return _filled(GaugeMetricFamily(f"rekindle_{name}", says, labels=labels), samples)


def counter(name: str, says: str, labels: Series, samples: Mapping[Series, float]) -> Metric:
    """A family of counters: label values -> count."""
    return _filled(CounterMetricFamily(f"rekindle_{name}", says, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Mapping[Series, float]) -> Metric:
    for values, sample in sorted(samples.items()):
        family.add_metric(values, sample)
    return family


def grown(core: Partition) -> Tally[Series]:
    """The sums that only grow, without their days, under labels of bounded sets (but for the rule)."""
    found: Tally[Series] = Tally()
    for (name, dims), cell in list(core.cells.values.items()):
        if name == DECISIONS.name:
            _day, rule, verdict, reason = map(str, dims)
            found[name, rule, of(verdict, _VERDICTS), of(reason, _WHY)] += cell[0]
        elif name == OUTCOMES.name:
            _day, rule, _stratum, arm = map(str, dims)
            for field, count in zip(OUTCOMES.fields, cell, strict=True):
                found[name, rule, of(arm, _ARMS), field] += count
    return found


def less(now: Mapping[Series, int], before: Mapping[Series, int]) -> dict[Series, int]:
    """What was added since `before`."""
    return {series: count - before.get(series, 0) for series, count in now.items()}


def of(value: str, known: Iterable[str]) -> str:
    """The value, or OTHER if it is none of the known ones."""
    return value if value in known else OTHER
