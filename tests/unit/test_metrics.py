"""Metrics: right, bounded, and without users."""

import socket
import threading
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents.exits import Exit, Refusal
from agents.exposition import expose
from agents.families import OTHER
from agents.metrics import Metrics
from agents.observe import ChunkFolded, Committed, Observer
from pipeline.partition import Partition
from pipeline.records import Commit, LogRecord, Output
from pipeline.risk import Recency
from pipeline.sums import DECISIONS, OUTCOMES, RISK, STAGE
from pipeline.units import DAY
from tests.builders import (
    POLICY,
    Entry,
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
    registry,
    tick,
    ticks,
)

SECRET = "user-4711-secret"


class Watched:
    """A partition, its metrics, and the commits in between, as an owner reports them."""

    def __init__(self, policy: str = POLICY, metrics: Metrics | None = None, number: int = 0) -> None:
        self.registry = CollectorRegistry()
        self.metrics = metrics or Metrics(self.registry, now=lambda: at(50) / 1000)
        self.partition = Partition(number, 1, registry(policy))
        self.number = number
        observer: Observer = self.metrics
        observer.assigned(number, seconds=0.5, rows=0, lag=7, core=self.partition)

    def feed(self, records: Sequence[LogRecord]) -> "Watched":
        for _ in self.partition.fold(records):
            self.report(self.partition.commit())
        self.metrics.folded(ChunkFolded(self.number, len(records), 0.002, len(records), len(records) + 3, 0))
        self.report(self.partition.commit())
        return self

    def report(self, commit: Commit, outputs: dict[str, list[Output]] | None = None) -> None:
        size = sum(len(key) + len(value or b"") for key, value in commit.changelog)
        sent = commit.outputs if outputs is None else outputs
        self.metrics.committed(
            Committed(self.number, 0.01, commit.offset, len(commit.changelog), size, sent, 1, 120.0, self.partition)
        )

    @property
    def samples(self) -> dict[tuple[str, ...], float]:
        return scrape(self.registry)


