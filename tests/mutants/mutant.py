"""What a mutant is."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A safety rule taken away: `text`, which occurs once in `file`, becomes `instead`, and `tests` has to go red.

    `tests` are pytest's node ids, separated by spaces.
    """

    rule: str
    file: str
    text: str
    instead: str
    tests: str
