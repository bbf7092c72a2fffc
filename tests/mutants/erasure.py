"""The rules of erasure."""

from typing import Final

from tests.mutants.mutant import Suite

PARTITION: Final = "pipeline/partition.py"
USER: Final = "pipeline/user.py"
_rule = Suite("unit/test_erasure").rule
_relay = Suite("unit/test_relay").rule

ERASURE: Final = (
    _rule(
        "an erasure leaves a mark",
        PARTITION,
        'changelog.append((b"e" + name, mark))',
        "pass",
        "an_erasure_takes_the_row_and_leaves_a_mark_that_names_nobody",
    ),
    _rule(
        "an erasure leaves a certificate",
        PARTITION,
        "self._outbox.erasure(self.marks.erase(item.key, until, record.offset, record.timestamp), time)",
        "self.marks.erase(item.key, until, record.offset, record.timestamp)",
        "the_certificate_comes_with_the_commit_that_removes_the_row",
    ),
    _rule(
        "a mark names nobody without the key",
        "pipeline/erasure.py",
        "return blake2b(key, digest_size=MARK_BYTES, key=secret).digest()",
        "return blake2b(key, digest_size=MARK_BYTES).digest()",
        "an_erasure_takes_the_row_and_leaves_a_mark_that_names_nobody",
    ),
    _rule(
        "a re-import revives nobody",
        PARTITION,
        "if time <= state.activity.erased:",
        "if False:",
        "a_reimport_of_the_history_revives_nothing",
    ),
    _rule(
        "who is there again knows up to when they were erased",
        PARTITION,
        "state.activity.erased = self.marks.until(item.key)",
        "pass",
        "who_signs_up_again_is_new_and_history_stops_at_the_erasure",
    ),
    _rule(
        "a visitor who becomes a user, too",
        USER,
        "UserState(seen=state.seen, activity=Activity(erased=state.activity.erased))",
        "UserState(seen=state.seen)",
        "a_visitor_under_an_erased_id_stays_of_after_it_when_they_become_a_user",
    ),
    _rule(
        "what was known when the request came is erased",
        PARTITION,
        "until = max(time, state.activity.last)",
        "until = time",
        "what_was_known_when_the_request_came_is_of_before_it",
    ),
    _rule(
        "a dead letter of who was erased holds nothing of them",
        PARTITION,
        "self._outbox.dead_letter(record, why, self.position.core, marked)",
        "self._outbox.dead_letter(record, why, self.position.core, None)",
        "of_what_is_refused_neither_id_nor_content_is_kept",
    ),
    _rule(
        "marks are restored",
        PARTITION,
        "self.marks.restore(key[1:], value)",
        "pass",
        "a_mark_survives_a_restart_and_a_snapshot_of_before_reaches_it_by_the_log",
    ),
    _rule(
        "an erasure whose record is lost is made up for",
        PARTITION,
        "if found is not None and found.name in erased and state.activity.last <= found.mark.until:",
        "if False:",
        "an_erasure_whose_record_is_lost_is_made_up_for_by_its_certificate",
    ),
    _rule(
        "another key is refused",
        PARTITION,
        "raise WrongKey",
        "pass",
        "another_key_is_refused_and_a_state_of_before_there_were_marks_is_not",
    ),
    _relay(
        "of who was erased no trigger is tried again",
        "agents/relay/courier.py",
        "if self._erased(record) is not None:",
        "if False:",
        "whose_user_is_erased_is_not_tried_again_and_others_are",
    ),
    _relay(
        "whoever was erased while a request was under way is not written about",
        "agents/relay/courier.py",
        "outcome._replace(mark=self._erased(outcome.record))",
        "outcome",
        "what_was_under_way_in_the_erasure_is_done_and_known_as_such",
    ),
    _relay(
        "who signs up again after an erasure is sent to",
        "agents/relay/erasures.py",
        "if erased is not None and int(revealed) < erased else None",
        "if erased is not None else None",
        "a_trigger_is_of_before_or_after_an_erasure_by_the_log",
    ),
)
