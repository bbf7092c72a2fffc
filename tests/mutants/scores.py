"""The rules of churn models on the stream: who is scored, what becomes of a score, what a lease may be."""

from typing import Final

from tests.mutants.mutant import Suite

USER: Final = "pipeline/user.py"
SILENCE: Final = "pipeline/silence.py"
SCORES: Final = "pipeline/scores.py"
LEASES: Final = "pipeline/leases.py"
_score = Suite("unit/test_scores").rule
_calibration = Suite("unit/test_calibration_report").rule
_lease = Suite("unit/test_leases").rule
_adopt = Suite("unit/test_adopt").rule
_budget = Suite("unit/test_budgets").rule

MODELS: Final = (
    _score(
        "a new model opens no backlog",
        "pipeline/recall.py",
        "if at < context.modelled",
        "if at < 0",
        "a_new_model_opens_no_backlog",
    ),
    _score(
        "a score is resolved once",
        SCORES,
        "        facts.append((CALIBRATION, cell, PERCENT, check.percent))\n    state.check = None",
        "        facts.append((CALIBRATION, cell, PERCENT, check.percent))",
        "silence_to_the_horizons_end_resolves_it_once_and_by_itself",
        "the_first_activity_after_it_resolves_it",
    ),
    _score(
        "a score is resolved by itself",
        SILENCE,
        "        times.append(scores.matures_at(state.check))",
        "        pass",
        "silence_to_the_horizons_end_resolves_it_once_and_by_itself",
    ),
    _score(
        "a late activity does not put the end of a score off",
        SILENCE,
        "        earliest = min(earliest, scores.matures_at(state.check) + context.dark * HOUR)",
        "        pass",
        "a_late_activity_of_before_the_score_does_not_put_its_end_off",
    ),
    _score(
        "one score waits at a time",
        SCORES,
        "if model is None or state.check is not None:",
        "if model is None:",
        "every_score_is_resolved_or_waits_or_is_lost",
    ),
    _score(
        "what lies before a score says nothing of it",
        SCORES,
        "if check is not None and time > check.at:",
        "if check is not None:",
        "an_activity_of_before_the_score_leaves_it",
    ),
    _score(
        "the horizon is effective time",
        USER,
        "scores.hear(state, item.time - item.dark * HOUR, effects.facts)",
        "scores.hear(state, item.time, effects.facts)",
        "dark_time_does_not_count",
    ),
    _score(
        "whoever is erased takes their score along",
        "pipeline/stocks.py",
        "    scores.lose(state, facts)",
        "    pass",
        "a_score_of_somebody_who_is_erased_is_lost",
    ),
    _score(
        "whoever comes back is not scored as if they had not",
        SILENCE,
        '    if revealed_by == "clock":\n        if context.model',
        "    if True:\n        if context.model",
        "whoever_comes_back_before_the_clock_is_not_scored",
    ),
    _calibration(
        "scores are judged when nothing of their day waits",
        "pipeline/reports/calibration.py",
        "if day < end and not waiting(bands)",
        "if day < end",
        "a_day_counts_when_nothing_of_it_waits",
    ),
    _calibration(
        "scores are judged when their day is over",
        "pipeline/reports/calibration.py",
        "if day < end and not waiting(bands)",
        "if not waiting(bands)",
        "a_day_counts_when_it_is_over",
    ),
    # ---- budgets
    _lease(
        "leases add up to the budget at most",
        LEASES,
        "left = (perk.budget - sum(leased)) // perk.cost",
        "left = perk.budget // perk.cost",
        "a_lease_only_rises_and_stays_within_the_budget",
    ),
    _lease(
        "a lease never falls",
        LEASES,
        "    if left <= 0 or not needy:\n        return after\n",
        "    if not needy:\n        return after\n",
        "a_lease_only_rises_and_stays_within_the_budget",
    ),
    _lease(
        "who asks for nothing strands little",
        LEASES,
        "(gain if spent[slot] else min(gain, evenly))",
        "gain",
        "a_slot_that_asks_for_nothing_strands_little",
    ),
    _adopt(
        "a lease builds on the last one",
        "agents/kafka/adopt.py",
        "before = last_lease(registry)",
        "before: dict[str, list[int]] = {}",
        "a_lease_is_built_on_what_was_published_before_it",
    ),
    _budget(
        "a slot spends its lease and nothing else",
        "pipeline/perks.py",
        "return leased[int(slot)] - spent",
        "return leased[int(slot)]",
        "a_slot_spends_its_lease_and_not_more",
    ),
)
