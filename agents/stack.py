"""The whole stack on this machine, in live time: Kafka, topics, policy, workers, Redis, views, API. It ends as one."""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from agents.erasure_key import make_erasure_key
from agents.exits import Exit, Refusal
from agents.jars import KAFKA
from agents.kafka.admin import check_topics, create_topics, plan, refuse_differences
from agents.kafka.connection import client_options
from agents.kafka.publish import history, publish_policy, read_registry
from agents.local import LocalKafka, home
from agents.local_redis import WITHOUT, LocalRedis, find_server
from agents.process import end, follow_parent, free_port, program, spawn_bound
from agents.settings import Settings, load_settings
from pipeline.policy import parse
from schemas.topics import DEMO_PARTITIONS

POLICIES: Final = (
    Path(__file__).with_name("default-policy.yaml"),  # where it is installed
    Path(__file__).parents[1] / "deploy" / "policy.yaml",  # where it is written
)
"""The default policy, in shadow: the first that exists."""
_COMMAND: Final = (sys.executable, "-P", "-m", "agents.cli")
_RESTARTED: Final = frozenset({Exit.BUG, Exit.NO_BROKER, Exit.FENCED, Exit.SEND})
_READY: Final = 60.0  # s
_LEAVE: Final = 12.0  # s for a process to commit and leave
_PULSE: Final = 0.2
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Options:
    """`policy`: the text of a policy; None keeps what was published, or publishes the default one. `prefix`: of the
    topics; None: as usual.
    """

    workers: int = 1
    policy: bytes | None = None
    prefix: str | None = None


class _Interrupted(Exception):
    """A signal asked to end."""