def scrape(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """(name, label values in order of their labels' names) -> value, by way of the text that Prometheus reads."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def story() -> list[Entry | list[Entry]]:
    """Two users come, one twice by mistake; one buys again in time, one never does; one event is no event."""
    return [
        order(at(0, 1), SECRET),
        event(at(0, 1), "ann"),
        event(at(0, 1), "ann"),
        Entry(b"ann", b"{", ()),
        tick(at(31)),
        tick(at(32)),
        tick(at(33)),
    ]


def test_events_are_counted_by_what_became_of_them() -> None:
    samples = Watched().feed(history(*story())).samples
    assert samples["rekindle_events_total", "applied"] == 2
    assert samples["rekindle_events_total", "duplicate"] == 1
    assert samples["rekindle_events_total", "rejected"] == 1
    assert samples["rekindle_events_noted_total", "late"] == 0
    assert samples["rekindle_control_messages_total",] == 6
    assert samples["rekindle_dead_letters_total", "malformed_json"] == 1
    assert samples["rekindle_dead_letters_total", "too_late"] == 0
    assert samples["rekindle_outputs_total", "triggers"] == 2
    assert samples["rekindle_users_woken_total",] >= 2


def test_what_a_partition_counted_before_it_came_is_not_counted_again() -> None:
    first = Watched().feed(history(*story()))
    counted = first.samples
    again = Watched()
    again.metrics.revoked(0, reason="rebalance")
    again.metrics.assigned(0, seconds=0.1, rows=2, lag=0, core=first.partition)
    samples = again.samples
    assert samples["rekindle_events_total", "applied"] == 0
    assert samples.get(("rekindle_decisions_total", "send", "", "silent"), 0) == 0
    assert counted["rekindle_decisions_total", "send", "", "silent"] == 2
    assert samples["rekindle_users", "user", "dormant"] == 2


def test_decisions_and_events_stay_when_their_partition_leaves() -> None:
    watched = Watched().feed(history(*story()))
    before = watched.samples
    watched.metrics.revoked(0, reason="fenced")
    after = watched.samples
    assert after["rekindle_events_total", "applied"] == before["rekindle_events_total", "applied"] == 2
    decisions = [value for key, value in after.items() if key[0] == "rekindle_decisions_total"]
    assert sum(decisions) == 2
    assert after["rekindle_partitions",] == 0
    assert after["rekindle_partitions_left_total", "fenced"] == 1
    assert not [key for key in after if key[0] == "rekindle_source_lag_records"]


def test_stocks_are_those_of_the_cells() -> None:
    samples = Watched().feed(history(*story())).samples
    assert samples["rekindle_users", "user", "dormant"] == 2
    assert samples["rekindle_users", "user", "new"] == 0
    assert sum(value for key, value in samples.items() if key[0] == "rekindle_users_by_p_alive") == 2
    assert samples["rekindle_state_rows", "0"] == 2
    assert samples["rekindle_state_bytes", "0"] > 100
    assert samples["rekindle_source_lag_records", "0"] == 3
    assert samples["rekindle_source_dark_seconds", "0"] == 0
    policies = [key[1] for key in samples if key[0] == "rekindle_policy_partitions"]
    assert len(policies) == 1
    assert len(policies[0]) == 12


def test_recalled_users_and_their_worth_by_rule_and_arm() -> None:
    watched = Watched().feed(history(order(at(0, 1), "ann"), tick(at(31)), order(at(31, 1), "ann", 12.5), tick(at(40))))
    samples = watched.samples
    assert samples["rekindle_recall_users_total", "treatment", "silent", "decided"] == 1
    assert samples["rekindle_recall_users_total", "treatment", "silent", "measured"] == 1
    assert samples["rekindle_recall_users_total", "treatment", "silent", "recalled"] == 1
    assert samples["rekindle_recall_value_total", "treatment", "silent"] == 12.5


def test_arms_are_counted_as_drawn_by_the_share_and_salt_in_force() -> None:
    split = POLICY.replace("holdout: 0", "holdout: 0.4")
    users = [event(at(0, 1), f"u{number}") for number in range(20)]
    salted = split.replace("salt: ", "salt: new-")
    watched = Watched()
    watched.partition = Partition(0, 1, registry(split, salted))
    watched.metrics.assigned(0, seconds=0.1, rows=0, lag=0, core=watched.partition)
    watched.feed(history(users, tick(at(31)), policy=split))
    counted = {key[1:]: value for key, value in watched.samples.items() if key[0].startswith("rekindle_trial")}
    assert counted["holdout", "silent"] + counted["treatment", "silent"] == 20
    assert counted["silent",] == pytest.approx(8)
    watched.feed(log(adopt(salted), start=watched.partition.offset))
    assert not [key for key in watched.samples if key[0].startswith("rekindle_trial")]


def test_scores_are_those_of_the_adopted_model_and_of_days_that_are_over() -> None:
    bodies = [Recency(2 * DAY, 0.0, 0.0, weight).to_json() for weight in (1.0, 2.0)]
    early, late = ([event(at(day), user) for user in ("ann", "bob")] for day in (0, 40))
    watched = Watched()
    records = history(adopt_model(bodies[0]), early, ticks(at(0), at(14, 3)), event(at(14, 4), "bob"))
    watched.partition = fold(records, extra=models(*bodies)).partition
    watched.metrics.assigned(0, seconds=0.1, rows=0, lag=0, core=watched.partition)
    assert not [key for key in watched.samples if key[0].startswith("rekindle_scores")]  # ann's horizon is not over

    def go_on(*entries: Entry | list[Entry]) -> dict[tuple[str, ...], float]:
        watched.feed(log(*entries, start=watched.partition.offset))
        return watched.samples

    version = sha256(bodies[0]).hexdigest()[:12]
    assert not [key for key in go_on(ticks(at(14, 5), at(20))) if key[0].startswith("rekindle_scores")]
    samples = go_on(ticks(at(20, 1), at(40)))  # since then others were silent to the end: their day was over
    assert samples["rekindle_scores", "90", version, "silent"] == 2
    assert samples["rekindle_scores", "90", version, "came"] == 1
    assert samples["rekindle_scores_foretold", "90", version] == pytest.approx(3 * 0.94)
    samples = go_on(late, ticks(at(40), at(60)))
    assert samples["rekindle_scores", "90", version, "silent"] == 1  # more than four weeks lie between
    assert samples["rekindle_scores", "90", version, "came"] == 0
    assert not [key for key in go_on(adopt_model(bodies[1])) if key[0].startswith("rekindle_scores")]


def test_a_ceiling_rises_from_nothing() -> None:
    text = POLICY.replace("holdout: 0", "ceiling: 1\n    holdout: 0")
    users = [event(at(0, 1), f"u{i}") for i in range(3)]
    watched = Watched(text).feed(history(users, policy=text))
    name = ("rekindle_decisions_total", "suppressed", "ceiling", "silent")
    assert watched.samples[name] == 0
    samples = watched.feed(log(ticks(at(1), at(31)), start=watched.partition.offset)).samples
    assert (samples[name], samples["rekindle_sending_paused_partitions",]) == (1, 1)


def test_a_live_clock_is_so_far_behind() -> None:
    watched = Watched().feed(log(adopt(POLICY, at(49)), now(at(49))))
    samples = watched.samples
    assert samples["rekindle_clock_delay_seconds", "0"] == 86_400 + 3_600  # the lateness is a part of it
    assert samples["rekindle_deadline_backlog", "0"] == 0
    assert ("rekindle_clock_delay_seconds", "0") not in Watched().feed(history(*story())).samples


def test_the_backlog_counts_whoever_is_due_and_not_yet_looked_at() -> None:
    watched = Watched().feed(log(adopt(POLICY, at(0)), event(at(0, 1), "ann"), event(at(0, 1), "bob")))
    assert watched.samples["rekindle_deadline_backlog", "0"] == 2  # it is day 50 by now


def test_transactions_and_their_failures() -> None:
    watched = Watched().feed(history(*story()))
    watched.metrics.aborted(0, reason="fenced")
    watched.metrics.fenced(0)
    watched.metrics.reread(0)
    watched.metrics.ticked(0)
    watched.metrics.progress(0, position=10, highwater=50)
    samples = watched.samples
    assert samples["rekindle_transactions_aborted_total", "fenced"] == 1
    assert samples["rekindle_transactions_aborted_total", "failed"] == 0
    assert samples["rekindle_fenced_total",] == 1
    assert samples["rekindle_source_rereads_total",] == 1
    assert samples["rekindle_ticks_total",] == 1
    assert samples["rekindle_source_lag_records", "0"] == 40
    assert samples["rekindle_commit_seconds_count",] == 1
    assert samples["rekindle_reveal_to_visible_seconds_sum",] == pytest.approx(0.12)
    assert samples["rekindle_build_info", "1", version("rekindle"), "1"] == 1


def test_no_user_is_named() -> None:
    watched = Watched().feed(history(*story()))
    text = generate_latest(watched.registry).decode()
    assert "rekindle_decisions_total{" in text
    assert SECRET not in text
    assert "ann" not in text


def test_every_metric_says_what_it_is() -> None:
    watched = Watched().feed(history(*story()))
    for family in text_string_to_metric_families(generate_latest(watched.registry).decode()):
        assert family.documentation.endswith((".", ")", "tenth")) or not family.name.startswith("rekindle"), family.name
        assert not family.name.endswith(("_ms", "_millis"))


def test_ten_thousand_odd_labels_are_a_bounded_number_of_series() -> None:
    watched = Watched().feed(history(*story()))
    count = len(watched.samples)
    partition = watched.partition
    for i in range(10_000):
        odd = f"odd-{i}"
        partition.cells.add(
            [
                (DECISIONS, (20_000 + i, odd, odd, odd), 0, 1),
                (DECISIONS, (20_000, "silent", odd, odd), 0, 1),
                (OUTCOMES, (20_000, odd, odd, odd), 0, 1),
                (STAGE, ("user", odd), 0, 1),
                (RISK, (odd,), 0, 1),
            ]
        )
        watched.report(partition.commit(), {"deadletters": [Output(b"", b"", [("reason", odd.encode())])]})
        watched.metrics.aborted(0, reason=odd)
    samples = watched.samples
    # two more of the decisions, and the fields of the one odd rule's outcomes
    assert len(samples) <= count + 2 + len(OUTCOMES.fields) + 1
    assert samples["rekindle_decisions_total", OTHER, OTHER, OTHER] == 10_000
    assert samples["rekindle_dead_letters_total", OTHER] == 10_000


def test_partitions_that_come_and_go_leave_no_series() -> None:
    metrics = Metrics(registry_ := CollectorRegistry())
    for number in range(256):
        Watched(metrics=metrics, number=number).feed(history(*story()))
        metrics.revoked(number, reason="rebalance")
    assert len(scrape(registry_)) < 300


def test_a_scrape_while_the_fold_goes_on() -> None:
    watched = Watched().feed(history())
    failures: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                generate_latest(watched.registry)
            except Exception as error:  # noqa: BLE001
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    offset = watched.partition.offset
    for day in range(200):
        entries = [event(at(day, 1), f"u{day}-{i}") for i in range(30)]
        records = log(
            [tick(at(day, hour)) for hour in range(2)],
            entries,
            [tick(at(day, hour)) for hour in range(2, 24)],
            start=offset,
        )
        offset += len(records)
        watched.feed(records)
    done.set()
    reader.join()
    assert not failures
    assert watched.samples["rekindle_events_total", "applied"] == 6_000


def test_the_server_takes_the_next_port_if_one_is_taken() -> None:
    watched = Watched().feed(history(*story()))
    first = expose(watched.registry, "127.0.0.1", 0)
    try:
        with urlopen(first.address, timeout=5) as answer:  # noqa: S310 our own address
            assert b"rekindle_events_total" in answer.read()
        port = int(first.address.split(":")[2].split("/")[0])
        second = expose(watched.registry, "127.0.0.1", port)
        assert second.address != first.address
        second.close()
    finally:
        first.close()
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port), timeout=1):
        pass


def test_an_address_of_another_machine_is_refused_readably() -> None:
    with pytest.raises(Refusal, match=r"can't listen on 192\.0\.2\.1:9464") as refused:
        expose(CollectorRegistry(), "192.0.2.1", 9464)
    assert refused.value.code == Exit.USAGE
