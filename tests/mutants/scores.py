"""The rules of churn models on the stream: who is scored, what becomes of a score, what a lease may be."""

from typing import Final

from tests.mutants.mutant import Mutant

USER: Final = "pipeline/user.py"
SILENCE: Final = "pipeline/silence.py"
SCORES: Final = "pipeline/scores.py"
LEASES: Final = "pipeline/leases.py"


def _rule(rule: str, file: str, text: str, instead: str, *tests: str) -> Mutant:
    return Mutant(rule, file, text, instead, " ".join(f"tests/unit/{test}" for test in tests))


MODELS: Final = (
    _rule(
        "a new model opens no backlog",
        "pipeline/recall.py",
        "if at < context.modelled",
        "if at < 0",
        "test_scores.py::test_a_new_model_opens_no_backlog",
    ),
    _rule(
        "a score is resolved once",
        SCORES,
        "        facts.append((CALIBRATION, cell, PERCENT, check.percent))\n    state.check = None",
        "        facts.append((CALIBRATION, cell, PERCENT, check.percent))",
        "test_scores.py::test_silence_to_the_horizons_end_resolves_it_once_and_by_itself",
        "test_scores.py::test_the_first_activity_after_it_resolves_it",
    ),
    _rule(
        "a score is resolved by itself",
        SILENCE,
        "        times.append(scores.matures_at(state.check))",
        "        pass",
        "test_scores.py::test_silence_to_the_horizons_end_resolves_it_once_and_by_itself",
    ),
    _rule(
        "a late activity does not put the end of a score off",
        SILENCE,
        "        earliest = min(earliest, scores.matures_at(state.check) + context.dark * HOUR)",
        "        pass",
        "test_scores.py::test_a_late_activity_of_before_the_score_does_not_put_its_end_off",
    ),
    _rule(
        "one score waits at a time",
        SCORES,
        "if model is None or state.check is not None:",
        "if model is None:",
        "test_scores.py::test_every_score_is_resolved_or_waits_or_is_lost",
    ),
    _rule(
        "what lies before a score says nothing of it",
        SCORES,
        "if check is not None and time > check.at:",
        "if check is not None:",
        "test_scores.py::test_an_activity_of_before_the_score_leaves_it",
    ),
    _rule(
        "the horizon is effective time",
        USER,
        "scores.hear(state, item.time - item.dark * HOUR, effects.facts)",
        "scores.hear(state, item.time, effects.facts)",
        "test_scores.py::test_dark_time_does_not_count",
    ),
    _rule(
        "whoever is erased takes their score along",
        "pipeline/stocks.py",
        "    scores.lose(state, facts)",
        "    pass",
        "test_scores.py::test_a_score_of_somebody_who_is_erased_is_lost",
    ),
    _rule(
        "whoever comes back is not scored as if they had not",
        SILENCE,
        '    if revealed_by == "clock":\n        if context.model',
        "    if True:\n        if context.model",
        "test_scores.py::test_whoever_comes_back_before_the_clock_is_not_scored",
    ),
    _rule(
        "scores are judged when nothing of their day waits",
        "pipeline/reports/calibration.py",
        "if day < end and not waiting(bands)",
        "if day < end",
        "test_calibration_report.py::test_a_day_counts_when_nothing_of_it_waits",
    ),
    _rule(
        "scores are judged when their day is over",
        "pipeline/reports/calibration.py",
        "if day < end and not waiting(bands)",
        "if not waiting(bands)",
        "test_calibration_report.py::test_a_day_counts_when_it_is_over",
    ),
    # ---- budgets
    _rule(
        "leases add up to the budget at most",
        LEASES,
        "left = (perk.budget - sum(leased)) // perk.cost",
        "left = perk.budget // perk.cost",
        "test_leases.py::test_a_lease_only_rises_and_stays_within_the_budget",
    ),
    _rule(
        "a lease never falls",
        LEASES,
        "    if left <= 0 or not needy:\n        return after\n",
        "    if not needy:\n        return after\n",
        "test_leases.py::test_a_lease_only_rises_and_stays_within_the_budget",
    ),
    _rule(
        "who asks for nothing strands little",
        LEASES,
        "(gain if spent[slot] else min(gain, evenly))",
        "gain",
        "test_leases.py::test_a_slot_that_asks_for_nothing_strands_little",
    ),
    _rule(
        "a lease builds on the last one",
        "agents/kafka/adopt.py",
        "before = last_lease(registry)",
        "before: dict[str, list[int]] = {}",
        "test_adopt.py::test_a_lease_is_built_on_what_was_published_before_it",
    ),
    _rule(
        "a slot spends its lease and nothing else",
        "pipeline/perks.py",
        "return leased[int(slot)] - spent",
        "return leased[int(slot)]",
        "test_contact.py::test_a_slot_spends_its_lease_and_not_more",
    ),
)
