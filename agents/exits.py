"""Why a worker refuses to start or stops: one exit code for each reason, one readable line for each refusal."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command. A supervisor restarts on 1, 10, 17 and 18; the others need a person."""

    OK = 0
    BUG = 1
    USAGE = 2
    NO_BROKER = 10
    TOPICS = 11
    PARTITIONS = 12
    RECREATED = 13
    STATE_VERSION = 14
    CORE_VERSION = 15
    GAP = 16
    FENCED = 17
    SEND = 18
    POLICY = 19
    TOKEN = 20
    ERASURE_KEY = 21


class Refusal(Exception):
    """A worker can't go on, and a person or a supervisor has to know why.

    `line` says in one line what is wrong, where, and what to do.
    """

    def __init__(self, code: Exit, line: str) -> None:
        super().__init__(line)
        self.code = code
        self.line = line


def no_broker(brokers: str, error: BaseException) -> Refusal:
    """Nobody answers at these addresses; what the client says of it is passed on if it says more than that."""
    told = "" if "bootstrap" in str(error) or not str(error) else f" ({error})"
    line = f"no broker answers at {brokers}{told}: check --brokers or REKINDLE_BROKERS"
    return Refusal(Exit.NO_BROKER, f"{line} (REKINDLE_LOG_LEVEL=debug shows more)")
