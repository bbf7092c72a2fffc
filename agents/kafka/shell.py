"""The partitions of this worker, through assignments, revocations, fences and the end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from agents.exits import Exit, Refusal
from agents.kafka.owner import Chunk, Owner, Phase
from agents.log import logger

log = logger(__name__)

# In source offsets of one partition: fetched and not folded, and folded and not committed. Of what is fetched one chunk
# is enough to go on with, and what waits for long has left the processor's caches.
_FETCHED_MOST = 2_500
_UNCOMMITTED_MOST = 50_000


class Shell:
    """Owners by partition number. All methods but `hungry` run on the worker's loop."""

    def __init__(self, make_owner: Callable[[int], Owner], *, session_timeout: float) -> None:
        self.owners: dict[int, Owner] = {}
        self.generation = -1
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        """Resolved with the reason for which the process has to end."""
        self._make_owner = make_owner
        self._patience = 2 * session_timeout
        self._background: set[asyncio.Task[None]] = set()

    def fail(self, error: BaseException) -> None:
        """End the process for this reason; the first one counts."""
        if not self.failure.done():
            self.failure.set_result(error)

    # ---- called by the transport

    async def revoke(self, numbers: Iterable[int]) -> None:
        """A rebalance begins: bring every partition to a commit. Never raises."""
        async with asyncio.TaskGroup() as holds:
            for number in numbers:
                if owner := self.owners.get(number):
                    holds.create_task(self._hold(owner))

    async def _hold(self, owner: Owner) -> None:
        try:
            await owner.hold()
        except Exception as error:  # noqa: BLE001 aiokafka would log it and go on
            self.fail(error)

    async def assign(self, numbers: Iterable[int], generation: int) -> None:
        """A rebalance has ended. Partitions that stayed here keep their state, unless a generation was missed."""
        continuous, self.generation = generation == self.generation + 1, generation
        assigned = set(numbers)
        for number, owner in list(self.owners.items()):
            if owner.phase is Phase.GONE or number not in assigned or not continuous:
                del self.owners[number]
                self._in_background(owner.drop("rebalance"))
        for number in sorted(assigned):
            kept = self.owners.get(number)
            if kept is not None:
                self._in_background(kept.resume())
            else:
                self.owners[number] = owner = self._make_owner(number)
                owner.start()
        log.info("partitions_assigned", partitions=sorted(assigned), generation=generation)

    def hungry(self, number: int, fetched_to: int) -> bool:
        """Whether more of a partition may be fetched; called from the consumer's thread, reads only."""
        owner = self.owners.get(number)
        return (
            owner is not None
            and owner.phase is Phase.READY
            and fetched_to - owner.position < _FETCHED_MOST
            and owner.behind < _UNCOMMITTED_MOST
        )

    # ---- called by the agent

    def take(self, chunk: Chunk) -> None:
        """Hand a chunk to its owner; one whose partition has left is dropped."""
        if (owner := self.owners.get(chunk.partition)) and not self.failure.done():
            owner.take(chunk)

    # ---- called by owners

    def lost(self, owner: Owner) -> None:
        """An owner was fenced though it is assigned. Most often a rebalance explains it in a moment; else end."""
        log.warning("partition_fenced", partition=owner.number)
        self._in_background(owner.drop("fenced"))
        self._in_background(self._expect_rebalance(owner, self.generation))

    async def _expect_rebalance(self, owner: Owner, generation: int) -> None:
        await asyncio.sleep(self._patience)
        if self.generation == generation and self.owners.get(owner.number) is owner:
            line = (
                f"partition {owner.number} was fenced by another producer while it is assigned to this worker: "
                "is another application using this app_id and topic prefix? restart to take the partition back"
            )
            self.fail(Refusal(Exit.FENCED, line))

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self._contained(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _contained(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001
            self.fail(error)

    # ---- the end

    async def close(self) -> None:
        """Commit everything and let go: for a shutdown without a failure."""
        await self.revoke(list(self.owners))
        await self.abandon()

    async def abandon(self) -> None:
        """Let go without committing."""
        owners, self.owners = list(self.owners.values()), {}
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(owner.drop("shutdown") for owner in owners)), 5.0)
        for task in list(self._background):
            task.cancel()
