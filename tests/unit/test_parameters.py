"""What `rekindle fit` states for a policy: its `risk:` and `value:` are those of the history, and can be pasted."""

import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agents.churn import samples, stated
from agents.cli import main
from agents.history import Past
from pipeline.parameters import Parameters
from pipeline.play import Raw, in_order
from pipeline.policy import PAliveBelow, parse
from pipeline.policy.notes import notes
from pipeline.risk import MbgNbd
from pipeline.risk.learn import log_likelihood, most_likely
from pipeline.units import DAY
from pipeline.value.gamma_gamma import fit
from tests.property.histories import cdnow, needs_cdnow
from tests.unit.test_risk_evaluate import HORIZON, START, raw, visits

EUROS = b"version: 1\ncurrency: {reporting: EUR, rates: {USD: 0.5}}\norders: [Bought]\nvalue: {horizon: 90d}\n"


@cache
def orders() -> tuple[dict[str, list[float]], tuple[Raw, ...]]:
    """Each visit of `visits` is an order, around a mean of the user's own (USD); by user, and as events."""
    rng = random.Random(5)
    prices, events = {}, []
    for user, times in visits().items():
        mean = 20 / rng.gammavariate(3, 1 / 3)
        prices[user] = [max(0.01, round(mean * rng.gammavariate(4, 1 / 4), 2)) for _ in times]
        for time, price in zip(times, prices[user], strict=True):
            events.append(raw(user, time, event="Bought", properties={"revenue": f"{price:.2f}", "currency": "USD"}))
    return prices, tuple(in_order(events))


def found(past: Past) -> Parameters:
    return stated(past, samples(past, HORIZON, "test"))


