"""Hands triggers over: one user's in their order, many users' at the same time, until each is taken or expires, or its
user is erased.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from agents.edge import RelayMetrics
from agents.log import logger
from agents.relay.ledger import Ledger
from agents.relay.target import Answer, Target
from schemas.codec import DECODE_ERRORS
from schemas.trigger import Trigger

log = logger(__name__)

_LEAVE: Final = 12.0  # s for the requests that are under way when a partition is given up

decode_trigger = msgspec.json.Decoder(Trigger).decode


class Pace(NamedTuple):
    """The waiting between attempts, s: doubled from `first` up to `longest`, each shortened by chance by up to half."""

    first: float = 1.0
    longest: float = 900.0

    def wait(self, failures: int, answer: Answer) -> float:
        """After so many failures (from 1)."""
        full = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        jittered = full * random.uniform(0.5, 1.0)  # noqa: S311 no secret: so that not all come back at once
        return max(jittered, answer.wait)


class Outcome(NamedTuple):
    """How a trigger ended. `kind`: sent, refused, expired or erased; `trigger` None: the record holds none.

    `mark`: of a user who was erased meanwhile, about whom nothing is to be written.
    """

    kind: str
    record: Any
    trigger: Trigger | None
    why: str = ""
    mark: str | None = None


class Courier:
    """The triggers of one partition.

    Args:
        ledger: what is done.
        target: where they go.
        erased: the mark of a trigger's user, if they were erased since.
        write: makes an outcome durable; only then is the trigger done.
        gate: bounds the requests under way in the whole process.
        pace: between attempts.
        metrics: counted in.
        fail: called when the process has to end.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        target: Target,
        erased: Callable[[Any], str | None],
        write: Callable[[Outcome], Awaitable[None]],
        gate: asyncio.Semaphore,
        pace: Pace,
        metrics: RelayMetrics,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.ledger = ledger
        self.open = 0
        self._target = target
        self._erased = erased
        self._write = write
        self._gate = gate
        self._pace = pace
        self._metrics = metrics
        self._fail = fail
        self._queues: dict[bytes, deque[Any]] = {}
        self._lanes: set[asyncio.Task[None]] = set()
        self._leaving = asyncio.Event()

    def take(self, record: Any) -> None:
        """Begin with a record, behind what is open of the same user."""
        if not self.ledger.begin(record.offset):
            return
        self.open += 1
        self._metrics.opened(1)
        user = record.key or b""
        if user in self._queues:
            self._queues[user].append(record)
            return
        self._queues[user] = deque((record,))
        task = asyncio.create_task(self._lane(user))
        self._lanes.add(task)
        task.add_done_callback(self._lanes.discard)

    async def leave(self) -> None:
        """Begin nothing more; returns when what is under way has ended, or has had its time."""
        self._leaving.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE):
                await asyncio.gather(*self._lanes, return_exceptions=True)
        for lane in self._lanes:
            lane.cancel()
        self._metrics.opened(-self.open)
        self.open = 0

    async def _lane(self, user: bytes) -> None:
        queue = self._queues[user]
        try:
            while queue and not self._leaving.is_set():
                outcome = await self._deliver(queue[0])
                if outcome is None:
                    return
                await self._write(outcome._replace(mark=self._erased(outcome.record)))
                self.ledger.end(queue.popleft().offset)
                self.open -= 1
                self._metrics.opened(-1)
                self._metrics.ended(outcome.kind)
        except Exception as error:  # noqa: BLE001 what can't be written ends the process; it is read again
            self._fail(error)
        finally:
            del self._queues[user]

    async def _deliver(self, record: Any) -> Outcome | None:
        """None: the partition was given up first."""
        try:
            trigger = decode_trigger(record.value or b"")
            expires = datetime.fromisoformat(trigger.data.expires_at)
        except (*DECODE_ERRORS, ValueError):
            return Outcome("refused", record, None, "no trigger that this release can read")
        failures = 0
        last = ""
        while True:
            if datetime.now(UTC) >= expires:
                why = f"{failures} attempts; the last: {last}" if failures else "it was read after it had expired"
                return Outcome("expired", record, trigger, why)
            async with self._gate:
                if self._leaving.is_set():
                    return None
                if self._erased(record) is not None:
                    return Outcome("erased", record, trigger, "its user was erased before it was taken")
                answer = await self._target.hand_over(trigger, record.value)
            self._metrics.attempted(answer.status, answer.seconds)
            if answer.verdict == "taken":
                return Outcome("sent", record, trigger)
            failures += 1
            last = str(answer)
            if answer.verdict == "refused":
                return Outcome("refused", record, trigger, f"{last} after {failures} attempts")
            left = (expires - datetime.now(UTC)).total_seconds()
            pause = min(self._pace.wait(failures, answer), max(left, 0.0))
            log.info("trigger_not_taken", answer=last, failures=failures, again_in=round(pause, 1))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause)
                return None
