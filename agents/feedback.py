"""What whoever sends a trigger reports back to the user topic: `Message Sent` or `Message Failed`."""

from time import time

from schemas.codec import encode_json, rfc3339
from schemas.trigger import Trigger


def feedback(trigger: Trigger, *, sent: bool, reason: str | None = None) -> tuple[bytes, bytes]:
    """Key and value of the event. Told twice it has the same messageId, and counts once."""
    data = trigger.data
    properties = {
        "trigger_id": trigger.id,
        "rule_id": data.rule_id,
        "channel": data.channel,
        "template_id": data.template_id,
    }
    event = {
        "messageId": f"{trigger.id}/{'sent' if sent else 'failed'}",
        "type": "track",
        "event": "Message Sent" if sent else "Message Failed",
        "userId": trigger.subject,
        "timestamp": rfc3339(round(time() * 1000)),
        "properties": properties if reason is None else {**properties, "reason": reason},
        "context": {"active": False},
    }
    return trigger.subject.encode(), encode_json(event)
