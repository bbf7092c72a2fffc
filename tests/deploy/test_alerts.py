"""Alerts and dashboards: what they ask for exists, and they ring when they have to."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from agents.edge import IngestMetrics, RelayMetrics
from agents.metrics import Metrics
from agents.views.metrics import ViewMetrics
from pipeline.risk import Recency
from pipeline.units import DAY
from tests.builders import (
    POLICY,
    adopt,
    adopt_model,
    at,
    event,
    fold,
    history,
    log,
    models,
    now,
    order,
    played,
    tick,
    ticks,
)

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
RULES = PROMETHEUS / "rekindle.rules.yml"
TARGET = {"job", "instance"}  # labels that Prometheus itself gives
OF_PROMETHEUS = {"up": TARGET, "ALERTS": {"alertname", "alertstate"}}
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool"}

promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(promtool is None, reason="no promtool (Debian: apt install prometheus)")


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def rules() -> list[dict[str, Any]]:
    return [rule for group in read(RULES)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def dashboards() -> list[Path]:
    return sorted((GRAFANA / "dashboards").glob("*.json"))


def queries(dashboard: Path) -> Iterator[tuple[str, str]]:
    """Title and expression."""
    board = json.loads(dashboard.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


@cache
def exposed() -> Mapping[str, set[str]]:
    """Name of every series of our processes -> the labels that it has."""
    registry, others = CollectorRegistry(), list[CollectorRegistry]()
    metrics = Metrics(registry)
    core = fold([]).partition
    metrics.assigned(0, seconds=0.1, rows=0, lag=0, core=core)
    story = [order(at(0, 1), "bob"), event(at(0, 1), "ann"), *(tick(at(day)) for day in range(31, 60))]
    for _ in core.fold(log(played(), tick(at(0)), adopt(POLICY), *story)):
        core.commit()
    for other in (ViewMetrics, IngestMetrics, RelayMetrics):
        alone = CollectorRegistry()
        other(alone)
        others.append(alone)
    live = fold(log(event(at(0, 1), "zoe"), now(at(0, 2)))).partition
    metrics.assigned(1, seconds=0.1, rows=0, lag=0, core=live)
    model = Recency(DAY, 0.0, 0.0, 1.0).to_json()
    text = (
        POLICY.replace("holdout: 0", "holdout: 0.5") + "segments: [{id: quiet, where: {silence_days: {at_least: 3}}}]\n"
    )
    scored_log = history(adopt_model(model), event(at(0)), ticks(at(0), at(40)), policy=text)
    scored = fold(scored_log, text, extra=models(model)).partition
    metrics.assigned(2, seconds=0.1, rows=0, lag=0, core=scored)
    found = {**OF_PROMETHEUS, "rekindle:dormant_users:sum": set[str]()}
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    for family in (family for source in (registry, *others) for family in source.collect()):
        labels = {label for sample in family.samples for label in sample.labels}
        for suffix in suffixes[family.type]:
            found[family.name + suffix] = labels | TARGET
    return found


def series(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The series that an expression selects, each with the labels that it matches by."""
    plain = re.sub(r'"[^"]*"', '""', expression)
    plain = re.sub(r"\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)", "", plain)
    for name, matchers in re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?! *\()(\{[^}]*\})?", re.sub(r"\[[^\]]*\]", "", plain)):
        if name not in WORDS and not _inside_braces(plain, name):
            yield name, set(re.findall(r"(\w+) *[=!]", matchers))


def _inside_braces(plain: str, name: str) -> bool:
    outside = re.sub(r"\{[^}]*\}", "", plain)
    return re.search(rf"\b{re.escape(name)}\b", outside) is None


def check(where: str, expression: str) -> None:
    selected = list(series(expression))
    assert selected, f"{where}: no series in {expression}"
    for name, labels in selected:
        assert name in exposed(), f"{where}: no process of ours has a series {name}"
        assert labels <= exposed()[name], f"{where}: {name} has no label {labels - exposed()[name]}"
    grouped = re.findall(r"\bby *\(([^)]*)\)", expression)
    wanted = {label.strip() for labels in grouped for label in labels.split(",")}
    known = set().union(*(exposed()[name] for name, _ in selected))
    assert wanted <= known, f"{where}: none of its series has a label {wanted - known}"