@dataclass
class Part:
    """One process of the stack; what it says goes to `log`."""

    name: str
    words: tuple[str, ...]
    log: Path
    env: Mapping[str, str]
    process: subprocess.Popen[Any] | None = None
    restarts: int = 0
    started: float = field(default_factory=monotonic)

    def start(self) -> None:
        """Start it, or start it anew."""
        with self.log.open("ab" if self.process else "wb") as out:
            self.process = spawn_bound([*_COMMAND, *self.words], stdout=out, stderr=subprocess.STDOUT, env=self.env)
        self.started = monotonic()

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return None if self.process is None else self.process.poll()

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log with this event."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if f'"{event}"' in line and line.startswith("{")]

    def last_words(self) -> str:
        """Why it ended."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("rekindle:")]
        return (told or lines or ["it said nothing"])[-1].removeprefix("rekindle: ")

    def stop(self) -> None:
        """SIGTERM; by force if it does not leave."""
        if self.process is None or self.code is not None:
            return
        end(self.process, _LEAVE)


class Stack:
    """One run. `say` takes lines for a person."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._folder = home() / "up"
        self._parts: list[Part] = []

    def run(self) -> int:
        """Run until Ctrl-C or SIGTERM, then end everything; the exit code.

        Raises:
            Refusal: why it can't run, or can't go on.
        """
        follow_parent()
        for number in _SIGNALS:
            signal.signal(number, _raise_interrupted)
        try:
            with self._kafka() as settings, self._redis() as redis_url:
                try:
                    self._start(settings, redis_url)
                    self._ready()
                    self._addresses(settings, redis_url)
                    self._watch()
                finally:
                    for number in _SIGNALS:  # what follows takes a few seconds, and must not be cut short
                        signal.signal(number, signal.SIG_IGN)
                    self._say("stopping")
                    for part in reversed(self._parts):
                        part.stop()
        except _Interrupted:
            pass
        finally:
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
        self._say(f"stopped: nothing of it is running any more; its data stay in {self._folder}")
        return Exit.OK

    @contextmanager
    def _kafka(self) -> Iterator[Settings]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._say("starting Kafka")
        with LocalKafka(self._folder / "kafka", port=9092, say=self._say) as broker:
            settings = load_settings(
                brokers=broker.bootstrap, topic_prefix=self._options.prefix, security_protocol="PLAINTEXT"
            )
            create_topics(client_options(settings), plan(settings.topic_prefix, DEMO_PARTITIONS))
            refuse_differences(check_topics(client_options(settings), settings.topic_prefix))
            make_erasure_key(settings)
            self._publish(settings)
            yield settings

    def _publish(self, settings: Settings) -> None:
        """The policy that was asked for, unless it is the current one; else the default, where nothing is published."""
        entries = history(asyncio.run(read_registry(settings)))
        body = self._options.policy
        if body is None and entries:
            return
        if body is None:
            body = next(path for path in POLICIES if path.is_file()).read_bytes()
        if entries and parse(body).hash == entries[-1].policy:
            return
        entry = asyncio.run(publish_policy(settings, body))
        modes = ", ".join(f"{rule} ({mode})" for rule, mode in entry.rules.items()) or "no rules"
        self._say(f"published the policy {entry.policy[:12]}: {modes}")

    @contextmanager
    def _redis(self) -> Iterator[str | None]:
        if find_server() is None:
            self._say(WITHOUT)
            yield None
            return
        with LocalRedis(self._folder / "redis", port=6379) as server:
            yield server.url

    def _start(self, settings: Settings, redis_url: str | None) -> None:
        env = {name: value for name, value in os.environ.items() if name != "REKINDLE_PARENT"} | {
            "REKINDLE_BROKERS": settings.brokers,
            "REKINDLE_TOPIC_PREFIX": settings.topic_prefix,
            "REKINDLE_SECURITY_PROTOCOL": "PLAINTEXT",
            "REKINDLE_METRICS_PORT": "0",
            "REKINDLE_LOG_FORMAT": "json",
            "REKINDLE_LOG_LEVEL": "info",
        }
        names = [(f"worker-{number}", "worker") for number in range(1, self._options.workers + 1)]
        if redis_url is not None:
            env |= {"REKINDLE_REDIS_URL": redis_url, "REKINDLE_API_PORT": str(free_port(settings.api_port))}
            names += [("views", "views"), ("api", "api")]
        for name, word in names:
            part = Part(name, (word,), self._folder / f"{name}.log", env)
            self._parts.append(part)
            part.start()

    def _ready(self) -> None:
        """Wait until every partition has a worker, the views are shown, and the API answers. Raises Refusal."""
        deadline = monotonic() + _READY
        self._say(f"starting {', '.join(part.name for part in self._parts)}")
        while waiting := [part.name for part in self._parts if not self._is_ready(part)]:
            for part in self._parts:
                if part.code is not None:
                    raise Refusal(Exit(part.code) if part.code in set(Exit) else Exit.BUG, part.last_words())
            if monotonic() > deadline:
                line = f"{', '.join(waiting)}: not ready within {_READY:.0f} s; see the logs in {self._folder}"
                raise Refusal(Exit.BUG, line)
            sleep(_PULSE)

    def _is_ready(self, part: Part) -> bool:
        if part.name == "api":
            return bool(part.said("api_served"))
        if part.name == "views":
            return bool(part.said("views_shown"))
        return sum(len(p.said("partition_ready")) for p in self._parts) >= DEMO_PARTITIONS

    def _addresses(self, settings: Settings, redis_url: str | None) -> None:
        lines = [("Kafka", f"{settings.brokers}  (Apache Kafka {KAFKA}; topics {settings.topic_prefix}*)")]
        if redis_url is not None:
            lines.append(("Redis", redis_url))
        for part in self._parts:
            lines += [("API", f"{told['address']}  (described at /openapi.json)") for told in part.said("api_served")]
        for part in self._parts:
            lines += [(f"{part.name} metrics", str(told["address"])) for told in part.said("metrics_served")]
        lines.append(("logs", str(self._folder)))
        for name, value in lines:
            self._say(f"{name:17} {value}")
        self._say("")
        self._say("in another terminal:")
        prefix = "" if settings.topic_prefix == "rekindle." else f" --prefix {settings.topic_prefix}"
        command = f"{shlex.quote(program())} --brokers {settings.brokers}{prefix}"
        self._say(f"  {command} send examples/events.jsonl --backfill")
        self._say(f"  {command} tail decisions -f")
        if redis_url is not None:
            self._say(f"  REKINDLE_REDIS_URL={redis_url} {command} explain user ann")
        self._say("Ctrl-C ends all of it")

    def _watch(self) -> None:
        """Stay; start anew what a supervisor would. Raises Refusal when a person is needed."""
        while True:
            for part in self._parts:
                code = part.code
                if code is None:
                    continue
                if code >= 0 and code not in _RESTARTED:
                    raise Refusal(Exit(code) if code in set(Exit) else Exit.BUG, f"{part.name}: {part.last_words()}")
                part.restarts += 1
                wait = 1.0 if monotonic() - part.started > 10 else min(30.0, 2.0 ** min(part.restarts, 5))
                self._say(f"{part.name} ended ({code}): {part.last_words()[:200]}; started anew in {wait:g} s")
                sleep(wait)
                part.start()
            sleep(_PULSE)


def _raise_interrupted(*_: Any) -> None:
    raise _Interrupted
