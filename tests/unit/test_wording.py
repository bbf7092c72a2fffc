"""Every code that is written somewhere has words in both languages."""

from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

from pipeline.experiment import VERDICTS
from pipeline.wording import CALIBRATION, DECISIONS, FINDINGS, REASONS, Words, words
from schemas.decision import Reason, Verdict

ALL = [(code, said) for table in (REASONS, DECISIONS, FINDINGS, CALIBRATION) for code, said in table.items()]


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize(
    ("table", "codes"),
    [(REASONS, get_args(Reason)), (DECISIONS, get_args(Verdict)), (FINDINGS, VERDICTS)],
    ids=["reasons", "decisions", "findings"],
)
def test_every_code_has_words(table: dict[str, Words], codes: tuple[str, ...]) -> None:
    assert set(codes) - set(table) == set()


@pytest.mark.parametrize(("code", "said"), ALL)
def test_both_languages_say_something_with_the_same_figures(code: str, said: Words) -> None:
    assert said.en.isascii()
    assert said.en.strip().rstrip(".") == said.en
    assert any("\u4e00" <= letter <= "\u9fff" for letter in said.zh), f"{code} has no Chinese"
    assert fields(said.en) == fields(said.zh)


def test_figures_are_filled_in() -> None:
    assert "40 more users" in words(FINDINGS, "too_early", needed=40, lift="20 %")
    assert "40 名用户" in words(FINDINGS, "too_early", "zh", needed=40, lift="20 %")
    with pytest.raises(KeyError):
        words(FINDINGS, "too_early")
    with pytest.raises(KeyError):
        words(REASONS, "unheard-of")


def test_the_page_on_policies_has_every_reason_and_the_order_of_the_gates() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods" / "policy.md").read_text()
    table = page[page.index("## The gates") : page.index("## An example")]
    places = [table.index(f"`{reason}`") for reason in get_args(Reason)]
    assert places == sorted(places)
