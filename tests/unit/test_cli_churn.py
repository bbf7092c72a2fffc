"""`rekindle fit` and `rekindle evaluate` on files."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agents.cli import main
from agents.exits import Exit
from pipeline.risk import Logistic, from_json
from pipeline.units import DAY
from tests.unit.test_risk_evaluate import raws


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("churn") / "events.jsonl"
    path.write_bytes(b"".join(raw.value + b"\n" for raw in raws()))
    return path


def rekindle(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_fit_writes_a_model_and_its_report(events: Path, tmp_path: Path) -> None:
    model, report = tmp_path / "made" / "model.json", tmp_path / "fit.md"
    told = rekindle("fit", events, "--horizon", "30d", "--out", model, "--report", report)
    assert told.exit_code == 0, told.output
    body = model.read_bytes()
    name = hashlib.sha256(body).hexdigest()
    assert f"model {name}" in told.output
    found = from_json(body)
    assert isinstance(found, Logistic)
    assert found.horizon == 30 * DAY
    assert name in report.read_text()
    for picture in ("fit-calibration.svg", "fit-lift.svg"):
        assert picture in report.read_text()
        assert (tmp_path / picture).read_text().startswith("<svg")


def test_fit_is_the_same_from_run_to_run_and_names_its_events(events: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.json"
    words = ("fit", events, "--horizon", "30", "--model", "recency", "--out", out, "--json")
    first = rekindle(*words)
    body = out.read_bytes()
    assert rekindle(*words).output == first.output
    assert out.read_bytes() == body
    said = json.loads(first.output)
    digest = hashlib.sha256(b"".join(sorted(events.read_bytes().splitlines(keepends=True)))).hexdigest()
    assert said["hash"] == hashlib.sha256(body).hexdigest()
    assert said["data"] == json.loads(body)["data"] == digest
    assert said["intervals"]["auc"][0] < said["auc"] < said["intervals"]["auc"][1]


def test_fit_says_what_was_refused_and_warns_where_it_is_much(events: Path, tmp_path: Path) -> None:
    good = events.read_bytes()
    count = good.count(b"\n")
    report = tmp_path / "fit.md"
    words = ("--horizon", "30", "--model", "recency", "--out", tmp_path / "model.json", "--report", report)
    clean = rekindle("fit", events, *words)
    assert f"{count:,} events read: {count:,} applied, 0 duplicate, 0 refused\n" in clean.stdout
    assert clean.stderr == ""

    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(good + b"{oops\n" * count)
    told = rekindle("fit", broken, *words)
    said = f"{2 * count:,} events read: {count:,} applied, 0 duplicate, {count:,} refused (malformed_json {count:,})"
    assert f"{said}\n" in told.stdout
    assert f"- {said}\n" in report.read_text()
    assert told.stderr.startswith("warning: 50.0% of the events were refused: nothing was learned from them; ")
    for command in (("fit", *words), ("evaluate", "--horizon", "30")):
        result = rekindle(*command, broken, "--json")
        assert json.loads(result.stdout)["events"] == {
            "read": 2 * count,
            "applied": count,
            "duplicate": 0,
            "rejected": count,
            "reasons": {"malformed_json": count},
        }
        assert "50.0% of the events were refused" in result.stderr


def test_evaluate_compares_all_models(events: Path) -> None:
    said = json.loads(rekindle("evaluate", events, "--horizon", "30d", "--json").output)
    assert said["horizon"] == 30 * DAY
    assert set(said["models"]) == {"recency", "mbg", "logistic"}
    for figures in said["models"].values():
        for figure in ("auc", "logloss", "ece", "lift10"):
            low, high = figures["intervals"][figure]
            assert 0 <= low <= high
            assert figures[figure] >= 0
    table = rekindle("evaluate", events, "--horizon", "30d").output
    assert f"{said['models']['mbg']['auc']:.3f}" in table


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "name files with events, or say --from-topic"),
        (("{events}", "--from-topic"), "one of the two"),
        (("{events}", "--horizon", "1m"), "no horizon such as 90d"),
        (("{events}", "--horizon", "0"), "no horizon such as 90d"),
        (("{events}", "--horizon", "280d"), "the history has to span three horizons"),
        (("{events}", "--horizon", "400d"), "shorter than the horizon"),
        (("{nothing}",), "none of 1 is one; the first: wrong_type: "),
        (("{empty}",), "no event that tells a time: it is empty"),
        (("{csv}",), "none of 2 is one; the first: malformed_json: "),
    ],
)
def test_what_can_not_be_learned_is_refused_in_a_line(
    words: tuple[str, ...], line: str, events: Path, tmp_path: Path
) -> None:
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_bytes(b"{}\n")
    empty, csv = tmp_path / "empty.jsonl", tmp_path / "events.csv"
    empty.touch()
    csv.write_text("user_id,ts\n1,2006-01-01\n")
    files = {"events": events, "nothing": nothing, "empty": empty, "csv": csv}
    told = rekindle("evaluate", *(word.format_map(files) for word in words))
    assert told.exit_code == Exit.USAGE
    assert line in told.output
    assert "Traceback" not in told.output


def test_a_file_that_can_not_be_written_is_named(events: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = rekindle("fit", events, "--horizon", "30d", "--model", "recency", "--out", tmp_path / "file" / "model.json")
    assert told.exit_code == Exit.USAGE
    assert str(tmp_path / "file") in told.output
