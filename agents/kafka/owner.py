"""One source partition in the hands of this worker: its state, its place in the log, its producer."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from time import monotonic, perf_counter, time
from typing import Any, NamedTuple

from agents.exits import Exit, Refusal
from agents.failpoints import Failpoints
from agents.kafka.core import Core
from agents.kafka.read import open_logs
from agents.kafka.store import Registry, Source, check_source, check_state, probe_source, read_table, reader
from agents.kafka.transactions import Fenced, Transactions
from agents.log import logger
from agents.memory import trim
from agents.observe import ChunkFolded, Committed, Observer

log = logger(__name__)

_SETTLE = 0.01  # s between the first record and its commit when the last one is long past: a burst travels together
_LAG = 20_000  # records; further behind than this, nobody waits for a trigger:
_LAG_INTERVAL = 5.0  # s between commits then, since a row that is written once instead of thrice is the larger saving
_LOAD_DUE = 24_000  # records folded, at which a commit does not wait for its interval
_LOAD_MOST = 48_000  # and at which the fold waits for the commit: bounds what is held in memory
_SLICE = 2_000  # records after which the core pauses; a pause after fewer is one of a sweep,
_SWEEP_LOAD = 6_000  # which leaves thousands of decisions behind, where records leave rows
_BODY_PATIENCE = 30.0  # s for a body of the registry to appear


class Chunk(NamedTuple):
    """Contiguous records of one source partition."""

    partition: int
    epoch: int
    """Which seek they were read after; the owner knows only the last one's."""
    start: int
    """Position before the first; the end of the chunk before, or where the seek went."""
    end: int
    """Position behind the last: markers and gaps are passed."""
    highwater: int
    records: list[Any]


@dataclass(frozen=True)
class Terms:
    """What all owners of a worker share."""

    options: Mapping[str, Any]
    """Of `client_options`."""
    app_id: str
    topic: Callable[[str], str]
    """Short name of a topic to its full name."""
    commit_interval: float
    transaction_timeout: float
    accept_gap: bool
    registry: Registry
    make_core: Callable[[int], Core]
    missing_body: type[Exception]
    """What a fold raises before a record whose body is not in the registry yet."""
    observer: Observer
    failpoint: Failpoints
    seek: Callable[[int, int, int], Coroutine[Any, Any, bool]]
    """Partition, epoch, offset -> whether the partition is still ours to seek."""
    announce_gap: Callable[[int, int, int], Coroutine[Any, Any, None]]
    """Partition, first and behind the last offset that are lost: appended to the source as a record of its own."""
    lost: Callable[["Owner"], None]
    """Called once when the owner was fenced."""
    fail: Callable[[BaseException], None]
    """Called when the process has to end."""


class Phase(Enum):
    """Where an owner is in its life."""

    OPENING = auto()
    READY = auto()
    HELD = auto()  # between a revocation and the next assignment: everything is committed, nothing moves
    GONE = auto()


