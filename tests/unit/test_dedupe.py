from pipeline import dedupe
from tests.builders import at, event, fold, history, tick


def test_it_knows_what_it_was_told_and_nothing_between_two_entries() -> None:
    first, second = b"A" * 8, b"B" * 8
    seen = dedupe.remember(dedupe.remember(b"", first, 1), second, 2)
    assert dedupe.holds(seen, first)
    assert dedupe.holds(seen, second)
    assert not dedupe.holds(seen, seen[4:12])
    assert not dedupe.holds(b"", first)


def test_it_forgets_the_oldest_of_33() -> None:
    seen = b""
    for n in range(dedupe.SIZE + 1):
        seen = dedupe.remember(seen, n.to_bytes(8, "big"), 1)
    assert len(seen) == dedupe.FULL
    assert not dedupe.holds(seen, (0).to_bytes(8, "big"))
    assert dedupe.holds(seen, (1).to_bytes(8, "big"))


def test_it_forgets_after_48_hours_when_something_new_comes() -> None:
    seen = dedupe.remember(b"", b"A" * 8, 100)
    assert dedupe.holds(dedupe.remember(seen, b"B" * 8, 148), b"A" * 8)
    assert not dedupe.holds(dedupe.remember(seen, b"B" * 8, 149), b"A" * 8)


def test_it_forgets_so_too_where_the_count_of_hours_begins_anew() -> None:
    seen = dedupe.remember(b"", b"A" * 8, 0x6FFFE)
    assert dedupe.holds(dedupe.remember(seen, b"B" * 8, 0x6FFFE + 48), b"A" * 8)
    assert not dedupe.holds(dedupe.remember(seen, b"B" * 8, 0x6FFFE + 49), b"A" * 8)


def test_a_late_event_that_may_have_been_seen_is_applied_and_counted_as_unsure() -> None:
    folded = fold(history(event(at(0)), tick(at(3)), event(at(0), id="other")))
    assert (folded.counts["applied"], folded.counts["dedupe_unsure"]) == (2, 1)
    busy = [event(at(0), id=f"m{n}") for n in range(32)]
    folded = fold(history(busy, tick(at(0, 3)), event(at(0, 1), id="late")))
    assert folded.counts["dedupe_unsure"] == 1
