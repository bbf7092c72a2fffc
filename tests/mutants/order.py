"""The rules of the order of things: within a record, over a restart, over a cut."""

from typing import Final

from tests.mutants.mutant import Suite

PARTITION: Final = "pipeline/partition.py"
USER: Final = "pipeline/user.py"
GATES: Final = "pipeline/gates.py"
_rule = Suite("unit/test_order").rule

ORDER: Final = (
    # ---- the order of a record's effects
    _rule(
        "fold order: advance and fire before the event",
        PARTITION,
        "                            yield from self._advance(record)\n"
        "                            state = self._state(item.key) or self._stranger(item)\n"
        "                        self._apply(record, item, state)\n",
        "                            self._apply(record, item, state)\n"
        "                            yield from self._advance(record)\n"
        "                        else:\n"
        "                            self._apply(record, item, state)\n",
        "what_the_clock_makes_due_is_decided_before_the_event",
    ),
    _rule(
        "fold order: settle before the event is applied",
        USER,
        '            settle(state, item.user, item.time, context, effects, revealed_by="event")',
        "            pass",
        "what_the_clock_has_not_reached_is_a_return",
    ),
    _rule(
        "a return is never a send",
        GATES,
        'test("still_silent", case.revealed_by == "clock", "returned", "returned")',
        "pass",
        "what_the_clock_has_not_reached_is_a_return",
    ),
    _rule(
        "due users in the order of their keys",
        PARTITION,
        "for key in sorted(woken):",
        "for key in sorted(woken, reverse=True):",
        "due_users_are_woken_by_hour_and_key",
    ),
    _rule(
        "an earlier wake-up is inserted at once",
        PARTITION,
        "            if hour < before:\n",
        "            if before == NEVER:\n",
        "an_event_that_brings_a_deadline_forward_is_noticed",
    ),
    _rule(
        "the clock never goes back",
        PARTITION,
        "if position.horizon is None or time > position.horizon:",
        "if True:",
        "late_events_do_not_turn_the_clock_back",
    ),
    # ---- restarts and cuts
    _rule(
        "the position is a record of the changelog",
        PARTITION,
        'changelog.append((b"p", encode_position(self.position)))',
        "pass",
        "a_restart_remembers_place_sums_and_deadlines",
    ),
    _rule(
        "records that were folded are passed over",
        PARTITION,
        "if record.offset < position.offset:\n                continue",
        "if False:\n                continue",
        "records_that_were_folded_are_passed_over",
    ),
    _rule(
        "the wheel is rebuilt on restore",
        PARTITION,
        "            self.wheel.put(max(self._due_hour(key), position.next_hour), key)\n",
        "            pass\n",
        "a_restart_remembers_place_sums_and_deadlines",
    ),
    _rule(
        "sums are restored",
        PARTITION,
        "self.cells.restore(key[1:], value)",
        "pass",
        "a_restart_remembers_place_sums_and_deadlines",
    ),
    _rule(
        "the guard is restored",
        PARTITION,
        '            self.guard = _decode_guard(latest.pop(b"g"))',
        '            latest.pop(b"g")',
        "a_hold_survives_a_restart",
    ),
    _rule(
        "slices within a sweep",
        PARTITION,
        "if self._since_pause < _PAUSE_WAKES:",
        "if True:",
        "a_sweep_is_cut_into_slices",
    ),
    _rule(
        "slices over the hours of a sweep",
        PARTITION,
        "        for key in self.wheel.due(hour):\n",
        "        self._since_pause = 0\n        for key in self.wheel.due(hour):\n",
        "a_sweep_is_cut_into_slices",
    ),
    _rule(
        "a sweep that was given up is begun anew",
        "pipeline/deadlines.py",
        "return self._buckets.get(hour, [])",
        "return self._buckets.pop(hour, [])",
        "a_sweep_that_was_given_up_wakes_everyone_when_its_record_is_read_again",
    ),
    _rule(
        "slices within a chunk",
        PARTITION,
        "if since_pause >= _PAUSE_RECORDS:",
        "if False:",
        "a_long_chunk_is_cut_into_slices",
    ),
    _rule(
        "a sweep that was cut goes on where it was",
        PARTITION,
        "            yield from self._sweep(hour, record)\n            wheel.drop(hour)\n"
        "            position.next_hour = hour + 1\n",
        "            position.next_hour = hour + 1\n            yield from self._sweep(hour, record)\n",
        "a_sweep_pauses_and_a_restart_in_it_wakes_nobody_twice",
    ),
)
