"""The rules of the transport: what keeps the log, the state and the triggers one."""

from typing import Final

from tests.mutants.mutant import Suite

OWNER: Final = "agents/kafka/owner.py"
TRANSACTIONS: Final = "agents/kafka/transactions.py"
STORE: Final = "agents/kafka/store.py"
TICKS: Final = "agents/ticks.py"
_unit = Suite("unit/test_shell_rules").rule
_kafka = Suite("integration/test_transport_rules").rule
_snapshot = Suite("integration/test_snapshot").rule
_cli = Suite("integration/test_cli").rule

SHELL: Final = (
    _unit(
        "a gap is read again, never stepped over",
        OWNER,
        "elif chunk.start != self.position:",
        "elif False:",
        "a_gap_is_read_again_and_never_stepped_over",
    ),
    _unit(
        "a marker is no gap",
        OWNER,
        "self.position = chunk.end\n",
        "self.position = chunk.records[-1].offset + 1\n",
        "a_marker_is_no_gap",
    ),
    _unit(
        "what was fetched before a seek is dropped",
        OWNER,
        "if chunk.epoch != self.epoch:\n                    self._inbox.popleft()",
        "if False:\n                    self._inbox.popleft()",
        "what_was_fetched_before_a_seek_is_dropped",
    ),
    _unit(
        "a missed generation drops the state",
        "agents/kafka/shell.py",
        "or number not in assigned or not continuous:",
        "or number not in assigned:",
        "a_partition_that_another_worker_may_have_had_is_loaded_anew",
    ),
    _unit(
        "a shorter topic is another one",
        STORE,
        "if source.end < offset:",
        "if False:",
        "another_topic_and_a_gap_are_refused",
    ),
    _unit(
        "another record at the same offset is another topic",
        STORE,
        "if last is not None and source.record is not None and source.record != last[1:]:",
        "if False:",
        "another_topic_and_a_gap_are_refused",
    ),
    _unit(
        "a missing record is another topic",
        STORE,
        "if last is not None and source.record is None and source.earliest <= last[0]:",
        "if False:",
        "another_topic_and_a_gap_are_refused",
    ),
    _unit(
        "a gap is refused",
        STORE,
        "if source.earliest > offset and not accept_gap:",
        "if False:",
        "another_topic_and_a_gap_are_refused",
    ),
    _unit(
        "ticks: caught up by the highwater",
        TICKS,
        "            and progress.position == progress.highwater\n",
        "",
        "no_tick_before_the_highwater_is_reached",
    ),
    _unit(
        "ticks: of a fresh highwater",
        TICKS,
        "            and progress.age < _FRESH\n",
        "",
        "no_tick_before_the_highwater_is_reached",
    ),
    _unit(
        "ticks: everything fetched is folded",
        TICKS,
        "            and owner.position == progress.delivered\n",
        "",
        "no_tick_before_the_highwater_is_reached",
    ),
    _unit(
        "ticks: the last one was read back",
        TICKS,
        "return read_back and caught_up",
        "return caught_up",
        "no_second_tick_before_the_first_was_read_back",
    ),
    _unit(
        "ticks: carry no time",
        TICKS,
        "self._controls.append(owner.number, Tick())",
        "self._controls.append(owner.number, Tick(round(self._now() * 1000)))",
        "a_clock_that_lags_at_the_end_of_the_partition_is_ticked",
    ),
    _unit(
        "ticks: none in played time",
        TICKS,
        'core.position.domain != "live"',
        "False",
        "a_clock_that_keeps_up_and_a_played_one_are_left_alone",
    ),
)
"""What shows without a broker."""

TRANSPORT: Final = (
    _kafka(
        "the fence comes before the state is read",
        OWNER,
        "            await self._transactions.open()\n",
        "            asyncio.get_running_loop().call_later(0.5, self._spawn, self._transactions.open())\n",
        "once_the_state_is_being_read_the_former_owner_writes_no_more",
    ),
    _kafka(
        "the same transactional id on every worker",
        OWNER,
        'f"{terms.app_id}-{self._source}-{number}"',
        'f"{terms.app_id}-{self._source}-{number}-{id(self)}"',
        "once_the_state_is_being_read_the_former_owner_writes_no_more",
    ),
    _kafka(
        "the position record is in the transaction",
        OWNER,
        "changelog = (self._state, snapshot.changelog)",
        "changelog = (self._state, snapshot.changelog[:-1])",
        "a_commit_carries_rows_triggers_and_the_place_in_the_log",
    ),
    _kafka(
        "the source is sought to the place in the state",
        OWNER,
        "self.committed = max(offset, source.earliest)",
        "self.committed = source.earliest",
        "a_commit_carries_rows_triggers_and_the_place_in_the_log",
    ),
    _kafka(
        "every batch is awaited before the commit",
        TRANSACTIONS,
        "        await asyncio.gather(*futures)\n        passed()",
        "        passed()",
        "a_batch_that_failed_fails_the_commit",
    ),
    _kafka(
        "a batch that failed fails the commit",
        TRANSACTIONS,
        "            raise errors[0]\n",
        "            pass\n",
        "a_batch_that_failed_fails_the_commit",
    ),
    _kafka(
        "the state is read committed",
        STORE,
        'isolation_level="read_committed",',
        'isolation_level="read_uncommitted",',
        "the_loader_reads_to_the_end_and_only_what_was_committed",
    ),
    _kafka(
        "the state is read to its end",
        STORE,
        "while position < end or position < (consumer.highwater(tp) or 0):",
        "while position < end:",
        "the_loader_reads_to_the_end_and_only_what_was_committed",
    ),
    _snapshot(
        "a lost state is not begun anew",
        STORE,
        "if reported > earliest:",
        "if False:",
        "a_worker_does_not_begin_anew_when_its_state_was_lost",
    ),
    _cli(
        "what is folded is not skipped",
        "agents/kafka/publish.py",
        "if skip.offset < folded:",
        "if False:",
        "a_record_on_which_the_core_fails_is_skipped_and_sent_again_to_a_release_that_is_mended",
    ),
    _kafka(
        "the source is read committed",
        "agents/kafka/transport.py",
        'isolation_level="read_committed",',
        'isolation_level="read_uncommitted",',
        "an_aborted_record_is_not_folded",
    ),
    _kafka(
        "records of aborted transactions are left out",
        "agents/kafka/records.py",
        "if batch.is_transactional and batch.producer_id in aborted:",
        "if False:",
        "an_aborted_record_is_not_folded",
    ),
    _kafka(
        "a worker that ends commits what it has folded",
        "agents/app.py",
        "        await self.shell.close()\n",
        "        await self.shell.abandon()\n",
        "what_was_folded_is_committed_at_the_end",
    ),
)
"""What a broker has to show."""
