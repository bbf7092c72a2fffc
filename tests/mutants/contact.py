"""The rules of a contact: whom, when and by what a user may be sent to."""

from typing import Final

from tests.mutants.mutant import Suite

GATES: Final = "pipeline/gates.py"
RECALL: Final = "pipeline/recall.py"
CONTACTS: Final = "pipeline/contacts.py"
_rule = Suite("unit/test_contact").rule
_budget = Suite("unit/test_budgets").rule
_kind = Suite("unit/test_kinds").rule

CONTACT: Final = (
    _rule(
        "consent of a channel that needs it",
        GATES,
        "return said is True if",
        "return said is not False if",
        "who_has_not_opted_in_is_not_sent_to",
    ),
    _rule(
        "the fallback needs consent too",
        GATES,
        "        if agreed and reached:",
        "        if agreed and reached or channel == step.fallback:",
        "the_fallback_is_used_where_the_channel_may_not_be",
    ),
    _rule(
        "quiet hours",
        GATES,
        "until or 0)\n    if step.perk",
        "0)\n    if step.perk",
        "quiet_hours_postpone_to_their_end_on_the_users_clock",
    ),
    _rule(
        "caps",
        CONTACTS,
        "times[-limit] + span if len(times) >= limit else None",
        "None",
        "what_cannot_be_sent_before_it_expires_is_suppressed_once_with_all_reasons",
    ),
    _rule(
        "a contact is remembered",
        RECALL,
        "    remember(recall.contacts, Contact(case.moment, ruling.channel, case.identity))\n",
        "",
        "what_cannot_be_sent_before_it_expires_is_suppressed_once_with_all_reasons",
    ),
    _rule(
        "what waits does not outlive its expiry",
        RECALL,
        "again = min(ruling.until, case.deadline + due.rule.expires_after)",
        "again = ruling.until",
        "what_cannot_be_sent_before_it_expires_is_suppressed_once_with_all_reasons",
    ),
    _rule(
        "what waits ends with a return",
        "pipeline/user.py",
        "        come_back(item.user, state, time, context, effects)\n",
        "        pass\n",
        "who_comes_back_while_it_waits_is_returned",
    ),
    _rule(
        "each of what waits is decided",
        RECALL,
        "(p.rule, p.step, p.episode) != mine",
        "(p.rule, p.step) != mine[:2]",
        "two_entries_that_wait_are_both_decided",
    ),
    _rule(
        "a failed message gives its cap back",
        CONTACTS,
        "            del recall.contacts[place]\n",
        "            pass\n",
        "a_failed_message_gives_its_place_under_the_cap_back",
    ),
    _rule(
        "a bounce closes the channel",
        GATES,
        "profile is None or channel not in profile.unreachable",
        "True",
        "a_bounce_closes_the_channel_and_a_click_opens_it",
    ),
    _rule(
        "feedback counts once a message",
        CONTACTS,
        "        if not contact.heard & bit:",
        "        if True:",
        "what_was_reported_is_counted_once_a_message",
    ),
    _rule(
        "no step for who is back",
        RECALL,
        "    recall.pending = [p for p in recall.pending if p.rule not in recalls]\n",
        "",
        "steps_follow_one_another_while_the_user_stays_away",
    ),
    _rule(
        "a suppressed first message has no second",
        RECALL,
        '(due.step and verdict == "suppressed")',
        'verdict == "suppressed"',
        "a_suppressed_first_message_has_no_second",
    ),
    _rule(
        "a step has the arm of its contact",
        RECALL,
        "        withheld, holdout = recall.withheld, recall.holdout\n",
        "        withheld, holdout = False, False\n",
        "a_holdouts_steps_are_held_out_and_measured_once",
    ),
    _rule(
        "the holdout over all rules",
        RECALL,
        'withheld = draw_holdout(policy.salt, case.user, "*", policy.holdout)',
        "withheld = False",
        "the_global_holdout_is_held_out_by_every_rule_and_measured_over_all",
    ),
    _rule(
        "a changed share is a new stratum",
        RECALL,
        "recall.stratum = stratum_of(experiment.share, policy.salt)",
        "recall.stratum = stratum_of(0, policy.salt)",
        "a_changed_share_starts_a_new_stratum",
    ),
    _budget(
        "a slot spends its lease only",
        GATES,
        "        if room < cost:",
        "        if room < 0:",
        "a_slot_spends_its_lease_and_not_more",
    ),
    _budget(
        "no lease, no money",
        "pipeline/perks.py",
        "        if leased is None:\n            return 0\n",
        "        if leased is None:\n            return 10**9\n",
        "without_a_lease_nothing_is_spent",
    ),
    _budget(
        "money is spent once",
        "pipeline/perks.py",
        "        spent += sum(f[3] for f in facts if f[0] is PERKS and f[1] == (perk, slot) and f[2] == SPENT)\n",
        "",
        "two_decisions_that_one_event_reveals_do_not_spend_the_same_money",
    ),
    _budget(
        "a holdout costs nothing",
        RECALL,
        "    if perk is not None and not holdout:",
        "    if perk is not None:",
        "a_perk_is_spent_by_whom_it_is_sent_to_only",
    ),
    _budget(
        "a ceiling pauses",
        GATES,
        "            case.effects.crossed += (rule.id,)\n",
        "",
        "a_crossed_ceiling_pauses_the_rule_until_it_is_resumed",
    ),
    _budget(
        "a ceiling is by the hour",
        GATES,
        "return (count if hour == context.next_hour else 0)",
        "return count",
        "the_ceiling_is_by_the_hour",
    ),
    _kind(
        "the key moment ends its reminder",
        RECALL,
        "type(when) is NotActivated and not activity.activated",
        "type(when) is NotActivated",
        "who_misses_the_key_moment_is_reminded_once_though_active",
    ),
    _kind(
        "no backlog unless asked for",
        RECALL,
        "    if spread is None:\n        return due\n",
        "    spread = spread or 86_400_000\n",
        "switching_a_rule_on_sends_to_nobody_who_lapsed_before",
    ),
    _rule(
        "what waits is not due again",
        RECALL,
        "    return any((kept.rule, kept.step, kept.episode) == mine for kept in recall.pending)",
        "    return False",
        "what_waits_is_not_due_again_by_a_changed_policy",
    ),
    _kind(
        "a reminder comes once in a life",
        RECALL,
        " or was_reminded(recall, due.rule.id)",
        "",
        "a_changed_policy_reminds_nobody_again",
    ),
    _kind(
        "a backlog has nobody for whom the rule waits",
        RECALL,
        "any(kept.rule == due.rule.id for kept in recall.pending) or was",
        "was",
        "a_backlog_of_a_rule_that_was_off_for_a_while_has_nobody_whom_it_contacted_or_waits_to",
    ),
    _kind(
        "a backlog is asked for once",
        "pipeline/partition.py",
        "at if mode == rule.mode else adopted",
        "adopted",
        "a_backlog_is_spread_over_its_time",
    ),
)
