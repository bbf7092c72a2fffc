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


class Suite(NamedTuple):
    """A file of tests, such as `unit/test_records`, whose rules are all `about` something."""

    name: str
    about: str = ""

    def rule(self, rule: str, file: str, text: str, instead: str, *tests: str) -> Mutant:
        """A mutant that these tests of the suite (without `test_`) hold."""
        held = " ".join(f"tests/{self.name}.py::test_{test}" for test in tests)
        return Mutant(self.about + rule, file, text, instead, held)
