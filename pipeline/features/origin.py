"""Where a user comes from, and which language they speak."""

from typing import Final

from pipeline.features.base import TOUCH, TRAITS, Feature, Scene, by_events_only
from pipeline.state import UserState


def _locale(state: UserState, at: int, scene: Scene) -> str | None:  # noqa: ARG001
    return None if state.profile is None else state.profile.locale


FIRST_CHANNEL: Final = Feature(
    "first_channel", "text", "event", TOUCH, lambda s, _at, _scene: s.journey.first, by_events_only, "channels"
)
LAST_CHANNEL: Final = Feature(
    "last_channel", "text", "event", TOUCH, lambda s, _at, _scene: s.journey.last, by_events_only, "channels"
)
LOCALE: Final = Feature("locale", "text", "event", TRAITS, _locale, by_events_only)
