"""Runs of a fault: on a cluster under load, each followed by a look at everything that was written."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple
from uuid import uuid4

from agents.local import LocalKafka
from agents.oracle import Findings
from schemas.control import TimeDomain
from tests.faults import edges, faults, ground
from tests.faults.faults import NAMES, Fault
from tests.faults.feed import TOGETHER
from tests.faults.harness import Check, Cluster, Detour
from tests.faults.loss import lose_state
from tests.faults.publisher import kill_publisher
from tests.faults.rules import POLICY

Ground = Callable[[Path], AbstractContextManager[tuple[LocalKafka, Detour | None]]]


@dataclass(frozen=True)
class Plan:
    """How a fault is run.

    `together`: runs on one cluster, since the oracle replays the whole log each time. `few`: runs in `make test`.
    `fed`: input flows while it happens. `started`: both workers run before. `alone`: what else is on the same broker
    or machine would feel it. `ground`: a broker of its own. `missing`: why it can't be done here.
    """

    fault: Fault
    together: int = 5
    few: int = 2
    policy: str = POLICY
    domain: TimeDomain = "played"
    fed: bool = True
    started: bool = True
    alone: bool = False
    ground: Ground | None = None
    missing: Callable[[], str | None] = lambda: None


def _edge(fault: Fault, *, redis: bool = True) -> Plan:
    return Plan(fault, few=1, missing=edges.no_redis if redis else lambda: None)


PLANS: Final[dict[str, Plan]] = {
    "kill": Plan(faults.kill),
    "kill after_changelog": Plan(faults.at_failpoint("after_changelog")),
    "kill after_triggers": Plan(faults.at_failpoint("after_triggers")),
    "kill before_commit": Plan(faults.at_failpoint("before_commit")),
    "kill after_commit": Plan(faults.at_failpoint("after_commit")),
    "sigterm": Plan(faults.terminate),
    "rolling upgrade": Plan(faults.rolling_upgrade, few=1),
    "zombie": Plan(faults.zombie),
    "join and leave": Plan(faults.join_and_leave),
    "publisher killed": Plan(kill_publisher),
    "broker restart": Plan(faults.restart_broker, alone=True),
    "state lost": Plan(lose_state),
    "disk full": Plan(ground.disk_full, few=1, ground=ground.full_ground, missing=ground.no_disk),
    "network cut": Plan(ground.network_cut, few=1, ground=ground.far_ground),
    "redis killed": _edge(edges.redis_killed),
    "redis emptied": _edge(edges.redis_emptied),
    "redis slow": _edge(edges.redis_slow),
    "projector killed": _edge(edges.projector_killed),
    "api under load": _edge(edges.api_under_load),
    "ingest killed": _edge(edges.ingest_killed, redis=False),
    "kill in_live_sweep": Plan(faults.live_sweep, 1, 1, TOGETHER, "live", fed=False, started=False),
    "kill in_sweep": Plan(faults.sweep, 1, 1, TOGETHER, fed=False, alone=True),
}


class Run(NamedTuple):
    """One run, and what was seen after it."""

    fault: str
    number: int
    check: Check
    seconds: float


async def runs_of(kafka: LocalKafka, fault: str, numbers: range, seed: str, folder: Path) -> AsyncGenerator[Run, None]:
    """Do a fault several times; the same ones for the same seed. `kafka` is the one of faults that need none of their
    own.
    """
    plan = PLANS[fault]
    for first in numbers[:: plan.together]:
        own = folder / f"{fault.replace(' ', '-')}-{first}"
        with (plan.ground or _shared(kafka))(own) as (broker, detour):
            cluster = Cluster(
                broker,
                f"f{uuid4().hex[:8]}.",
                own,
                f"{seed}/{fault}/{first}",
                policy=plan.policy,
                domain=plan.domain,
                detour=detour,
            )
            async with cluster:
                if plan.started:
                    for worker in NAMES:
                        cluster.start(worker)
                    await cluster.ready()
                for number in range(first, min(first + plan.together, numbers.stop)):
                    began = monotonic()
                    try:
                        await _do(cluster, plan)
                        check = await cluster.check()
                    except (AssertionError, TimeoutError) as error:  # the next run is worth doing all the same
                        check = Check(Findings(), [f"it failed: {error!r}", *cluster.last_words()])
                    yield Run(fault, number, check, monotonic() - began)


def _shared(kafka: LocalKafka) -> Ground:
    @contextmanager
    def ground(_: Path) -> Iterator[tuple[LocalKafka, None]]:
        yield kafka, None

    return ground


async def _do(cluster: Cluster, plan: Plan) -> None:
    if not plan.fed:
        await plan.fault(cluster)
        return
    cluster.go()
    await cluster.pause(0.5, 3.0)
    await plan.fault(cluster)
    await cluster.pause(0.3, 2.0)
