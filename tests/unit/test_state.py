import msgspec
import pytest

from pipeline.deadlines import NEVER
from pipeline.state import Profile, Recall, UserState, decode_row, encode_row, schedule_of


@pytest.mark.parametrize("hour", [2**16, 473_352, 2**31, NEVER])
@pytest.mark.parametrize("epochs", [0, 1, 300, 70_000])
def test_a_row_tells_its_wake_up_without_being_decoded(hour: int, epochs: int) -> None:
    state = UserState(known=False, seen=b"x" * 400, profile=Profile(consent={"email": False}), recall=Recall())
    state.wake, state.epoch = hour, UserState().epoch + epochs
    assert schedule_of(encode_row(state)) == (state.wake, state.epoch)


def test_a_row_comes_back_as_it_went() -> None:
    state = UserState(
        seen=b"\x00\xff", profile=Profile("Asia/Tokyo", "ja", unsubscribed=True, consent={"email": False}, at=5)
    )
    assert decode_row(encode_row(state)) == state


def test_a_release_reads_rows_that_have_fields_of_the_next() -> None:
    row = msgspec.msgpack.decode(encode_row(UserState()))
    assert decode_row(msgspec.msgpack.encode([*row, "a later release's"])) == UserState()


def test_rows_are_small() -> None:
    assert len(encode_row(UserState())) < 120
