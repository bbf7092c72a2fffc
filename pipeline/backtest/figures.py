"""The figures of a backtest by their names. Every definition is in docs/methods/backtest.md."""

import msgspec

from pipeline.policy.compiled import Kind


class FirstContacts(msgspec.Struct):
    """Users at their first contact, `treated` and `held` out, as `report recall` compares them. `measured`: those whose
    goal window ended within the history; `reached_goal`: of these, with the goal in it, `base_rate` as a share.
    `uplift`: the smallest that the holdout could detect, in points of share; None: none.
    """

    treated: int
    held: int
    measured: int
    reached_goal: int
    base_rate: float | None
    uplift: float | None


class RuleFigures(msgspec.Struct):
    """One rule, or all that recall. `flagged`: silences that it found out; `measured`: those whose goal window ended
    within the history; `came_back`, `reached_goal`: of these, with any activity or with the goal in the window;
    `later`: with an activity after it. `wasted` (of recalls only: the others are not for who is gone), `with_goal`:
    the first two as shares. `nobody`: why it flags nobody, in words.
    """

    rule: str
    kind: Kind
    mode: str
    considered: int
    decisions: dict[str, int]
    reasons: dict[str, int]
    flagged: int
    users: int
    measured: int
    came_back: int
    wasted: float | None
    later: int
    reached_goal: int
    with_goal: float | None
    first_contacts: FirstContacts | None = None
    nobody: str = ""


class Coverage(msgspec.Struct):
    """Of the users who were `lost` (silent from their last activity to the end of the history, for at least the
    horizon): how many a recall rule had flagged after that before the horizon had passed (`in_time`), after it
    (`late`), or by their last activity itself (`by_activity`), or found due but kept back (`suppressed`, by `reasons`),
    or saw otherwise (`other`), or never saw (`unseen`). `lead_days`: from the flag to the end of the horizon, its 10 %,
    50 % and 90 % quantiles over those in time. `rules`: in time, by rule.
    """

    horizon_days: float
    lost: int
    in_time: int
    late: int
    by_activity: int
    suppressed: int
    other: int
    unseen: int
    share: float | None
    lead_days: tuple[float, float, float] | None
    reasons: dict[str, int]
    rules: dict[str, int]


class Load(msgspec.Struct):
    """What a channel would have carried. `by_hour`: sends by hour of the week from Monday 00:00 UTC, over the whole
    history; `peak` sends fell into the fullest single hour, `peak_at`.
    """

    channel: str
    sends: int
    per_week: float
    by_hour: list[int]
    peak: int
    peak_at: str


class Week(msgspec.Struct):
    """A week from Monday (`start`): by rule what was flagged and sent, how many users became lost in
    it (their horizon ended), and how many of them had been flagged in time.
    """

    start: str
    flagged: dict[str, int]
    sent: dict[str, int]
    lost: int
    in_time: int


class Overlap(msgspec.Struct):
    """Silences and users that both rules considered."""

    rules: tuple[str, str]
    episodes: int
    users: int


class PerkBudget(msgspec.Struct):
    """What a perk's sends would have reserved, and the `budget` that the policy gives it (None: no such perk), in minor
    units of the reporting currency.
    """

    perk: str
    sends: int
    reserved: int
    budget: int | None


class SweepRow(msgspec.Struct):
    """The policy with `field` at `value`, in one line. Of the recall rules: whom they flagged, who of these came back,
    who of the lost was covered. Of all rules: `messages` sent and `held` out (steps of a contact each for itself), what
    their holdout can show, and the fullest hour of any channel.
    """

    field: str
    value: str
    flagged: int
    messages: int
    held: int
    wasted: float | None
    base_rate: float | None
    uplift: float | None
    covered: float | None
    lead_days: float | None
    peak: int


class Backtest(msgspec.Struct):
    """Everything. `total`: of the recall rules; `together`: first contacts of all rules, as the report's row over all
    of them. Times are RFC 3339, days ISO dates; shares 0..1, None of nothing.
    """

    policy: str
    start: str
    end: str
    events: int
    rejected: int
    users: int
    total: RuleFigures
    together: FirstContacts
    rules: list[RuleFigures]
    coverage: Coverage
    weeks: list[Week]
    load: list[Load]
    overlap: list[Overlap]
    perks: list[PerkBudget]


def row(field: str, value: str, found: Backtest) -> SweepRow:
    """A backtest in one line."""
    total, coverage = found.total, found.coverage
    return SweepRow(
        field=field,
        value=value,
        flagged=total.flagged,
        messages=sum(rule.decisions.get("send", 0) for rule in found.rules),
        held=sum(rule.decisions.get("holdout", 0) for rule in found.rules),
        wasted=total.wasted,
        base_rate=found.together.base_rate,
        uplift=found.together.uplift,
        covered=coverage.share,
        lead_days=None if coverage.lead_days is None else coverage.lead_days[1],
        peak=max((load.peak for load in found.load), default=0),
    )
