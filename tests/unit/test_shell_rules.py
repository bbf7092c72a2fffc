"""Each safety rule of the shell that shows without a broker. `tests/mutants` takes the rules away, one by one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from agents.exits import Exit, Refusal
from agents.failpoints import Failpoints
from agents.kafka.owner import Chunk, Owner, Phase, Terms
from agents.kafka.shell import Shell
from agents.kafka.store import Registry, Source
from agents.kafka.transport import Progress
from agents.observe import Silent
from agents.ticks import Controls, Ticks
from pipeline.partition import Partition
from pipeline.records import LogRecord, MissingBody
from schemas.control import AnyControl, Tick
from tests.builders import at, event, log, now, pause, played, tick
from tests.integration.counting import SWEEP, WAKES, CountingCore
from tests.integration.shell_log import until


class Kept(Controls):
    """Keeps what would be appended; every record lands at offset 9."""

    def __init__(self) -> None:
        self.appended: list[AnyControl] = []

    async def append(self, partition: int, message: AnyControl) -> int:  # noqa: ARG002
        self.appended.append(message)
        return 9


class Unloaded(Owner):
    """An owner that loads nothing."""

    def start(self) -> None:
        """See Owner."""


def terms(seeks: list[int], *, accept_gap: bool = False) -> Terms:
    async def seek(_number: int, _epoch: int, offset: int) -> bool:
        seeks.append(offset)
        return True

    async def announce_gap(*_: int) -> None:
        pass

    return Terms(
        options={"bootstrap_servers": ["127.0.0.1:1"]},
        app_id="app",
        topic=lambda name: name,
        commit_interval=0.01,
        transaction_timeout=1.0,
        accept_gap=accept_gap,
        registry=cast("Registry", None),
        make_core=cast("Any", None),
        missing_body=MissingBody,
        observer=Silent(),
        failpoint=Failpoints(),
        seek=seek,
        announce_gap=announce_gap,
        lost=lambda _: None,
        fail=lambda _: None,
    )


# ---- positions


def chunk(epoch: int, start: int, *offsets: int, end: int) -> Chunk:
    return Chunk(0, epoch, start, end, end, [LogRecord(n, 0, b"user-%d" % n, b"") for n in offsets])


@asynccontextmanager
async def folding(seeks: list[int]) -> AsyncIterator[Owner]:
    """An owner that folds from position 0, as of its first seek."""
    owner = Owner(0, terms(seeks))
    owner.core = CountingCore(0, 1, {})
    owner.phase, owner.epoch, owner.position = Phase.READY, 1, 0
    task = asyncio.create_task(owner._fold())
    yield owner
    task.cancel()


async def _breath() -> None:
    await asyncio.sleep(0.01)


async def test_a_gap_is_read_again_and_never_stepped_over() -> None:
    seeks: list[int] = []
    async with folding(seeks) as owner:
        owner.take(chunk(1, 0, 0, 1, end=2))
        owner.take(chunk(1, 5, 5, 6, end=7))
        await _breath()
        assert seeks == [2]
        assert isinstance(owner.core, CountingCore)
        assert sorted(owner.core.rows) == [b"user-0", b"user-1"]


async def test_a_marker_is_no_gap() -> None:
    seeks: list[int] = []
    async with folding(seeks) as owner:
        owner.take(chunk(1, 0, 0, 1, end=3))
        owner.take(chunk(1, 3, 3, end=4))
        await _breath()
        assert (seeks, owner.position) == ([], 4)


async def test_what_was_fetched_before_a_seek_is_dropped() -> None:
    async with folding([]) as owner:
        owner.epoch = 2
        owner.take(chunk(1, 0, 0, 1, end=2))
        await _breath()
        assert isinstance(owner.core, CountingCore)
        assert owner.core.rows == {}


# ---- when to commit


async def test_the_fold_waits_for_a_commit_before_too_many_records_are_held() -> None:
    async with folding([]) as owner:
        for start in range(0, 80_000, 4_000):
            owner.take(chunk(1, start, *range(start, start + 4_000), end=start + 4_000))
        await until(lambda: owner._load >= 48_000, "a commit is missing")
        await _breath()
        assert cast("CountingCore", owner.core).offset == 48_000


async def test_the_fold_waits_for_a_commit_before_too_many_decisions_are_held() -> None:
    async with folding([]) as owner:
        core = cast("CountingCore", owner.core)
        core.rows = {b"user-%d" % n: b"" for n in range(100_000)}
        owner.take(Chunk(0, 1, 0, 1, 1, [LogRecord(0, 0, SWEEP, b"")]))
        await until(lambda: owner._load >= 48_000, "a commit is missing")
        await _breath()
        assert len(core._sent) == 8 * WAKES


async def test_who_has_caught_up_does_not_wait_as_one_who_is_far_behind() -> None:
    async with folding([]) as owner:
        owner.take(Chunk(0, 1, 0, 1, 100_000, [LogRecord(0, 0, b"user", b"")]))
        await _breath()
        assert not owner._full.is_set()
        owner.take(chunk(1, 1, 1, end=2))
        await _breath()
        assert owner._full.is_set()


# ---- rebalances


async def test_a_partition_that_another_worker_may_have_had_is_loaded_anew() -> None:
    shell = Shell(lambda number: Unloaded(number, terms([])), session_timeout=1.0)
    await shell.assign([0], 1)
    first = shell.owners[0]
    await shell.assign([0], 2)
    assert shell.owners[0] is first
    await shell.assign([0], 4)
    assert shell.owners[0] is not first


# ---- what is refused


@pytest.mark.parametrize(
    ("offset", "source", "code"),
    [
        (25, Source(0, 22, (1_000, 77)), Exit.RECREATED),  # it ends before what was folded
        (20, Source(0, 30, (1_000, 1)), Exit.RECREATED),  # another record lies where the last one was
        (20, Source(0, 30, None), Exit.RECREATED),  # none does
        (20, Source(25, 30, None), Exit.GAP),  # deleted before it was read
    ],
)
def test_another_topic_and_a_gap_are_refused(offset: int, source: Source, code: Exit) -> None:
    async def check() -> None:
        Owner(0, terms([]))._check(offset, (19, 1_000, 77), source)

    with pytest.raises(Refusal) as refusal:
        asyncio.run(check())
    assert refusal.value.code is code


async def test_a_gap_is_accepted_by_an_operator_only() -> None:
    Owner(0, terms([], accept_gap=True))._check(20, (19, 1_000, 77), Source(25, 30, None))
    Owner(0, terms([]))._check(20, (19, 1_000, 77), Source(0, 30, (1_000, 77)))


# ---- ticks

NOW = at(1) / 1000  # s


class Watched:
    """One partition with a live clock that stands at day 0, read to its end, at day 1."""

    def __init__(self, *records: Any) -> None:
        self.shell = Shell(lambda number: Unloaded(number, terms([])), session_timeout=1.0)
        self.owner = self.shell.owners[0] = Unloaded(0, terms([]))
        self.core = self.owner.core = Partition(0, 1, {})
        for _ in self.core.fold(log(*(records or (now(at(0)),)))):
            pass
        self.owner.phase, self.owner.position = Phase.READY, 9
        self.controls = Kept()
        self.ticks = Ticks(self.shell, lambda _: None, self.controls, after=10.0, observer=Silent(), now=lambda: NOW)

    def due(self, *, position: int = 9, highwater: int = 9, age: float = 0.0, delivered: int = 9) -> bool:
        return self.ticks._due(self.owner, Progress(position, highwater, age, delivered))


async def test_a_clock_that_lags_at_the_end_of_the_partition_is_ticked() -> None:
    watched = Watched()
    assert watched.due()
    await watched.ticks._tick(watched.owner)
    assert watched.controls.appended == [Tick()], "it carries no time"


async def test_no_tick_before_the_highwater_is_reached() -> None:
    watched = Watched()
    assert not watched.due(position=9, highwater=11), "records may hide behind an open transaction"
    assert not watched.due(age=60.0), "nobody knows where the end is by now"
    assert not watched.due(position=10, highwater=10, delivered=10), "what was fetched is not folded yet"


async def test_no_second_tick_before_the_first_was_read_back() -> None:
    watched = Watched()
    await watched.ticks._tick(watched.owner)
    watched.core.position.offset = 9
    assert not watched.due()
    watched.core.position.offset = 10
    assert watched.due()


async def test_a_clock_that_keeps_up_and_a_played_one_are_left_alone() -> None:
    assert not Watched(now(at(1) - 5_000)).due()
    assert not Watched(played(), tick(at(0))).due()


async def test_imported_history_alone_starts_no_clock_so_it_is_ticked() -> None:
    imported = Watched(event(at(0), backfill=True))
    imported.core.commit()
    assert imported.core.clock is None
    assert imported.due()


async def test_a_partition_without_users_is_left_alone_so_that_a_player_may_declare_its_time() -> None:
    assert not Watched(pause()).due()
