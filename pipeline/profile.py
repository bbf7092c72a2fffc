"""The profile section of a user's row: consent, time zone, locale."""

from typing import Final

from pipeline.happening import Happening
from pipeline.state import Profile, UserState
from schemas.event import UNSUBSCRIBE_EVENTS

_MAX_CONSENTS: Final = 16


def is_asked_for(item: Happening) -> bool:
    """Whether the event erases the user or takes back a consent: that applies, whatever clock says when it was."""
    traits = item.traits
    if item.kind == "delete":
        return True
    if traits is None:
        return item.kind == "track" and item.event in UNSUBSCRIBE_EVENTS
    return traits.unsubscribed is True or (traits.consent is not None and not all(traits.consent.values()))


def update(state: UserState, item: Happening) -> None:
    """Consent and locale. A withdrawal always applies; a grant does not undo a later withdrawal."""
    traits = item.traits
    unsubscribes = item.event in UNSUBSCRIBE_EVENTS and item.kind == "track"
    if traits is None and not unsubscribes:
        return
    profile = state.profile or Profile()
    if unsubscribes:
        profile.unsubscribed = True
        profile.at = max(profile.at, item.time)
    if traits is not None:
        current = item.time >= profile.at
        if current:
            profile.timezone = traits.timezone or profile.timezone
            profile.locale = traits.locale or profile.locale
        stated = dict(traits.consent or {})
        if traits.unsubscribed is not None and (traits.unsubscribed or current):
            profile.unsubscribed = traits.unsubscribed
        consent = dict(profile.consent)
        for channel, given in sorted(stated.items()):
            if (not given or current) and (channel in consent or len(consent) < _MAX_CONSENTS):
                consent[channel] = given
        profile.consent = consent
        if stated or traits.unsubscribed is not None:
            profile.at = max(profile.at, item.time)
    if profile != Profile():
        state.profile = profile
