"""Workers as processes on a real Kafka, steady input, and the oracle that looks for the traces of a fault."""

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.erasure_key import erasure_key_path
from agents.evidence import gather, unfolded
from agents.exits import Exit, Refusal
from agents.kafka.admin import create_topics, delete_topics, plan
from agents.kafka.adopt import publish_lease, publish_model
from agents.kafka.publish import Draft, publish, publish_control, publish_policy
from agents.local import LocalKafka
from agents.oracle import Findings, examine
from agents.settings import Settings, load_settings
from schemas.control import Domain, Pause, Resume, TimeDomain
from tests.faults.audit import audit
from tests.faults.feed import BODIES, Feed, Placed
from tests.faults.outputs import outputs_of, seen
from tests.faults.processes import THIS_RELEASE, Process, launch
from tests.faults.rules import MODEL, POLICY, SWITCHED_ON
from tests.waiting import PATIENCE, SESSION, SOON

_HOUR_SECONDS: Final = 0.12  # a virtual hour of the feed
_LONG: Final = 50  # hours of a run, then they take longer: the oracle replays all of them after each run
_LONG_SECONDS: Final = 0.4
_RESTARTED: Final = {-signal.SIGKILL, Exit.NO_BROKER, Exit.FENCED, Exit.SEND}  # what a supervisor restarts after

OPERATOR: Final[Sequence[Callable[[Settings], Awaitable[Any]]]] = (
    lambda settings: publish_control(settings, Pause("silent")),
    lambda settings: publish_control(settings, Resume()),
    lambda settings: publish_control(settings, Resume()),
    lambda settings: publish_policy(settings, SWITCHED_ON.encode()),
    lambda settings: publish_model(settings, MODEL),
    lambda settings: publish_model(settings, None),
    publish_lease,
)
"""What is published now and then, beside what is fed."""


class Detour(NamedTuple):
    """Ports of a second way to the broker: its clients are told to come to `outside`; it listens on `inside`."""

    outside: int
    inside: int


@dataclass
class Check:
    """What the oracle found after a fault."""

    findings: Findings
    failures: list[str] = field(default_factory=list)
    """What else went wrong: records that were never folded, a worker that ended with a code that no fault explains, a
    trigger that must not be.
    """
    seen: Counter[str] = field(default_factory=Counter)
    """What came about up to now, and how often; see `tests.faults.outputs.KINDS`."""

    @property
    def ok(self) -> bool:
        """Nothing was lost, wrong or doubled, and nothing is stuck."""
        return self.findings.ok and not self.failures

    @property
    def words(self) -> str:
        """For a person."""
        return "\n".join([*self.failures, *self.findings.details[:20]])


