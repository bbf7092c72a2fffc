"""The journey section of a user's row: the first and the last channel that brought them."""

import msgspec

DIRECT = "direct"


class Journey(msgspec.Struct, array_like=True, gc=False):
    """Channel names and ms. A visit without a campaign or referrer is no touch: it continues the last channel."""

    first: str = DIRECT
    first_at: int = 0
    last: str = DIRECT
    last_at: int = 0
    touches: int = 0


def touch(journey: Journey, channel: str, time: int) -> None:
    """Record that `channel` brought the user at `time`, in any order."""
    if not journey.touches or time < journey.first_at:
        journey.first, journey.first_at = channel, time
    if not journey.touches or time >= journey.last_at:
        journey.last, journey.last_at = channel, time
    journey.touches += 1
