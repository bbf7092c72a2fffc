"""The rules of a record: repeated, refused, or one that the core fails on."""

from typing import Final

from tests.mutants.mutant import Suite

PARTITION: Final = "pipeline/partition.py"
_rule = Suite("unit/test_records").rule

RECORDS: Final = (
    # ---- duplicates
    _rule(
        "dedupe",
        PARTITION,
        "if dedupe.holds(state.seen, item.digest):",
        "if False:",
        "a_repeated_message_has_one_effect",
    ),
    _rule(
        "dedupe survives a restart",
        PARTITION,
        "state.seen = dedupe.remember(state.seen, item.digest, context.next_hour)",
        "self.__dict__.setdefault('seen', {})[item.digest] = True",
        "a_repeated_message_has_one_effect_after_a_restart",
    ),
    _rule(
        "a duplicate does not move the clock",
        PARTITION,
        "elif (state := self._examine(record, item)) is not None:",
        "elif (self._move_clock(item.time) or True) and (state := self._examine(record, item)) is not None:",
        "a_duplicate_does_not_move_the_clock",
    ),
    # ---- what is refused
    _rule(
        "quarantine: bad bytes do not crash",
        "pipeline/admission.py",
        "    except DECODE_ERRORS as error:\n        return _undecodable(error)\n    user",
        "    except ZeroDivisionError as error:\n        return _undecodable(error)\n    user",
        "one_bad_record_costs_one_dead_letter_and_nothing_else",
    ),
    _rule(
        "quarantine: bad records are kept",
        PARTITION,
        "self._outbox.dead_letter(record, why, self.position.core, marked)",
        "pass",
        "one_bad_record_costs_one_dead_letter_and_nothing_else",
    ),
    _rule(
        "read = applied + duplicate + rejected",
        PARTITION,
        "        counts.read += 1\n        counts.rejected += 1\n",
        "        counts.rejected += 1\n",
        "one_bad_record_costs_one_dead_letter_and_nothing_else",
    ),
    _rule(
        "a future time never moves the clock",
        PARTITION,
        "if limit is None or time > limit:",
        "if limit is None:",
        "a_time_in_the_future_never_moves_the_clock",
    ),
    _rule(
        "no event before the first played tick",
        PARTITION,
        "if limit is None or time > limit:",
        "if limit is not None and time > limit:",
        "without_a_tick_played_time_has_not_begun",
    ),
    _rule(
        "key mismatch",
        "pipeline/admission.py",
        "if key != user.encode():",
        "if False:",
        "the_key_is_the_user",
    ),
    _rule(
        "wrong partition",
        PARTITION,
        "if partition_of(key, self.count) != self.number:",
        "if False:",
        "a_user_is_on_one_partition_only",
    ),
    _rule(
        "too late is refused",
        PARTITION,
        "if not (item.backfill or is_asked_for(item)):",
        "if False:",
        "what_is_a_week_late_is_refused_but_not_its_withdrawals",
    ),
    _rule(
        "a withdrawal is never too late",
        PARTITION,
        "if not (item.backfill or is_asked_for(item)):",
        "if not item.backfill:",
        "what_is_a_week_late_is_refused_but_not_its_withdrawals",
    ),
    _rule(
        "an erasure applies though its clock runs ahead",
        PARTITION,
        "if limit is None or not is_asked_for(item):",
        "if True:",
        "erasure_and_withdrawal_apply_though_their_clock_runs_ahead",
    ),
    Suite("unit/test_journey").rule(
        "what brings a user back is not how they came",
        "pipeline/user.py",
        "    first = not activity.days or time < activity.first\n",
        "    first = not trip.touches\n",
        "the_first_channel_is_that_of_the_first_activity_whatever_brings_them_back",
    ),
    _rule(
        "forged control: header without the key",
        "pipeline/control.py",
        " or (bool(record.headers) and any(h[0] == CONTROL_HEADER for h in record.headers))",
        "",
        "nobody_speaks_as_rekindle",
    ),
    _rule(
        "forged control: key without the header",
        "pipeline/control.py",
        "if record.key != CONTROL_KEY or len(kinds) != 1:",
        'kinds = kinds or [b"tick"]\n    if record.key != CONTROL_KEY:',
        "nobody_speaks_as_rekindle",
    ),
    _rule(
        "forged control: a live tick carries no time",
        "pipeline/control.py",
        'if isinstance(message, Tick) and (message.time is None) != (position.domain == "live"):',
        "if False:",
        "nobody_speaks_as_rekindle",
    ),
    _rule(
        "the time domain is declared first or never",
        "pipeline/control.py",
        "if isinstance(message, Domain) and position.counts.read + position.counts.control:",
        "if False:",
        "only_the_first_record_declares_the_time_domain",
    ),
    # ---- what the core fails on
    _rule(
        "a bug stops the worker",
        PARTITION,
        "                raise self._failed from error\n",
        "                self._failed = None\n",
        "a_bug_in_the_core_stops_it_and_nothing_of_the_record_is_kept",
    ),
    _rule(
        "nothing is committed after a bug",
        PARTITION,
        "        if self._failed is not None:\n            raise self._failed\n",
        "",
        "a_bug_in_the_core_stops_it_and_nothing_of_the_record_is_kept",
    ),
    _rule(
        "skip",
        PARTITION,
        "elif skips and self._skip(record):",
        "elif False:",
        "a_record_that_the_core_fails_on_can_be_skipped",
    ),
    _rule(
        "skip of a control message",
        PARTITION,
        "if not self._skip(record):",
        "if True:",
        "a_control_message_that_the_core_fails_on_can_be_skipped",
    ),
    _rule(
        "a missing policy is waited for",
        "pipeline/library.py",
        '            raise MissingBody(f"{kind}/{digest}")',
        '            return b"version: 1"',
        "a_policy_that_is_not_there_yet_is_waited_for",
    ),
    _rule(
        "a newer core is refused",
        "pipeline/position.py",
        "if version > CORE_VERSION:",
        "if False:",
        "a_newer_core_and_newer_rows_are_refused",
    ),
    _rule(
        "newer rows are refused",
        "pipeline/position.py",
        "if version > STATE_VERSION:",
        "if False:",
        "a_newer_core_and_newer_rows_are_refused",
    ),
)
