"""Runs of a fault: on a cluster under load, each followed by a look at everything that was written."""

from collections.abc import AsyncGenerator
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple
from uuid import uuid4

from agents.local import LocalKafka
from agents.oracle import Findings
from tests.faults.faults import LIVE_SWEEP, NAMES, SWEEP, UNDER_LOAD, live_sweep, sweep
from tests.faults.feed import POLICY, TOGETHER
from tests.faults.harness import Check, Cluster

FAULTS: Final = (*UNDER_LOAD, LIVE_SWEEP, SWEEP)
_SWEEPS: Final = {SWEEP: sweep, LIVE_SWEEP: live_sweep}
_TOGETHER: Final = 5  # runs on one cluster: the oracle replays the whole log each time


class Run(NamedTuple):
    """One run, and what was seen after it."""

    fault: str
    number: int
    check: Check
    seconds: float


async def runs_of(kafka: LocalKafka, fault: str, numbers: range, seed: str, folder: Path) -> AsyncGenerator[Run, None]:
    """Do a fault several times; the same ones for the same seed."""
    together = 1 if fault in _SWEEPS else _TOGETHER
    for first in numbers[::together]:
        name = f"{fault.replace(' ', '-')}-{first}"
        cluster = Cluster(
            kafka,
            f"f{uuid4().hex[:8]}.",
            folder / name,
            f"{seed}/{fault}/{first}",
            policy=TOGETHER if fault in _SWEEPS else POLICY,
            domain="live" if fault == LIVE_SWEEP else "played",
        )
        async with cluster:
            if fault != LIVE_SWEEP:
                for worker in NAMES:
                    cluster.start(worker)
                await cluster.ready()
            for number in range(first, min(first + together, numbers.stop)):
                began = monotonic()
                try:
                    await _do(cluster, fault)
                    check = await cluster.check()
                except (AssertionError, TimeoutError) as error:  # the next run is worth doing all the same
                    check = Check(Findings(), [f"the fault could not be done: {error!r}", *cluster.last_words()])
                yield Run(fault, number, check, monotonic() - began)


async def _do(cluster: Cluster, fault: str) -> None:
    if fault in _SWEEPS:
        await _SWEEPS[fault](cluster)
        return
    cluster.go()
    await cluster.pause(0.5, 3.0)
    await UNDER_LOAD[fault](cluster)
    await cluster.pause(0.3, 2.0)
