from pipeline.deadlines import NEVER, Wheel


def test_keys_come_back_at_their_hour_sorted_and_once() -> None:
    wheel = Wheel()
    for key in (b"b", b"a", b"b", b"c"):
        wheel.put(7, key)
    wheel.put(8, b"a")
    assert wheel.due(6) == []
    assert set(wheel.due(7)) == {b"a", b"b", b"c"}
    wheel.drop(7)
    wheel.drop(7)
    assert wheel.due(7) == []
    assert len(wheel) == 1


def test_never_is_never() -> None:
    wheel = Wheel()
    wheel.put(NEVER, b"a")
    wheel.put(NEVER + 1, b"a")
    assert len(wheel) == 0


def test_a_postponed_hour_joins_the_next() -> None:
    wheel = Wheel()
    wheel.put(1, b"b")
    wheel.put(2, b"a")
    wheel.postpone(1)
    wheel.postpone(5)
    assert wheel.due(1) == []
    assert wheel.due(2) == [b"a", b"b"]


def test_the_backlog_is_what_lies_before_an_hour() -> None:
    wheel = Wheel()
    for hour in (1, 2, 2, 3):
        wheel.put(hour, b"a")
    assert wheel.backlog(3) == 3