class Owner:
    """Loads, folds and commits one partition. All methods run on the worker's loop."""

    def __init__(self, number: int, terms: Terms) -> None:
        self.number = number
        self.phase = Phase.OPENING
        self.epoch = 0
        self.position = -1
        """Everything before it has been folded."""
        self.committed = -1
        """Next source offset of the last commit."""
        self.core: Core | None = None
        self._terms = terms
        self._source = terms.topic("users")
        self._state = terms.topic("state")
        self._transactions = Transactions(
            terms.options, f"{terms.app_id}-{self._source}-{number}", timeout=terms.transaction_timeout
        )
        self._lock = asyncio.Lock()  # held during a commit and while opening: nothing is closed under either
        self._inbox: deque[Chunk] = deque()
        self._arrived = asyncio.Event()
        self._dirty = asyncio.Event()
        self._full = asyncio.Event()
        self._snapped = asyncio.Event()
        self._load = 0
        self._lag = 0
        self._oldest: int | None = None
        self._last_commit = 0.0
        self._earliest = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- life

    def start(self) -> None:
        """Begin to load; folding follows by itself."""
        self._spawn(self._open())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Fenced:
            self._fenced()
        except Exception as error:  # noqa: BLE001 every failure ends the process, with its own exit code
            self._terms.fail(error)

    async def _open(self) -> None:
        terms, began = self._terms, perf_counter()
        async with self._lock:
            await self._transactions.open()
            async with reader(terms.options) as consumer:
                core, count = await self._restored(consumer)
                last = core.last_record
                source = await probe_source(consumer, self._source, self.number, last[0] if last else None)
            trim()
            offset = core.offset
            if offset < 0:
                await self._refuse_lost(source.earliest)
            else:
                self._check(offset, last, source)
                if source.earliest > offset:  # an operator accepts it
                    await terms.announce_gap(self.number, offset, source.earliest)
            self.core = core
            self._earliest = source.earliest
            self.committed = max(offset, source.earliest)
            if self.phase is not Phase.OPENING:
                return
            self.phase = Phase.READY
        lag = source.end - max(offset, source.earliest)
        terms.observer.assigned(self.number, seconds=perf_counter() - began, rows=count, lag=lag, core=core)
        took = round(perf_counter() - began, 3)
        log.info("partition_ready", partition=self.number, offset=offset, rows=count, lag=lag, seconds=took)
        self._spawn(self._fold())
        self._spawn(self._commits())
        await self._seek(self.committed)

    async def _restored(self, consumer: Any) -> tuple[Core, int]:
        """A core with the partition's state, and how many rows that is."""
        refreshed = False
        while True:
            core = self._terms.make_core(self.number)
            rows: dict[bytes, bytes] = {}
            await read_table(consumer, self._state, self.number, rows)
            count = len(rows)
            try:
                core.restore(_drained(rows))
            except self._terms.missing_body:
                if refreshed:
                    raise
                await self._terms.registry.refresh()
                refreshed = True
            else:
                return core, count

    def _check(self, offset: int, last: tuple[int, int, int] | None, source: Source) -> None:
        where = f"{self._source} partition {self.number}"
        check_source(where, self._state, offset, last, source, accept_gap=self._terms.accept_gap)

    async def _refuse_lost(self, earliest: int) -> None:
        async with open_logs(self._terms.options) as logs:
            reported = (await logs.group_offsets(self._terms.app_id, self._source)).get(self.number, 0)
        check_state(f"{self._source} partition {self.number}", self._state, self._terms.app_id, reported, earliest)

    async def hold(self) -> None:
        """Stop folding and commit what was folded; an owner that can't is dropped. For a revocation."""
        self.epoch += 1
        self._inbox.clear()
        if self.phase is Phase.READY:
            self.phase = Phase.HELD
            try:
                await self.commit()
            except Fenced:
                self._terms.observer.fenced(self.number)
                await self.drop("fenced")
        elif self.phase is Phase.OPENING and not self._transactions.opened:
            # Its init must not reach the broker after that of the next owner. What is being loaded may go on.
            await self.drop("rebalance")

    async def resume(self) -> None:
        """Go on after `hold`: no other worker has owned the partition in between."""
        if self.core is not None and self.phase in (Phase.HELD, Phase.READY):
            self.phase = Phase.READY
            await self._seek(max(self.core.offset, self._earliest))
            self._dirty.set()

    async def drop(self, reason: str) -> None:
        """Let go of the partition: whatever is not committed is forgotten."""
        if self.phase is Phase.GONE:
            return
        opened, self.phase = self.phase is not Phase.OPENING, Phase.GONE
        self.epoch += 1
        self._inbox.clear()
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        if not opened:  # loading may take long, and nothing is open in it that the next owner's fence does not close
            for task in tasks:
                task.cancel()
        async with self._lock:  # closing a producer inside a transaction hangs
            for task in tasks:
                task.cancel()
            self.core = None
            await self._transactions.close()
        self._terms.observer.revoked(self.number, reason=reason)
        log.info("partition_left", partition=self.number, reason=reason)

    def _fenced(self) -> None:
        if self.phase is Phase.GONE:
            return
        self._terms.observer.fenced(self.number)
        self._terms.lost(self)

    async def _seek(self, offset: int) -> None:
        self.epoch += 1
        self._inbox.clear()
        self.position = offset
        await self._terms.seek(self.number, self.epoch, offset)

    # ---- folding

    def take(self, chunk: Chunk) -> None:
        """Hand over a fetched chunk."""
        self._inbox.append(chunk)
        self._arrived.set()

    @property
    def behind(self) -> int:
        """Folded but not committed, in source offsets: the fetcher waits while this is large."""
        core = self.core
        return core.offset - self.committed if core is not None else 0

    @property
    def idle(self) -> bool:
        """Whether everything that was fetched has been folded."""
        return self.phase is Phase.READY and not self._inbox

    async def _fold(self) -> None:
        core = self.core
        while core is not None and self.phase is not Phase.GONE:
            await self._arrived.wait()
            self._arrived.clear()
            while self._inbox:
                chunk = self._inbox[0]
                if chunk.epoch != self.epoch:
                    self._inbox.popleft()
                elif chunk.start != self.position:
                    log.warning("source_reread", partition=self.number, expected=self.position, got=chunk.start)
                    self._terms.observer.reread(self.number)
                    await self._seek(self.position)
                elif await self._fold_chunk(core, chunk):
                    self.position = chunk.end
                    if self._inbox and self._inbox[0] is chunk:
                        self._inbox.popleft()

    async def _fold_chunk(self, core: Core, chunk: Chunk) -> bool:
        """False: the partition was held or sought meanwhile, and reads again from where the core is."""
        spent, waited = 0.0, 0.0
        records = chunk.records
        while True:
            fold = core.fold(records)
            try:
                while True:
                    if self._oldest is None:
                        self._oldest = _timestamp_from(records, core.offset)
                    offset, began = core.offset, perf_counter()
                    more = next(fold, _END) is None
                    spent += perf_counter() - began
                    folded = core.offset - offset
                    self._load += folded + (_SWEEP_LOAD if more and folded < _SLICE else 0)
                    self._dirty.set()
                    if not more:
                        break
                    self._terms.failpoint("in_sweep")
                    await self._breathe()
                    if chunk.epoch != self.epoch:
                        return False
                break
            except self._terms.missing_body as error:
                if waited >= _BODY_PATIENCE:
                    raise Refusal(Exit.POLICY, f"{error}; publish it again (rekindle policy publish)") from None
                if waited:
                    await asyncio.sleep(1.0)
                await self._terms.registry.refresh()
                waited += 1.0
                if chunk.epoch != self.epoch:
                    return False
        far, self._lag = self._lag > _LAG, chunk.highwater - chunk.end
        if far and self._lag <= _LAG:
            self._full.set()  # from here on somebody waits
        last = records[-1]
        self._terms.observer.folded(
            ChunkFolded(self.number, len(records), spent, chunk.end, chunk.highwater, last.timestamp)
        )
        await self._breathe()
        return chunk.epoch == self.epoch

    async def _breathe(self) -> None:
        if self._load >= _LOAD_DUE:
            self._full.set()
        while self._load >= _LOAD_MOST and self.phase is Phase.READY:
            self._snapped.clear()
            await self._snapped.wait()
        await asyncio.sleep(0)

    # ---- committing

    async def _commits(self) -> None:
        while self.phase is not Phase.GONE:
            await self._dirty.wait()
            interval = self._terms.commit_interval
            if self._lag > _LAG:
                interval = max(interval, _LAG_INTERVAL)
            pause = max(self._last_commit + interval - monotonic(), _SETTLE)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), pause)
            if self.phase is Phase.READY:
                await self.commit()
            else:
                self._dirty.clear()

    async def commit(self) -> None:
        """Make everything that has been folded visible, in one transaction.

        Raises:
            Fenced: another worker owns the partition.
            Refusal: the transaction failed.
        """
        async with self._lock:
            core, terms = self.core, self._terms
            if core is None or self.phase is Phase.GONE:
                return
            # The snapshot: from here to the end of `core.commit()` nothing awaits, so it is one point of the fold.
            self._dirty.clear()
            self._full.clear()
            self._load = 0
            oldest, self._oldest = self._oldest, None
            began = perf_counter()
            snapshot = core.commit()
            self._snapped.set()
            if not snapshot.changelog:
                self.committed = max(snapshot.offset, self.committed)
                return
            outputs = {terms.topic(name): messages for name, messages in snapshot.outputs.items() if messages}
            try:
                changelog = (self._state, snapshot.changelog)
                size = await self._transactions.commit(self.number, changelog, outputs, terms.failpoint)
            except (Fenced, Refusal) as error:
                terms.observer.aborted(self.number, reason="fenced" if isinstance(error, Fenced) else "failed")
                raise
            self.committed = snapshot.offset
            self._last_commit = monotonic()
            terms.observer.committed(
                Committed(
                    self.number,
                    perf_counter() - began,
                    snapshot.offset,
                    len(snapshot.changelog),
                    size,
                    snapshot.outputs,
                    oldest,
                    time() * 1000 - oldest if oldest is not None else None,
                    core,
                )
            )


_END = object()


def _drained(table: dict[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """All rows, each let go as it is taken: the core keeps keys of its own, and a second set would stay resident."""
    while table:
        yield table.popitem()


def _timestamp_from(records: list[Any], offset: int) -> int | None:
    """Append time of the first record that is not folded yet."""
    if records[0].offset >= offset:
        timestamp: int = records[0].timestamp
        return timestamp
    return next((record.timestamp for record in records if record.offset >= offset), None)
