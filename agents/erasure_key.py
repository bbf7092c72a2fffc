"""The secret that keys the marks of users who were erased: one for the life of a deployment, the same in each process
that folds its log.
"""

import os
from pathlib import Path
from secrets import token_hex
from typing import Final

from agents.exits import Exit, Refusal
from agents.settings import Settings

_LEAST: Final = 16  # bytes
_MOST: Final = 64  # bytes that blake2b takes
_NAME: Final = "erasure.key"


def erasure_key_path(settings: Settings) -> Path:
    """Where it lies: `erasure_key_file`, else in the folder of the local stack."""
    return (settings.erasure_key_file or settings.home / _NAME).absolute()


def erasure_key(settings: Settings) -> bytes:
    """The secret.

    Raises:
        Refusal: there is none, or it can't be one.
    """
    path = erasure_key_path(settings)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        line = (
            f"the key of erasures {path} can't be read ({error.strerror}): set REKINDLE_ERASURE_KEY_FILE to the file "
            "that every worker of this deployment has; for a new one `rekindle topics create` makes it"
        )
        raise Refusal(Exit.ERASURE_KEY, line) from error
    if not _LEAST <= len(key) <= _MOST:
        line = f"the key of erasures {path} has {len(key)} bytes, and has to have {_LEAST} to {_MOST}"
        raise Refusal(Exit.ERASURE_KEY, line)
    return key


def make_erasure_key(settings: Settings) -> Path | None:
    """Write a new one, readable by its owner only, if there is none; where it lies if one was made.

    Raises:
        Refusal: it can't be written.
    """
    path = erasure_key_path(settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{token_hex(32)}\n")
    except FileExistsError:
        return None
    except OSError as error:
        raise Refusal(Exit.ERASURE_KEY, f"the key of erasures {path} can't be written: {error.strerror}") from error
    return path
