"""Named points at which a worker under test kills itself, as kill -9 would."""

import os
import signal

POINTS = ("after_changelog", "after_triggers", "before_commit", "after_commit", "in_sweep")


class Failpoints:
    """Counts the passages of one named point and kills this process at the nth.

    Args:
        spec: `name` or `name:nth` (from 1), None for none.

    Raises:
        ValueError: no such point, or no such count.
    """

    def __init__(self, spec: str | None = None) -> None:
        name, _, nth = (spec or "").partition(":")
        if name and name not in POINTS:
            msg = f"no failpoint {name!r}; there are {', '.join(POINTS)}"
            raise ValueError(msg)
        if nth and not (nth.isdecimal() and int(nth) > 0):
            msg = f"failpoint {spec!r}: the count after the colon is a number from 1"
            raise ValueError(msg)
        self._name = name
        self._left = int(nth or 1)

    def __call__(self, name: str) -> None:
        """Pass the point `name`; does not return at the chosen passage of the chosen point."""
        if name == self._name:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
