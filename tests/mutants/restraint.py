"""The rules by which nothing is sent, or not again."""

from typing import Final

from tests.mutants.mutant import Suite

PARTITION: Final = "pipeline/partition.py"
USER: Final = "pipeline/user.py"
RECALL: Final = "pipeline/recall.py"
GATES: Final = "pipeline/gates.py"
_rule = Suite("unit/test_restraint").rule

RESTRAINT: Final = (
    _rule(
        "stale",
        GATES,
        "in_time = context.clock < case.deadline + rule.expires_after",
        "in_time = True",
        "what_is_revealed_after_its_expiry_is_stale",
    ),
    _rule(
        "late never opens an episode",
        PARTITION,
        "item.settled = now - context.dark * HOUR",
        "item.settled = 0",
        "a_late_event_opens_no_episode",
    ),
    _rule(
        "backfill never moves the clock",
        PARTITION,
        "if not item.backfill and self._move_clock(item.time):",
        "if self._move_clock(item.time):",
        "backfill_never_sends_and_never_moves_the_clock",
    ),
    _rule(
        "backfill never sends",
        PARTITION,
        "        if late or item.backfill:\n            now = context.clock\n",
        "        if late and not item.backfill:\n            now = context.clock\n",
        "backfill_never_sends_and_never_moves_the_clock",
    ),
    _rule(
        "what backfill runs past is passed over",
        USER,
        "if dates_silence and item.backfill:",
        "if False:",
        "what_history_runs_past_is_nobodys_return",
    ),
    _rule(
        "live backfill is judged by its append time",
        PARTITION,
        "now = max(now, record.timestamp)",
        "pass",
        "live_backfill_opens_nothing_before_it_was_sent",
    ),
    _rule(
        "adoption opens no backlog",
        "pipeline/silence.py",
        "floor = max(state.decided, context.adopted)",
        "floor = state.decided",
        "an_adoption_opens_no_backlog",
    ),
    _rule(
        "a live adoption counts from its append time",
        PARTITION,
        'now = max(context.clock, record.timestamp) if self.position.domain == "live" else context.clock',
        "now = context.clock",
        "a_live_adoption_that_is_read_late_opens_no_backlog",
    ),
    _rule(
        "adoption rebuilds the wheel",
        PARTITION,
        "        self.wheel = wheel\n",
        "",
        "the_adopted_policy_decides_from_then_on",
    ),
    _rule(
        "wake-ups of another adoption are recomputed",
        PARTITION,
        "        if epoch == self._context.epoch:\n            return hour\n",
        "        return hour\n",
        "the_adopted_policy_decides_from_then_on",
        "the_adopted_policy_decides_after_a_restart",
    ),
    _rule(
        "episode ownership",
        GATES,
        "taken = live and recall is not None and recall.episode == state.activity.last",
        "taken = False",
        "an_episode_belongs_to_the_first_rule_that_took_it",
    ),
    _rule(
        "a suppressed decision takes the episode",
        RECALL,
        '(waits or verdict in {"send", "holdout", "suppressed"})',
        '(waits or verdict in {"send", "holdout"})',
        "a_suppressed_decision_takes_the_episode_too",
    ),
    _rule(
        "the arm is drawn after all gates",
        RECALL,
        "    if verdict is None and not waits:\n",
        '    if verdict in {None, "suppressed"} and not waits:\n',
        "the_arm_is_drawn_after_all_gates",
    ),
    _rule(
        "shadow",
        GATES,
        'test("live", live, "shadow", "shadow_mode")',
        "pass",
        "a_shadow_rule_sends_nothing",
    ),
    _rule(
        "cooldown",
        GATES,
        'wait(gate, "cooldown", free)',
        "pass",
        "a_contact_is_followed_by_its_cooldown",
    ),
    _rule(
        "consent",
        GATES,
        'return said is True if consent.basis == "opt_in" else said is not False',
        "return True",
        "without_consent_nothing_is_sent",
    ),
    _rule(
        "unsubscribed",
        GATES,
        'test("subscribed", profile is None or not profile.unsubscribed, "suppressed", "unsubscribed")',
        "pass",
        "without_consent_nothing_is_sent",
    ),
    _rule(
        "a late grant does not undo a withdrawal",
        "pipeline/profile.py",
        "current = item.time >= profile.at",
        "current = True",
        "a_grant_that_comes_late_does_not_undo_a_withdrawal",
    ),
    _rule(
        "pause",
        GATES,
        'test("not_paused", not paused, "suppressed", "paused")',
        "pass",
        "a_paused_rule_sends_nothing",
    ),
    _rule(
        "a pause survives a restart",
        PARTITION,
        "paused=frozenset(position.paused),",
        "paused=frozenset(),",
        "a_pause_holds_after_a_restart",
    ),
    _rule(
        "a trigger's id is its episode's",
        "pipeline/case.py",
        "identity = trigger_id(context.tenant, user, due.rule.id, due.episode, due.step)",
        "identity = trigger_id(context.tenant, user, due.rule.id, deadline, due.step)",
        "the_id_of_a_trigger_is_fixed_by_its_episode",
    ),
    _rule(
        "one outcome",
        "pipeline/outcome.py",
        "    recall.window_end = 0\n",
        "",
        "an_outcome_is_written_once",
    ),
    _rule(
        "erasure leaves a tombstone",
        PARTITION,
        '                changed.append((b"u" + key, None))\n',
        "                pass\n",
        "erasure_leaves_a_tombstone",
    ),
)
