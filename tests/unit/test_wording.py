"""Every code that is written somewhere has words in both languages, at one place."""

from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

from pipeline import sentences
from pipeline.experiment import VERDICTS as FOUND
from pipeline.risk.words import TEXTS
from pipeline.wording import CALIBRATION, FINDINGS, OUTLOOKS, REASONS, VERDICTS, Words, decided, words
from schemas.decision import Reason, Verdict

PAGE = (Path(__file__).parents[2] / "docs" / "methods" / "policy.md").read_text()
TABLES = (REASONS, VERDICTS, OUTLOOKS, FINDINGS, CALIBRATION, TEXTS, sentences.SHORT)
ALL = [
    *((code, said) for table in TABLES for code, said in table.items()),
    *((code, said) for code, both in (sentences.GATES | sentences.BY_CHANNEL).items() for said in both),
]


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_reason_and_every_verdict_has_words_and_nothing_else_has() -> None:
    assert (len(REASONS), len(VERDICTS)) == (19, 7)
    assert tuple(REASONS) == get_args(Reason)
    assert tuple(VERDICTS) == get_args(Verdict)
    assert set(FOUND) <= set(FINDINGS)


@pytest.mark.parametrize(("code", "said"), ALL)
def test_both_languages_say_something_with_the_same_figures(code: str, said: Words) -> None:
    assert said.en.isascii()
    assert said.en.strip().rstrip(".") == said.en
    assert any("\u4e00" <= letter <= "\u9fff" for letter in said.zh), f"{code} has no Chinese"
    assert fields(said.en) - {"days"} == fields(said.zh)  # "days" is a word of English


def test_figures_are_filled_in() -> None:
    assert "40 more users" in words(FINDINGS, "too_early", needed=40, lift="20 %")
    assert "40 名用户" in words(FINDINGS, "too_early", "zh", needed=40, lift="20 %")
    with pytest.raises(KeyError):
        words(FINDINGS, "too_early")
    with pytest.raises(KeyError):
        words(REASONS, "unheard-of")


def test_a_decision_is_its_verdict_and_all_its_reasons() -> None:
    assert decided("send", []) == "send"
    assert decided("suppressed", ["cap_day", "expired"]) == (
        "suppressed: the most messages of a day were sent; it could not be sent before it expired"
    )
    assert decided("stale", ["expired"], "zh") == "已过时：未能在过期之前发送"


def test_the_page_on_policies_has_the_words_of_every_code_in_the_order_of_the_gates() -> None:
    rows = [f"| `{code}` | {said.en} | " for code, said in REASONS.items()]
    places = [PAGE.index(row) for row in rows]
    assert places == sorted(places)
    assert all(f"| {said.zh} |\n" in PAGE for table in (REASONS, VERDICTS) for said in table.values())
