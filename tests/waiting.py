"""How tests wait for what has to happen: long, since machines are busy; a wait that succeeds takes no longer for it."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, Final

PATIENCE: Final = 120.0
"""s."""
SOON: Final = 40.0
"""s, for what is promised to be soon, and is, were it not for others on the machine."""
SESSION: Final = 3.0
"""s, of the members of groups: so long is waited for one that was killed. A broker has to allow it:"""
BROKER_SETTINGS: Final = {"group.min.session.timeout.ms": "1000"}


def eventually(condition: Callable[[], Any], pause: float = 0.05) -> Any:
    """What the condition returns once it is true, looked at every `pause` seconds. Raises AssertionError."""
    end = monotonic() + PATIENCE
    while not (found := condition()):
        assert monotonic() < end, f"not within {PATIENCE:.0f} s"
        sleep(pause)
    return found
