"""The journey section of a user's row: the first and the last channel that brought them."""

import msgspec

DIRECT = "direct"


class Journey(msgspec.Struct, array_like=True, gc=False):
    """Channel names and ms. `first` is how the user came: the channel of the first activity, however often another one
    brings them back. A visit without a campaign or referrer is no touch: it continues the last channel.
    """

    first: str = DIRECT
    first_at: int = 0
    last: str = DIRECT
    last_at: int = 0
    touches: int = 0


def arrive(journey: Journey, channel: str | None, time: int) -> None:
    """Record that the user came by `channel` at `time`; None: by no touch."""
    journey.first, journey.first_at = DIRECT if channel is None else channel, time


def touch(journey: Journey, channel: str, time: int) -> None:
    """Record that `channel` brought the user at `time`, in any order."""
    if not journey.touches or time >= journey.last_at:
        journey.last, journey.last_at = channel, time
    journey.touches += 1
