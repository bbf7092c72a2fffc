"""The rules of segments and tiers: what is said, once, when, and what opens an episode."""

from typing import Final

from tests.mutants.mutant import Suite

USER: Final = "pipeline/user.py"
SILENCE: Final = "pipeline/silence.py"
SEGMENTS_FILE: Final = "pipeline/segments.py"
_rule = Suite("unit/test_segments").rule

SEGMENTS: Final = (
    _rule(
        "an adoption opens no episode by segment",
        SEGMENTS_FILE,
        "    if state.epoch != context.epoch:\n        at = max(at,",
        "    if False:\n        at = max(at,",
        "an_adoption_establishes_what_holds_and_opens_nothing",
    ),
    _rule(
        "an entering of before the adoption opens nothing",
        SEGMENTS_FILE,
        "return max(context.adopted, context.modelled, context.measured)",
        "return 0",
        "an_adoption_establishes_what_holds_and_opens_nothing",
    ),
    _rule(
        "a late activity opens no episode by segment",
        USER,
        "if entered and not stale and not item.settled and at >=",
        "if entered and not stale and at + DAY >=",
        "a_late_activity_changes_memberships_and_opens_nothing",
    ),
    _rule(
        "history is looked at once, when it is over",
        USER,
        "epoch -= 1  # as if",
        "epoch -= 0  # as if",
        "history_is_looked_at_once_when_it_is_over_and_opens_nothing",
    ),
    _rule(
        "entering by silence makes rules due",
        SILENCE,
        "            if at >= max(state.decided, segments.since_when(context)):",
        "            if False:",
        "entering_by_silence_makes_its_rules_due_then",
    ),
    _rule(
        "silence is looked at when it changes something",
        SILENCE,
        "                times.append(look)",
        "                pass",
        "silence_enters_and_leaves_at_its_deadline_once_each_however_late_it_is_seen",
        "nobody_is_woken_oftener_than_something_changes",
    ),
    _rule(
        "every change has an id of its own",
        SEGMENTS_FILE,
        "    parts = (context.tenant, user, kind, name, change, time, str(groups.changes))",
        "    parts = (context.tenant, user, kind, name)",
        "every_change_has_an_id_of_its_own_and_the_same_one_anew",
    ),
    _rule(
        "whoever goes is in no stock",
        SEGMENTS_FILE,
        "    if groups is not None:\n        facts.extend",
        "    if False:\n        facts.extend",
        "whoever_is_erased_leaves_in_silence",
    ),
    _rule(
        "a policy without a segment lets its users leave",
        SEGMENTS_FILE,
        "    return groups is not None and bool(groups.segments or groups.tier)",
        "    return False",
        "a_policy_without_a_segment_lets_its_users_leave",
    ),
    _rule(
        "visitors are in no segment",
        SEGMENTS_FILE,
        "        return state.known\n    groups",
        "        return True\n    groups",
        "visitors_are_in_no_segment",
    ),
    _rule(
        "an activity at the moment of a look is evaluated as a whole",
        USER,
        "anew = anew or effects.look <= time - context.dark * HOUR",
        "pass",
        "an_activity_at_the_very_moment_of_a_look_is_evaluated_as_a_whole",
    ),
)