def test_the_risk_is_of_all_users_as_of_the_end() -> None:
    end = max(map(max, visits().values()))
    rows = []
    for times in visits().values():
        days = sorted({time // DAY for time in times})
        rows.append((len(days) - 1, (times[-1] - times[0]) / (7 * DAY), (end - times[0]) / (7 * DAY)))
    wanted = most_likely(log_likelihood, *np.array(rows).T)
    told = found(Past(list(orders()[1])))
    assert told.users == len(visits())
    assert (told.risk.r, told.risk.alpha, told.risk.a, told.risk.b) == pytest.approx(wanted, rel=0.02)


def test_the_value_is_of_all_priced_orders_in_the_policys_currency() -> None:
    prices, events = orders()
    free = raw("nobody", START + 10 * DAY, event="Bought", properties={"revenue": "0", "currency": "USD"})
    told = found(Past(in_order([*events, free]), parse(EUROS), EUROS))
    wanted, _ = fit([len(p) for p in prices.values()], [sum(p) / len(p) / 2 for p in prices.values()])
    assert told.value is not None
    assert (told.value.p, told.value.q, told.value.gamma) == pytest.approx((wanted.p, wanted.q, wanted.gamma), rel=0.02)
    assert told.value.horizon == 90 * DAY
    assert (told.buyers, told.users, told.currency) == (len(prices), len(prices) + 1, "EUR")


def test_the_lines_are_what_a_policy_states() -> None:
    told = found(Past(list(orders()[1]), parse(EUROS), EUROS))
    text = EUROS.decode().replace("value: {horizon: 90d}\n", "") + "\n".join(told.lines)
    policy = parse(text)
    assert isinstance(policy.risk, MbgNbd)
    assert (policy.risk.r, policy.risk.alpha) == pytest.approx((told.risk.r, told.risk.alpha), rel=1e-5)
    assert (policy.risk.a, policy.risk.b) == pytest.approx((told.risk.a, told.risk.b), rel=1e-5)
    assert told.value is not None
    assert (policy.value.p, policy.value.q) == pytest.approx((told.value.p, told.value.q), rel=1e-5)
    assert policy.value.gamma == pytest.approx(told.value.gamma, rel=1e-5)
    assert policy.value.horizon == told.value.horizon


def test_without_orders_there_is_no_value_and_it_says_why() -> None:
    told = found(Past(list(orders()[1])))  # the built-in policy knows another event as an order
    assert told.value is None
    assert [line.split(":")[0] for line in told.lines] == ["risk"]
    assert "value: not fitted: at least 10 customers with orders are needed" in told.says[-1]
    assert told.says[-1] in told.markdown


def test_a_fit_in_which_nobody_leaves_says_that_p_alive_tells_little() -> None:
    told = found(Past(list(orders()[1])))
    assert not any("p_alive_below" in line for line in told.says)
    faithful = told._replace(risk=MbgNbd(0.83, 9.9, 0.0018, 11.8))
    assert any("only 0.02% leave after an active day" in line for line in faithful.says)


@needs_cdnow
def test_cdnow_as_a_shop_would_fit_it() -> None:
    past = Past(cdnow())
    told = stated(past, samples(past, 90 * DAY, "test"))
    assert told.users == 2_357
    assert told.value is not None
    # Of all orders of 78 weeks; the published figures are of repeat orders in the first 39.
    assert (told.value.p, told.value.q, told.value.gamma) == pytest.approx((7.3, 3.8, 12.3), abs=0.1)
    assert (told.risk.r, told.risk.alpha) == pytest.approx((0.62, 8.6), abs=0.1)


def rekindle(*words: str | Path) -> str:
    told = CliRunner().invoke(main, [str(word) for word in words])
    assert told.exit_code == 0, told.output
    return told.stdout


def test_fit_prints_both_lines_writes_them_into_the_report_and_as_json(tmp_path: Path) -> None:
    events, policy, report = tmp_path / "events.jsonl", tmp_path / "policy.yaml", tmp_path / "fit.md"
    events.write_bytes(b"".join(event.value + b"\n" for event in orders()[1]))
    policy.write_bytes(EUROS)
    words = ("fit", events, "--horizon", "30", "--model", "recency", "--policy", policy, "--out", tmp_path / "m.json")
    told = rekindle(*words, "--report", report)
    stating = json.loads(rekindle(*words, "--json"))["policy"]
    assert [line.split(":")[0] for line in stating["lines"]] == ["risk", "value"]
    assert stating["currency"] == "EUR"
    for line in stating["lines"]:
        assert f"\n{line}\n" in told
        assert f"\n{line}\n" in report.read_text()


RULES = """
version: 1
consent: {email: {basis: opt_out, trait: email}}
tiers: [{id: best, where: {value: {at_least: 100}}}]
segments: [{id: stake, where: {value_at_stake: {at_least: 20}}}, {id: risky, where: {risk: {at_least: 0.5}}}]
rules: [{id: fading, when: {p_alive_below: 0.3}, goal: {within: 7d}}]
"""


def test_a_policy_that_decides_by_cdnow_is_told_so_until_it_states_its_own(tmp_path: Path) -> None:
    def check(text: str) -> list[str]:
        file = tmp_path / "policy.yaml"
        file.write_text(text)
        noted: list[str] = json.loads(rekindle("policy", "check", "--json", file))["notes"]
        assert all(f"note: {line}\n" in rekindle("policy", "check", file) for line in noted)
        return noted

    assert isinstance(parse(RULES).rules[0].when, PAliveBelow)
    assert next(notes(parse(RULES), model=True)).startswith("rule fading, best, stake decide")  # it tells the risk
    risk, value = check(RULES)
    assert risk.startswith("rule fading, best, stake, risky decide by CDNOW's parameters")
    assert value.startswith("best, stake decide by CDNOW's parameters")
    assert "`risk:`" in risk
    assert "`value:`" in value
    own_risk, own_value = "risk: {r: 1, alpha: 2, a: 3, b: 4, unit: 7d}\n", "value: {p: 5, q: 6, gamma: 7}\n"
    assert check(RULES + own_risk) == [value]
    assert check(RULES + own_value) == [risk]
    assert check(RULES + "value: {horizon: 90d}\n") == [risk, value]
    assert not check(RULES + own_risk + own_value)
    assert not check("version: 1\nsegments: [{id: silent, where: {silence_days: {at_least: 9}}}]\n")
