"""The rules of a source that does not speak."""

from typing import Final

from tests.mutants.mutant import Suite

PARTITION: Final = "pipeline/partition.py"
_rule = Suite("unit/test_dark_time").rule

DARK_TIME: Final = (
    _rule(
        "source guard: dark time is no silence",
        PARTITION,
        "if guard.close(hour, context.policy.guard):",
        "if guard.close(hour, context.policy.guard) and False:",
        "dark_time_is_no_silence",
    ),
    _rule(
        "source guard: judged before anyone is woken",
        PARTITION,
        "            if position.judged < hour:\n",
        "            yield from self._sweep(hour, record)\n            if position.judged < hour:\n",
        "a_deadline_in_a_dark_hour_comes_when_the_silence_is_full",
    ),
    _rule(
        "source guard: what it postpones comes",
        PARTITION,
        "                    wheel.postpone(hour)\n",
        "                    wheel.drop(hour)\n",
        "a_deadline_in_a_dark_hour_comes_when_the_silence_is_full",
    ),
    _rule(
        "source guard: silence is shortened by dark time",
        "pipeline/risk/model.py",
        "return activity.last - activity.dark * HOUR",
        "return activity.last",
        "dark_time_before_an_activity_is_no_part_of_its_silence",
    ),
    _rule(
        "source guard: late activity knows its dark hours",
        PARTITION,
        "item.dark = self.guard.dark_before(time)",
        "item.dark = context.dark",
        "late_events_know_the_dark_hours_before_them",
    ),
    _rule(
        "source guard: abstains where little is expected",
        "pipeline/guard.py",
        "abstains = rate < policy.min_expected * _SCALE",
        "abstains = False",
        "the_guard_abstains_where_little_is_expected",
    ),
    _rule(
        "hold",
        "pipeline/guard.py",
        "if self.held or (not abstains and count * _SCALE < rate * policy.dark_below):",
        "if not abstains and count * _SCALE < rate * policy.dark_below:",
        "an_operator_holds_the_source",
    ),
)
