"""The rules of churn models: nothing is learned from the future, and what is said of a score is true."""

from typing import Final

from tests.mutants.mutant import Suite

_SNAPSHOTS: Final = "pipeline/samples.py"
_EVALUATE: Final = "pipeline/risk/evaluate.py"
_LEARN: Final = "pipeline/risk/learn.py"
_sample = Suite("unit/test_risk_evaluate").rule
_model = Suite("unit/test_risk_conformance").rule
_renewal = Suite("unit/test_renewal").rule

CHURN: Final = (
    _sample(
        "a label matures",
        _SNAPSHOTS,
        "if waiting and waiting[0][0] == at - horizon:",
        "if waiting and waiting[0][0] == at - horizon // 2:",
        "samples_are_what_was_known_and_what_followed",
    ),
    _sample(
        "dark time is no horizon",
        _SNAPSHOTS,
        "now = step.time - partition.guard.dark * HOUR",
        "now = step.time",
        "dark_hours_are_no_silence",
    ),
    _sample(
        "who was erased is not learned from",
        _SNAPSHOTS,
        "        if user in now:\n            yield Sample(user, activity, at, int(silence_start(now[user]) < at))",
        "        yield Sample(user, activity, at, int(user not in now or silence_start(now[user]) < at))",
        "who_was_erased_is_no_sample",
    ),
    _sample(
        "the test's labels are unknown to the training",
        _EVALUATE,
        "if sample.at + horizon <= begins",
        "if sample.at < begins",
        "train_labels_have_matured_before_the_first_test_snapshot",
    ),
    _sample(
        "few users do not turn a calibration around",
        _LEARN,
        "weight = users / len(labels)",
        "weight = 1.0",
        "calibration_follows_many_users_and_hardly_a_few",
    ),
    _model(
        "an explanation adds up",
        "pipeline/risk/logistic.py",
        "return [Term(code, value, weight * (feature - mean)) for",
        "return [Term(code, value, weight * feature) for",
        "the_explanation_adds_up_to_the_score",
    ),
    _renewal(
        "a calibration is judged on what it was not renewed by",
        "pipeline/renewal.py",
        "line(together(days[:half]))",
        "line(bands)",
        "what_was_true_and_is_no_longer_shows_as_no_better",
    ),
    _renewal(
        "a calibrated model is left alone",
        "pipeline/renewal.py",
        'return self.whole.verdict != "calibrated"',
        "return True",
        "a_model_that_is_calibrated_needs_none",
    ),
)
