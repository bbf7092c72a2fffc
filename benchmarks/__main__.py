"""`python -m benchmarks`: every figure of README.md in one run, on a Kafka of its own; build/bench.json and a table."""

import os
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console

from agents.erasure_key import make_erasure_key
from agents.local import LocalKafka, home
from agents.process import follow_parent
from agents.settings import load_settings
from benchmarks.measure import Failed, Figures, Job, run
from benchmarks.report import TARGETS, Found, drawn
from benchmarks.stock import stock
from benchmarks.workload import EVENTS_PER_USER, fill

_NAIVE_SHARE = 50  # the naive agent gets one event in so many: it takes as much longer
_MEMORY_USERS = 1_000_000

NAMES = ("loops", "naive", "replay", "latency", "memory", "wheel", "firing", "risk", "backtest")


class Bench:
    """What a run shares: a broker, a folder, the number of events and of repetitions."""

    def __init__(self, brokers: str, folder: Path, events: int, repeats: int, say: Callable[[str], None]) -> None:
        self.brokers = brokers
        self.folder = folder
        self.events = events
        self.repeats = repeats
        self.say = say

    def job(self, prefix: str = "", *, events: int = 0, size: int = 0) -> Job:
        """A variant's orders."""
        return Job(self.brokers, prefix, events or self.events, str(self.folder), size)

    def scaled(self, size: int) -> int:
        """`size`, less in a quick run."""
        return max(1_000, size * min(self.events, 1_000_000) // 1_000_000)

    def medians(self, variant: str, job: Job) -> Figures:
        """The median of each figure over all repetitions."""
        found = []
        for turn in range(self.repeats):
            self.say(f"{variant.partition(':')[2]} {turn + 1} of {self.repeats}")
            found.append(run(variant, job))
        return {name: statistics.median(figures[name] for figures in found) for name in found[0]}

    def loops(self) -> Found:
        """The loops and the worker, in turns on the same log; and what reading the worker's changelog costs."""
        rounds: dict[str, list[float]] = {"bare": [], "plain": [], "worker": []}
        recovered = []
        for turn in range(self.repeats):
            prefix = f"loop{turn}."
            self.say(f"writing {self.events:,} events")
            fill(self.brokers, prefix, self.events, seed=turn + 1)
            for name, variant in (("bare", "loops:bare"), ("plain", "loops:plain"), ("worker", "worker:worker")):
                self.say(f"{name} {turn + 1} of {self.repeats}")
                rounds[name].append(run(variant, self.job(prefix))["us"])
            recovered.append(run("worker:recover", self.job(prefix, size=self.events // EVENTS_PER_USER))["users_s"])
        bare, plain, worker = (statistics.median(rounds[name]) for name in ("bare", "plain", "worker"))
        return {
            "bare_us": bare,
            "plain_us": plain,
            "worker_us": worker,
            "worker_events_s": 1e6 / worker,
            "recovery_uncompacted_users_s": statistics.median(recovered),
        }

    def naive(self) -> Found:
        """The naive agent."""
        found = []
        events = max(2_000, self.events // _NAIVE_SHARE)
        for turn in range(self.repeats):
            prefix = f"naive{turn}."
            fill(self.brokers, prefix, events, seed=turn + 1, adopt=False)
            self.say(f"naive {turn + 1} of {self.repeats}")
            found.append(run("naive:naive", self.job(prefix, events=events))["us"])
        return {"naive_us": statistics.median(found)}

    def replay(self) -> Found:
        """The replay command."""
        return {"replay_events_s": self.medians("core:replay", self.job())["events_s"]}

    def latency(self) -> Found:
        """Reveal to visible."""
        self.say("latency")
        figures = run("latency:latency", self.job("latency.", size=60 if self.events >= 1_000_000 else 20))
        return {"trigger_p50_ms": figures["p50"], "trigger_p99_ms": figures["p99"]}

    def memory(self) -> Found:
        """A worker with a million users: memory, and loading them."""
        size = self.scaled(_MEMORY_USERS)
        self.say(f"writing {size:,} users")
        stock(self.brokers, "stock.", size)
        figures = self.medians("worker:recover", self.job("stock.", size=size))
        return {"bytes_per_user": figures["bytes"], "recovery_users_s": figures["users_s"]}

    def wheel(self) -> Found:
        """Re-bucketing and adoption."""
        figures = self.medians("core:wheel", self.job(size=self.scaled(1_000_000)))
        return {"rebucket_s": figures["keys_s"], "adoption_us_per_user": figures["adoption_us"]}

    def firing(self) -> Found:
        """A tick that makes 100,000 users due."""
        return {"firing_s": self.medians("core:firing", self.job(size=self.scaled(100_000)))["decisions_s"]}

    def risk(self) -> Found:
        """A churn model asked for 100,000 users."""
        figures = self.medians("risk:evaluation", self.job(size=self.scaled(100_000)))
        return {"risk_us": figures["evaluation_us"], "crossing_us": figures["crossing_us"]}

    def backtest(self) -> Found:
        """The backtest command on a history with decisions, and beside a replay of the same."""
        figures = self.medians("whatif:backtest", self.job(events=self.scaled(400_000)))
        return {"backtest_events_s": figures["events_s"], "backtest_over_replay": figures["ratio"]}


@contextmanager
def _workplace() -> Iterator[Path]:
    folder = home() / f"bench-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@click.command()
@click.option("--events", default=1_000_000, show_default=True, help="Events of the log; the other sizes follow.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Measure this only (may be repeated).")
@click.option("--repeats", default=3, show_default=True, help="Medians of so many runs.")
@click.option(
    "--out",
    default=Path("build/bench.json"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="The figures; of a whole run.",
)
def main(events: int, only: tuple[str, ...], repeats: int, out: Path) -> None:
    """Measure Rekindle and its baselines on a local Kafka: medians, CPU time of the process that does the work."""
    follow_parent()
    make_erasure_key(load_settings())
    console = Console(stderr=True, highlight=False)
    found: Found = {}
    with _workplace() as folder, LocalKafka(folder / "kafka", heap_mb=768, say=console.print) as kafka:
        bench = Bench(kafka.bootstrap, folder, events, repeats, lambda line: console.print(f"[dim]{line}"))
        for name in only or NAMES:
            try:
                found |= getattr(bench, name)()
            except Failed as error:
                console.print(f"[red]{error}")
                sys.exit(1)
    Console().print(drawn(found))
    if set(found) == set(TARGETS):
        out.parent.mkdir(parents=True, exist_ok=True)
        document = {name: round(found[name], 3) for name in TARGETS}
        out.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        console.print(f"written to {out}")


if __name__ == "__main__":
    main()
