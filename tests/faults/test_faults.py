"""A few of each fault, two workers, a real Kafka: nothing is lost, wrong or doubled. Many: `make faults N=25`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.local import LocalKafka
from tests.faults.faults import SWEEP
from tests.faults.harness import BROKER_SETTINGS
from tests.faults.runs import FAULTS, runs_of

SEED = "suite"


@pytest.fixture(scope="module")
def broker(broker_folder: Path) -> Iterator[LocalKafka]:
    with LocalKafka(broker_folder / "faults", heap_mb=384, settings=BROKER_SETTINGS) as kafka:
        yield kafka


@pytest.mark.faults
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_wrong_or_doubled(broker: LocalKafka, fault: str, tmp_path: Path) -> None:
    async def run() -> None:
        async for found in runs_of(broker, fault, range(1 if fault == SWEEP else 2), SEED, tmp_path):
            assert found.check.ok, f"{fault}, run {found.number}:\n{found.check.words}"

    asyncio.run(run())
