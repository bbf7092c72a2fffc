"""The messages of the last days: how many more a user may get, and what was reported of them."""

from collections.abc import Callable
from typing import Final, NamedTuple

from pipeline.policy import Caps, Policy
from pipeline.policy.contact import MAX_CONTACTS
from pipeline.state import Contact, Profile, Recall
from pipeline.sums.outcomes import BOUNCED, CLICKED, DELIVERED, FAILED, SENT
from pipeline.units import DAY
from schemas.decision import Reason

WEEK: Final = 7 * DAY
KINDS: Final = {"sent": SENT, "delivered": DELIVERED, "clicked": CLICKED, "bounced": BOUNCED, "failed": FAILED}
"""What can be reported of a message -> the field of the outcomes in which it is counted, once for each message."""


class Cap(NamedTuple):
    """A cap and how far it is used; `until` (ms): when the next message is within it, None: now."""

    reason: Reason
    used: int
    limit: int
    until: int | None


def caps(contacts: list[Contact], moment: int, channel: str, policy: Policy) -> list[Cap]:
    """Every cap that the policy sets, as of `moment` (ms): over all channels, then of this one."""
    found = _both(contacts, moment, policy.caps, "cap_day", "cap_week")
    if channel in policy.channel_caps:
        mine = [contact for contact in contacts if contact.channel == channel]
        found += _both(mine, moment, policy.channel_caps[channel], "channel_cap_day", "channel_cap_week")
    return found


def _both(contacts: list[Contact], moment: int, limits: Caps, day: Reason, week: Reason) -> list[Cap]:
    found: list[Cap] = []
    if limits.per_day is None and limits.per_week is None:
        return found
    for reason, limit, span in ((day, limits.per_day, DAY), (week, limits.per_week, WEEK)):
        if limit is not None:
            times = [contact.at for contact in contacts if contact.at > moment - span]
            found.append(Cap(reason, len(times), limit, times[-limit] + span if len(times) >= limit else None))
    return found


def remember(contacts: list[Contact], contact: Contact) -> None:
    """Add the latest contact; those that no cap counts any more go."""
    contacts.append(contact)
    if len(contacts) > 1:
        contacts[:] = [c for c in contacts if c.at > contact.at - WEEK][-MAX_CONTACTS:]


class Feedback(NamedTuple):
    """What is reported of a message: `kind` of `KINDS`."""

    kind: str
    trigger_id: str


def report(recall: Recall, profile: Profile, told: Feedback, time: int, count: Callable[[int], None]) -> None:
    """Take in what was reported at `time` (ms) of a message; `count` adds one to a field of its outcome's cell.

    A failed message gives its place under the caps back. A bounce closes the channel to rules; a delivery or a click
    opens it again. What was reported of a message before is not counted again.
    """
    for place, contact in enumerate(recall.contacts):
        if contact.trigger_id != told.trigger_id:
            continue
        field = KINDS[told.kind]
        bit = 1 << (field - SENT)
        if not contact.heard & bit:
            contact.heard |= bit
            if contact.at >= recall.decided_at:  # of the contact that is measured, or was last
                count(field)
        if told.kind == "failed":
            del recall.contacts[place]
        elif told.kind == "bounced":
            profile.unreachable = {**profile.unreachable, contact.channel: time}
        elif told.kind in {"delivered", "clicked"} and time >= profile.unreachable.get(contact.channel, time + 1):
            profile.unreachable = {c: at for c, at in profile.unreachable.items() if c != contact.channel}
        return
