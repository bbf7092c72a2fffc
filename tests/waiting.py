"""How tests wait for what has to happen: long, since machines are busy; a wait that succeeds takes no longer for it."""

import re
import signal
from collections.abc import Callable
from pathlib import Path
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


def handles_sigterm(pid: int) -> bool:
    """Whether the process is so far that it leaves in order when told to (Linux: what it catches, by /proc)."""
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)