def test_the_names_in_an_expression_are_found() -> None:
    found = dict(series('sum by (a) (rate(x_total{b="c d", e!~"f"}[5m] offset 1w)) > on () 3 * y:z'))
    assert found == {"x_total": {"b", "e"}, "y:z": set()}


def test_every_rule_asks_for_what_workers_expose() -> None:
    assert len(rules()) > 10
    for rule in rules():
        check(rule.get("alert") or rule["record"], rule["expr"])


def test_every_panel_asks_for_what_workers_expose() -> None:
    boards = dashboards()
    assert boards
    for board in boards:
        for title, expression in queries(board):
            check(f"{board.name}: {title}", expression)


def test_every_metric_of_a_worker_is_on_the_dashboard() -> None:
    shown = {name for board in dashboards() for _, expression in queries(board) for name, _ in series(expression)}
    folded = {name.removesuffix("_bucket") for name in shown}
    missing = {
        name
        for name in exposed()
        if re.match("rekindle_(?!views|relay|ingest)", name)
        and name not in folded
        and not name.endswith(("_bucket", "_sum", "_count"))
    }
    # counted by chunk, commit and tick; the panels show what they come to; the offset is for an alert
    assert missing == {
        "rekindle_records_total", "rekindle_changelog_records_total", "rekindle_ticks_total", "rekindle_source_offset",
    }  # fmt: skip


def test_every_alert_has_a_severity_a_runbook_entry_and_a_test_in_which_it_rings() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    ringing, quiet = set(), set()
    for path in (PROMETHEUS / "tests").glob("*.yml"):
        for test in read(path)["tests"]:
            for case in test["alert_rule_test"]:
                (ringing if case.get("exp_alerts") else quiet).add(case["alertname"])
    for alert in alerts():
        name = alert["alert"]
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert page == "docs/operations.md"
        assert anchor == name.lower()
        assert anchor in anchors, f"docs/operations.md has no entry {name}"
        assert name in ringing, f"no test in which {name} rings"
        assert name in quiet, f"no test in which {name} does not ring"
    assert ringing <= {alert["alert"] for alert in alerts()}


def test_every_runbook_entry_says_what_to_look_at_what_to_type_and_when_it_is_over() -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text()
    entries = re.findall(r"^### (Rekindle\w+)\n(.*?)(?=^##)", runbook + "\n##", re.MULTILINE | re.DOTALL)
    assert {name for name, _ in entries} == {alert["alert"] for alert in alerts()}
    for name, text in entries:
        for part in ("**Look at**", "**Command**", "**Over when**"):
            assert part in text, f"{name}: no {part}"


def run(*command: str | Path) -> None:
    assert promtool is not None
    done = subprocess.run([promtool, *command], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_reads_rules_and_configuration() -> None:
    run("check", "rules", RULES)
    run("check", "config", PROMETHEUS / "prometheus.yml")


@needs_promtool
@pytest.mark.parametrize("path", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_alerts_ring_when_they_have_to_and_not_else(path: Path) -> None:
    run("test", "rules", path)


@needs_promtool
def test_promtool_reads_every_query_of_the_dashboards(tmp_path: Path) -> None:
    expressions = [expression for board in dashboards() for _, expression in queries(board)]
    records = [{"record": f"query:{n}", "expr": expression} for n, expression in enumerate(expressions)]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": records}]}))
    run("check", "rules", tmp_path / "queries.yml")


def test_grafana_finds_its_data_source_and_dashboards() -> None:
    (source,) = read(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    for path in dashboards():
        board = json.loads(path.read_text())
        used = {target["datasource"]["uid"] for panel in board["panels"] for target in panel.get("targets", ())}
        assert used == {source["uid"]}
        identifiers = [panel["id"] for panel in board["panels"]]
        assert len(identifiers) == len(set(identifiers))
