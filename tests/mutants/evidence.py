"""The rules by which a recall is judged."""

from typing import Final

from tests.mutants.mutant import Suite

ARMS: Final = "pipeline/experiment/arms.py"
EVIDENCE_FILE: Final = "pipeline/experiment/evidence.py"
VERDICT: Final = "pipeline/experiment/verdict.py"
REPORT: Final = "pipeline/reports/recall.py"


_FALSE_ALARMS: Final = "false_alarms_stay_below_5_percent_when_looked_at_after_every_conversion"
_rule = Suite("unit/test_experiment", "recall test: ").rule
_report = Suite("unit/test_reports", "recall test: ").rule
_recall = Suite("unit/test_recall", "recall test: ").rule

EVIDENCE: Final = (
    _rule(
        "at most 5 % false alarms",
        EVIDENCE_FILE,
        "return exp(-max(0.0, total))",
        "return exp(-max(0.0, 2 * total))",
        _FALSE_ALARMS,
    ),
    _rule(
        "the mixture is one",
        EVIDENCE_FILE,
        "return mixture - lgamma(_WEIGHT + converters)",
        "return mixture - lgamma(_WEIGHT + converters - 1)",
        "evidence_is_a_martingale_when_nothing_works",
    ),
    _rule(
        "strata are multiplied",
        EVIDENCE_FILE,
        "total = sum(log_evidence(k, n, pi) for k, n, pi in _converters(strata))",
        "total = max((log_evidence(k, n, pi) for k, n, pi in _converters(strata)), default=0)",
        "a_changed_share_or_salt_begins_a_new_stratum_and_the_evidence_is_multiplied",
    ),
    _rule(
        "the arms' sizes void",
        VERDICT,
        "if mismatch < MISMATCH:",
        "if False:",
        "a_sample_ratio_mismatch_voids_the_verdict",
    ),
    _rule(
        "many strata are many looks",
        ARMS,
        "min(1.0, max(1, len(found)) * min(found, default=1.0))",
        "min(1.0, min(found, default=1.0))",
        "the_sample_ratio_is_exact_when_small_and_agrees_when_large",
    ),
    _rule("too early is not no effect", VERDICT, "elif needed == 0:", "elif needed is not None:", "verdicts"),
    _rule(
        "what harms does not work",
        VERDICT,
        'verdict = "works" if leaning(tested) > 0 else "harms"',
        'verdict = "works"',
        "verdicts",
    ),
    _report(
        "intent to treat",
        REPORT,
        "return Arm(values[USERS], values[RECALLED],",
        "return Arm(values[MEASURED], values[RECALLED],",
        "a_rule_that_works",
    ),
    _report(
        "arms are compared within their stratum",
        REPORT,
        "counts = rules.setdefault(str(rule), {}).setdefault(str(stratum), {})",
        'counts = rules.setdefault(str(rule), {}).setdefault("0.1/s", {})',
        "only_arms_of_one_stratum_are_compared",
    ),
    _recall(
        "a user is counted once",
        "pipeline/outcome.py",
        "        if found not in recall.drawn:\n            recall.drawn",
        "        if True:\n            recall.drawn",
        "a_user_is_a_trial_once_for_each_rule_and_salt",
    ),
    _report(
        "arms that hang together are not multiplied",
        REPORT,
        "    elif len(found) > 1:",
        "    if len(found) > 1:",
        "the_rules_together_and_the_holdout_over_all_of_them",
    ),
)
