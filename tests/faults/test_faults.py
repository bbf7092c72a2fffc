"""A few of each fault, two workers, a real Kafka: nothing is lost, wrong or doubled. Many: `make faults N=25`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.local import LocalKafka
from tests.faults.outputs import KINDS
from tests.faults.runs import PLANS, Run, runs_of
from tests.waiting import BROKER_SETTINGS

SEED = "suite"


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, broker_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[object]:
    """All runs of the faults that were asked for, two at a time: most of a fault is waiting."""
    mine = [item for item in request.session.items if item.path == request.path]
    asked = [item.callspec.params["fault"] for item in mine if hasattr(item, "callspec")]
    wanted = [fault for fault in asked if PLANS[fault].missing() is None]
    folder = tmp_path_factory.mktemp("faults")
    with LocalKafka(broker_folder / "faults", heap_mb=384, settings=BROKER_SETTINGS) as kafka:
        yield asyncio.run(_all(kafka, wanted, folder))


async def _all(kafka: LocalKafka, wanted: list[str], folder: Path) -> dict[str, list[Run] | BaseException]:
    places = asyncio.Semaphore(2)

    async def some(fault: str) -> list[Run]:
        async with places:
            return [run async for run in runs_of(kafka, fault, range(PLANS[fault].few), SEED, folder)]

    together = [fault for fault in wanted if not PLANS[fault].alone]
    found = dict(zip(together, await asyncio.gather(*map(some, together), return_exceptions=True), strict=True))
    for fault in wanted:
        if PLANS[fault].alone:
            (found[fault],) = await asyncio.gather(some(fault), return_exceptions=True)
    return found


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", PLANS)
def test_nothing_is_lost_wrong_or_doubled(runs: dict[str, list[Run] | BaseException], fault: str) -> None:
    if missing := PLANS[fault].missing():
        pytest.skip(missing)
    found = runs[fault]
    if isinstance(found, BaseException):
        raise found
    for run in found:
        assert run.check.ok, f"{fault}, run {run.number}:\n{run.check.words}"


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_all_that_has_to_be_covered_came_about(runs: dict[str, list[Run] | BaseException]) -> None:
    if len(runs) < sum(plan.missing() is None for plan in PLANS.values()):
        pytest.skip("only some faults were asked for")
    came = {kind for found in runs.values() if isinstance(found, list) for run in found for kind in run.check.seen}
    assert sorted(KINDS - came) == []
