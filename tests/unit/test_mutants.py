"""The mutation gate is sound: every rule's text is there once, and so are its tests. `make mutants` runs it."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.mutants.__main__ import EVERY
from tests.mutants.mutant import Mutant

ROOT: Final = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", EVERY, ids=lambda mutant: mutant.rule)
def test_a_rule_can_be_taken_away_and_its_tests_are_there(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.text) == 1
    assert mutant.text != mutant.instead
    for test in mutant.tests.split():
        file, _, name = test.partition("::")
        assert name == "" or re.search(rf"def {re.escape(name.partition('[')[0])}\(", (ROOT / file).read_text()), test


def test_no_rule_is_named_twice() -> None:
    assert len({mutant.rule for mutant in EVERY}) == len(EVERY)
