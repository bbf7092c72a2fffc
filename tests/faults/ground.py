"""Faults of what the broker stands on: a disk that is full, a network that is cut. Each has a broker of its own."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psutil

from agents.local import LocalKafka
from agents.process import free_port
from tests.faults.faults import NAMES
from tests.faults.harness import Cluster, Detour
from tests.faults.proxy import Proxy
from tests.waiting import BROKER_SETTINGS, PATIENCE, SESSION

_DISK: Final = 96  # MiB
_LEFT: Final = 32 * 1024  # bytes that a full disk has left
_LABEL: Final = "rekindle-faults-"


def no_disk() -> str | None:
    """Why no small disk can be mounted here."""
    if os.geteuid():
        return "a small disk is a tmpfs, and to mount one takes root"
    try:
        with TemporaryDirectory() as tried, _small_disk(Path(tried), 1):
            return None
    except OSError as error:
        return f"a small disk is a tmpfs, and none can be mounted here: {error}"


@contextmanager
def full_ground(folder: Path) -> Iterator[tuple[LocalKafka, None]]:
    """A broker on a small disk."""
    disk = folder / "disk"
    disk.mkdir(parents=True, exist_ok=True)
    with (
        _small_disk(disk, _DISK),
        LocalKafka(disk / "kafka", settings=BROKER_SETTINGS | {"log.index.size.max.bytes": "65536"}) as kafka,
    ):
        yield kafka, None


@contextmanager
def far_ground(folder: Path) -> Iterator[tuple[LocalKafka, Detour]]:
    """A broker with a second way to it, for a network to lie in."""
    broker, controller, detour = free_port(), free_port(), Detour(free_port(), free_port())
    ways = "BROKER://127.0.0.1:{},FAR://127.0.0.1:{},CONTROLLER://127.0.0.1:{}"
    settings = {
        "listeners": ways.format(broker, detour.inside, controller),
        "advertised.listeners": ways.format(broker, detour.outside, controller),
        "listener.security.protocol.map": "BROKER:PLAINTEXT,FAR:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
    }
    with LocalKafka(folder / "kafka", port=broker, settings=BROKER_SETTINGS | settings) as kafka:
        yield kafka, detour


async def disk_full(cluster: Cluster) -> None:
    """The disk fills up: the broker stops, and nobody commits. Once there is room it goes on from what it has."""
    disk = cluster.kafka.data.parent
    filler = disk / "filler"
    async with asyncio.timeout(PATIENCE):
        while cluster.kafka.running:
            _fill(disk, filler)
            await asyncio.sleep(0.1)
    await cluster.pause(0.5, 3.0)
    filler.unlink()
    await asyncio.to_thread(cluster.kafka.start)


async def network_cut(cluster: Cluster) -> None:
    """One worker's way to the broker becomes slow, then swallows everything or breaks, for longer than its session. The
    other goes on with its partitions; then the way is as it was.
    """
    detour = cluster.detour
    assert detour is not None
    async with Proxy(*detour) as network:
        name = cluster.random.choice(NAMES)
        await cluster.terminate(cluster.workers[name])
        far = cluster.start(name, brokers=f"127.0.0.1:{detour.outside}")
        await cluster.ready()
        network.slow(0.15)
        await cluster.pause()
        seen = far.log.stat().st_size
        cluster.random.choice((network.swallow, network.refuse))()
        await cluster.pause(1.5 * SESSION, 3 * SESSION)
        network.mend()
        async with asyncio.timeout(PATIENCE):
            while b"partition_ready" not in _since(far.log, seen):  # noqa: ASYNC110 a process tells nobody
                await asyncio.sleep(0.1)
        await cluster.pause()
        await cluster.terminate(cluster.workers[name])
    cluster.start(name)


def _since(log: Path, position: int) -> bytes:
    with log.open("rb") as lines:
        lines.seek(position)
        return lines.read()


def _fill(disk: Path, filler: Path) -> None:
    found = os.statvfs(disk)
    room = found.f_bavail * found.f_frsize - _LEFT
    if room > 0:
        with suppress(OSError), filler.open("ab") as out:  # somebody else took the room
            out.write(bytes(room))


@contextmanager
def _small_disk(where: Path, mib: int) -> Iterator[None]:
    """A tmpfs. Raises OSError."""
    for part in psutil.disk_partitions(all=True):  # of runs that were killed
        pid = part.device.removeprefix(_LABEL)
        if pid != part.device and not psutil.pid_exists(int(pid)):
            _mount("umount", "--lazy", part.mountpoint)
    _mount("mount", "-t", "tmpfs", "-o", f"size={mib}m", f"{_LABEL}{os.getpid()}", str(where))
    try:
        yield
    finally:
        _mount("umount", "--lazy", str(where))


def _mount(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
