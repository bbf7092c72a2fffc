"""What a policy needs beside its text is named until it is there."""

import json
from pathlib import Path

from click.testing import CliRunner

from agents.cli import main
from agents.exits import Exit
from pipeline.policy import parse
from pipeline.policy.needs import unmet

NEEDY = """
version: 1
mode: live
consent: {email: {basis: opt_out, trait: email}}
perks: [{id: ten-off, cost: 10, budget: 5120}, {id: unused, cost: 1, budget: 10}]
segments: [{id: best, where: {value_365d: {top: 0.1}}}]
rules:
  - id: leaving
    when: {risk_above: 0.9, min_silence: 1d}
    goal: {within: 7d}
  - id: silent
    when: {silence: 30d}
    steps: [{after: 3d, perk: ten-off}]
    goal: {within: 7d}
"""


def test_each_need_is_named_until_it_is_met() -> None:
    policy = parse(NEEDY.encode())
    risk, perk, top = unmet(policy)
    assert risk.startswith("rule leaving goes by risk_above: nothing is due until a model is published")
    assert perk.startswith("perk ten-off is not leased: messages of silent with it are suppressed")
    assert top.startswith("best goes by the top 10 % of value_365d: nobody is in it")
    assert list(unmet(policy, model=True)) == [perk, top]
    assert list(unmet(policy, leased={"ten-off": 0})) == [risk, perk, top]
    assert list(unmet(policy, leased={"ten-off": 1_000})) == [risk, top]
    assert list(unmet(policy, quantiles={"value_365d": {0.2: 5.0}})) == [risk, perk, top]
    assert list(unmet(policy, quantiles={"value_365d": {0.1: 5.0}})) == [risk, perk]


def test_policy_check_reads_several_files_and_says_what_they_need(tmp_path: Path) -> None:
    needy, plain, broken = (tmp_path / name for name in ("needy.yaml", "plain.yaml", "broken.yaml"))
    needy.write_text(NEEDY)
    plain.write_text("version: 1\n")
    broken.write_text("version: 2\n")
    shown = CliRunner().invoke(main, ["policy", "check", str(needy), str(plain)])
    assert shown.exit_code == 0
    assert "rule leaving goes by risk_above" in shown.stdout
    assert f"{plain} is sound" in shown.stdout
    told = CliRunner().invoke(main, ["policy", "check", "--json", str(broken), str(needy)])
    assert told.exit_code == Exit.POLICY
    first, second = map(json.loads, told.stdout.splitlines())
    assert (first["ok"], second["ok"], len(second["needs"])) == (False, True, 3)
