"""What the demo shows, at the widths of terminals: no reason is cut, and every figure says what it counts."""

import re
from io import StringIO

import msgspec
import pytest
from rich.console import Console, RenderableType

from agents.demo.run import POLICY
from agents.demo.summary import Reach, Reader, Result, reach, report, what_next
from agents.demo.view import Scene, picture
from agents.evidence import Evidence
from agents.oracle import Findings
from agents.settings import load_settings
from schemas.trigger import Trigger
from tests.builders import Folded, at, event, fold, history, order, ticks

DEMO = POLICY.read_text()
WIDTHS = (80, 100, 120)


@pytest.fixture(scope="module")
def folded() -> Folded:
    """Three customers of the demo's policy, each due by another rule, and one who comes back."""
    orders = [order(at(day), "customer-0004", 20) for day in (0, 3, 6, 30)]
    once = [order(at(0), "customer-0001", 250), order(at(0), "customer-0002", 20)]
    events = [*once, *orders]
    visits = [event(at(day), "customer-0003", source="newsletter") for day in range(1, 20)]
    log = sorted((*events, *visits, *ticks(at(0), at(100))), key=lambda entry: entry.appended)
    return fold(history(log, policy=DEMO), DEMO)


def drawn(shown: RenderableType, width: int) -> str:
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(shown)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("width", WIDTHS)
def test_the_reason_of_a_trigger_is_never_cut(folded: Folded, width: int) -> None:
    triggers = [msgspec.convert(each, Trigger) for each in folded.triggers]
    assert {trigger.data.rule_id for trigger in triggers} == {"gold-back", "dormant", "fading"}
    for trigger in triggers:
        scene = Scene("Kafka", at(0), at(100), at(50), 30, 20, 100.0, {"new": 4}, 9, [trigger], [])
        shown = drawn(picture(scene, width), width)
        assert "…" not in shown
        row = next(row for row in shown.splitlines() if trigger.subject in row)
        why = {"gold-back": "entered gold-fading", "dormant": "silent 60 d", "fading": "P(alive) < 0.65, silent "}
        assert why[trigger.data.rule_id] in row
        assert ("risk" in row or "came on" in row) == (width > 80 or trigger.data.rule_id != "fading")


@pytest.mark.parametrize("width", WIDTHS)
def test_what_to_try_next_is_said_in_full(width: int) -> None:
    reader = Reader(load_settings(), "http://127.0.0.1:29315", "customer-1329")
    shown = drawn(what_next(reader, ["http://127.0.0.1:9466/metrics"]), width)
    assert "…" not in shown
    assert "their risk, and why they are recalled" in " ".join(shown.replace("curl", " ").split())


def test_channels_count_users_and_buyers_once(folded: Folded) -> None:
    rows = {0: folded.table}
    found = reach(Evidence("users", 1, {}, {}, rows, {}))
    assert found == {"direct": Reach(3, 3, 3), "newsletter": Reach(1, 1, 0)}


def test_counts_are_named_for_what_they_count(folded: Folded) -> None:
    stages = {"dormant": 4}
    position = folded.partition.position
    channels = reach(Evidence("users", 1, {}, {}, {0: folded.table}, {}))
    result = Result(position.counts, stages, folded.cells, channels, Findings())
    shown = drawn(report(result, wide=True), 120)
    decisions, _, rest = shown.partition("Came back within the goal window")
    assert "decision        reason" in decisions
    assert decisions.split("Decisions")[1].split()[:4] == ["rule", "decision", "reason", "decisions"]
    assert re.search(r"fading +1 of 3 \(33\.3%\)", rest)
    assert "came by" in rest