class Cluster:
    """Topics under a prefix of their own, two workers with a supervisor, and a feed. An async context manager.

    Args:
        kafka: running, with tests.waiting.BROKER_SETTINGS.
        prefix: of the topics; also names the group.
        folder: for the workers' logs.
        seed: of the feed and of everything random.
        partitions: of the user topic.
        policy: adopted at the beginning.
        domain: of the log; only `played` can be fed.
        detour: the broker's second way, if it has one.
    """

    def __init__(
        self,
        kafka: LocalKafka,
        prefix: str,
        folder: Path,
        seed: str,
        *,
        partitions: int = 4,
        policy: str = POLICY,
        domain: TimeDomain = "played",
        detour: Detour | None = None,
    ) -> None:
        self.kafka = kafka
        self.detour = detour
        self.folder = folder
        self.random = Random(seed)
        self.workers: dict[str, Process] = {}
        """By name; also what stands beside the workers."""
        self.ends: list[tuple[str, int]] = []
        """Ends that the supervisor saw: (name, exit code)."""
        self.partitions = partitions
        self.settings = load_settings(brokers=kafka.bootstrap, topic_prefix=prefix, app_id=prefix.strip("."))
        self.feed = Feed(seed, partitions)
        self._policy = policy
        self._domain = domain
        self._failures: list[str] = []
        self._feeding = asyncio.Event()
        self._hours = 0
        self._fed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Create the topics, publish time domain and policy; no worker runs yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        client = {"bootstrap_servers": self.kafka.bootstrap}
        await asyncio.to_thread(create_topics, client, plan(self.settings.topic_prefix, self.partitions))
        if self._domain == "played":
            await publish(self.settings, Draft(BODIES, [Domain("played")]))
        await publish_policy(self.settings, self._policy.encode())
        self._producer = AIOKafkaProducer(**client, acks="all", enable_idempotence=True, linger_ms=5)
        await self._producer.start()
        self._tasks = [asyncio.create_task(self._supervise()), asyncio.create_task(self._feed())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all processes and delete the topics."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self.workers.values():
            worker.process.kill()
            worker.process.wait()
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(self._producer.stop(), 5.0)
        with suppress(Refusal):
            await asyncio.to_thread(
                delete_topics, {"bootstrap_servers": self.kafka.bootstrap}, self.settings.topic_prefix
            )

    # ---- processes

    def start(
        self, name: str, failpoint: str | None = None, *, program: str = THIS_RELEASE, brokers: str | None = None
    ) -> Process:
        """Start a worker.

        Args:
            name: of its own; who had it has ended.
            failpoint: as in REKINDLE_FAILPOINT; of this start only.
            program: of which release it is.
            brokers: another way to the broker.
        """
        own = {
            "SESSION_TIMEOUT": str(SESSION),
            "TRANSACTION_TIMEOUT": "5",
            "COMMIT_INTERVAL": "0.1",
            "TICK_AFTER": "1",
        }
        own |= {"FAILPOINT": failpoint} if failpoint else {}
        own |= {"BROKERS": brokers} if brokers else {}
        return self._launch(name, ["-c", program], own, "partition_ready")

    def beside(self, *words: str, sign: str, **settings: str) -> Process:
        """Start a command that stands beside the workers, named by its first word; `sign`: what it logs once ready."""
        return self._launch(words[0], ["-m", "agents.cli", *words], settings, sign)

    def _launch(self, name: str, command: Sequence[str], own: Mapping[str, str], sign: str) -> Process:
        ours = {
            "BROKERS": self.kafka.bootstrap,
            "TOPIC_PREFIX": self.settings.topic_prefix,
            "APP_ID": self.settings.app_id,
            "METRICS_PORT": "0",
            "ERASURE_KEY_FILE": str(erasure_key_path(self.settings)),
        }
        self.workers[name] = launch(name, command, {**ours, **own}, self.folder / f"{name}.log", sign)
        return self.workers[name]

    async def ready(self) -> None:
        """Until every worker has a partition, and whatever else runs does its work."""
        async with asyncio.timeout(PATIENCE):
            while not all(worker.ready for worker in self.workers.values() if not worker.planned):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def terminate(self, worker: Process) -> None:
        """SIGTERM, once it listens to it: the process ends with 0 soon."""
        worker.planned = True
        async with asyncio.timeout(PATIENCE):
            while not worker.listens:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        worker.process.terminate()
        await self.ended(worker, 0, SOON)

    async def ended(self, worker: Process, expected: int, seconds: float = PATIENCE) -> None:
        """Wait for a planned end; another code, or none, is a failure."""
        deadline = monotonic() + seconds
        while worker.process.poll() is None and monotonic() < deadline:  # noqa: ASYNC110 a process tells nobody
            await asyncio.sleep(0.05)
        code = worker.process.poll()
        if code is None:
            worker.process.kill()
        if code != expected:
            self._failures.append(
                f"{worker.name} ended with {code} instead of {expected} within {seconds:.0f} s: {worker.last_words}"
            )

    async def replaced(self, worker: Process) -> None:
        """Until it has died and the supervisor has started it anew."""
        async with asyncio.timeout(PATIENCE):
            while self.workers[worker.name] is worker:  # noqa: ASYNC110 a process tells nobody
                await asyncio.sleep(0.05)

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for worker in list(self.workers.values()):
                code = worker.process.poll()
                if code is None or worker.planned:
                    continue
                self.ends.append((worker.name, code))
                if code not in _RESTARTED:
                    self._failures.append(f"{worker.name} ended with {code}: {worker.last_words}")
                await asyncio.sleep(0.3)
                self._restart(worker)

    def _restart(self, worker: Process) -> None:
        if not worker.planned:  # meanwhile
            env = {key: value for key, value in worker.env.items() if key != "FAILPOINT"}
            self._launch(worker.name, worker.command, env, worker.sign)

    # ---- input

    async def _feed(self) -> None:
        while True:
            self._fed.set()
            await self._feeding.wait()
            self._fed.clear()
            began = monotonic()
            self._hours += 1
            await self.send(self.feed.hour())
            if self.random.random() < 0.03:
                with suppress(Refusal, KafkaError, TimeoutError):
                    await self.random.choice(OPERATOR)(self.settings)
            pace = _HOUR_SECONDS if self._hours < _LONG else _LONG_SECONDS
            await asyncio.sleep(max(0.0, began + pace - monotonic()))

    async def send(self, records: Iterable[Placed]) -> None:
        """Append records and wait. A record that a broker never took, or took twice, is no matter: the log counts."""
        topic = self.settings.topic("users")
        futures = []
        for partition, entry in records:
            futures.append(
                await self._producer.send(
                    topic, entry.value, entry.key, partition=partition, headers=list(entry.headers)
                )
            )
        await asyncio.gather(*futures, return_exceptions=True)

    def go(self) -> None:
        """Feed."""
        self._hours = 0
        self._feeding.set()

    async def pause(self, low: float = 0.3, high: float = 2.0) -> None:
        """Let some time pass, while input flows: a random one."""
        await asyncio.sleep(self.random.uniform(low, high))

    # ---- the look at it

    async def rest(self) -> None:
        """Stop the feed, and wait until everything is folded."""
        self._feeding.clear()
        await self._fed.wait()
        evidence = await gather(self.settings, wait=PATIENCE)
        left = sum(map(unfolded, evidence.inputs.values(), evidence.state.values()))
        assert not left, f"{left} records were not folded within {PATIENCE:.0f} s"

    async def check(self) -> Check:
        """Stop the feed, wait until everything is folded, and ask the oracle."""
        self._feeding.clear()
        await self._fed.wait()
        failures, self._failures = self._failures, []
        try:
            evidence, findings = await examine(self.settings, wait=PATIENCE)
        except Refusal as refusal:
            return Check(Findings(), [*failures, f"the oracle: {refusal.line}"])
        if findings.behind:
            failures.append(f"{findings.behind} records were not folded within {PATIENCE:.0f} s")
            failures += self.last_words()
        if not findings.read:
            failures.append("there was nothing to compare")
        outputs = outputs_of(evidence)
        if self._policy == POLICY:
            failures += audit(evidence, outputs)[:20]
        return Check(findings, failures, seen(evidence, outputs))

    def last_words(self) -> list[str]:
        """The last line that each process wrote."""
        return [f"{worker.name}: {worker.last_words}" for worker in self.workers.values()]
