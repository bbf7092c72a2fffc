"""From release N to N+1 while events flow: one after the other, then the core by a message; N refuses from there on."""

import asyncio
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.cli import control, main
from agents.exits import Exit
from agents.local import LocalKafka
from pipeline.position import CORE_VERSION
from tests.faults.harness import Cluster
from tests.faults.processes import NEXT_RELEASE, Process
from tests.waiting import BROKER_SETTINGS, PATIENCE

NEXT = CORE_VERSION + 1


async def stop(worker: Process) -> None:
    """As a supervisor does for an upgrade."""
    worker.planned = True
    worker.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(worker.process.wait, PATIENCE)
    assert code == Exit.OK, worker.log.read_text()[-2000:]


@pytest.mark.faults
async def test_a_rolling_upgrade_under_load_and_the_core_by_a_message(
    broker_folder: Path, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalKafka(broker_folder / "upgrade", settings=BROKER_SETTINGS) as kafka:
        async with Cluster(kafka, prefix, tmp_path, "upgrade") as cluster:
            old = [cluster.start("n-a"), cluster.start("n-b")]
            await cluster.ready()
            cluster.go()
            await asyncio.sleep(2)
            for number, worker in enumerate(old):  # both releases side by side, twice
                next_ = cluster.start(f"n1-{number}", program=NEXT_RELEASE)
                await asyncio.sleep(2)
                await stop(worker)
                await asyncio.sleep(2)
                assert next_.process.poll() is None, next_.log.read_text()[-2000:]
            check = await cluster.check()
            assert check.ok, check.words
            back = cluster.start("n-back")  # until the core is adopted there is a way back
            await cluster.ready()
            cluster.go()
            await asyncio.sleep(1)
            back.planned = True
            words = ["--brokers", kafka.bootstrap, "--prefix", prefix, "adopt-core", str(NEXT)]
            refused = await asyncio.to_thread(CliRunner().invoke, main, words)
            assert refused.exit_code == Exit.CORE_VERSION
            assert "upgrade it first" in refused.output
            monkeypatch.setattr(control, "CORE_VERSION", NEXT)
            adopted = await asyncio.to_thread(CliRunner().invoke, main, words)
            assert adopted.exit_code == 0, adopted.output
            await cluster.ended(back, Exit.CORE_VERSION)
            assert f"core version {NEXT} was written by a newer release" in back.log.read_text()
            late = cluster.start("n-late")
            late.planned = True
            await cluster.ended(late, Exit.CORE_VERSION)
            monkeypatch.setattr("pipeline.position.CORE_VERSION", NEXT)  # the oracle is of the next release too
            check = await cluster.check()
            assert check.ok, check.words
            assert check.findings.read > 1_000
