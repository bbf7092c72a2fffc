"""Freed memory, given back."""

import ctypes
from contextlib import suppress


def trim() -> None:
    """Give freed pages back to the system: glibc keeps what a burst has used, and here is where the burst ends.

    Takes some milliseconds. Another C library has no such call, and keeps it.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
