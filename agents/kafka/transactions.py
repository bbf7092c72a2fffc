"""One transactional producer for each source partition, and one transaction for each commit."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, KafkaConnectionError, KafkaError, ProducerFenced

from agents.exits import Exit, Refusal
from agents.kafka.batches import BATCH_BYTES, batches

_RECORD_BYTES = 2_000_000  # what the topics accept, less the frame; the core keeps its records far below

Row = tuple[bytes, bytes | None]
Message = tuple[bytes, bytes, list[tuple[str, bytes]]]


class Fenced(Exception):
    """Another producer with this transactional id came up, or the broker aborted a transaction that ran too long."""


class Transactions:
    """Writes the commits of one partition; everything of one `commit` becomes visible together or never.

    Args:
        options: of `client_options`.
        transactional_id: one for each source partition and application, the same on every worker: this is what fences.
        timeout: the broker aborts a transaction that is open for longer, s.
    """

    def __init__(self, options: Mapping[str, Any], transactional_id: str, *, timeout: float) -> None:
        self._options = options
        self._id = transactional_id
        self._timeout = timeout
        self._patience = max(3 * timeout, 30.0)
        self._producer: AIOKafkaProducer | None = None

    @property
    def opened(self) -> bool:
        """Whether the former owner has been fenced."""
        return self._producer is not None

    async def open(self, *, patience: float = 30.0) -> None:
        """Fence the former owner and abort what it left open; returns when that is done.

        Raises:
            Refusal: no broker, or not done within `patience` seconds.
            Fenced: yet another producer with this id came up meanwhile.
        """
        producer = AIOKafkaProducer(
            **self._options,
            client_id=self._id,
            transactional_id=self._id,
            transaction_timeout_ms=int(self._timeout * 1000),
            acks="all",
            linger_ms=0,
            max_request_size=BATCH_BYTES + 100_000,
            retry_backoff_ms=20,
        )
        try:
            await asyncio.wait_for(producer.start(), patience)
        except TimeoutError:
            line = (
                f"transactional id {self._id!r} could not be initialised within {patience:.0f} s; are the brokers up?"
            )
            raise Refusal(Exit.FENCED, line) from None
        except KafkaConnectionError as error:
            raise Refusal(Exit.NO_BROKER, f"no broker answers: {error}") from None
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise Fenced from error
        except KafkaError as error:
            raise Refusal(Exit.SEND, f"transactional id {self._id!r}: {error!r}") from error
        else:
            self._producer, producer = producer, None
        finally:
            if producer is not None:
                await _stop(producer)

    async def commit(
        self,
        partition: int,
        changelog: tuple[str, Sequence[Row]],
        outputs: Mapping[str, Sequence[Message]],
        passed: Callable[[str], None],
    ) -> int:
        """Send everything to partition `partition` of its topics as one transaction, and wait until it is visible.

        Args:
            partition: number in every topic.
            changelog: the state topic and its rows; a row without value is a tombstone.
            outputs: messages by topic.
            passed: called with the name of each failpoint.

        Returns:
            Bytes of the changelog's records, before compression.

        Raises:
            Fenced: nothing of it will ever become visible.
            Refusal: it failed, or it is unknown whether it failed; the process has to end.
        """
        producer = self._producer
        if producer is None:
            raise Fenced
        try:
            size = await asyncio.wait_for(
                self._transact(producer, partition, changelog, outputs, passed), self._patience
            )
        except (ProducerFenced, InvalidProducerEpoch) as error:
            self._ruin(producer)
            raise Fenced from error
        except TimeoutError:
            line = f"transaction of {self._id!r} was not done within {self._patience:.0f} s; are the brokers up?"
            raise Refusal(Exit.SEND, line) from None
        except KafkaError as error:
            cause = error.__cause__ or error
            raise Refusal(Exit.SEND, f"transaction of {self._id!r} failed: {type(cause).__name__}: {cause}") from error
        passed("after_commit")
        return size

    async def _transact(
        self,
        producer: AIOKafkaProducer,
        partition: int,
        changelog: tuple[str, Sequence[Row]],
        outputs: Mapping[str, Sequence[Message]],
        passed: Callable[[str], None],
    ) -> int:
        await producer.begin_transaction()
        topic, rows = changelog
        to = partial(self._send, producer, partition)
        sends = [to(topic, ((key, value, []) for key, value in rows), lambda: passed("after_changelog"))]
        sends += [to(topic, messages, lambda: passed("after_triggers")) for topic, messages in outputs.items()]
        # Every batch is awaited before the commit: aiokafka commits over a batch that failed.
        results = await asyncio.gather(*sends, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:  # a fence explains the others
            if isinstance(error, ProducerFenced | InvalidProducerEpoch):
                raise error
        if errors:
            raise errors[0]
        passed("before_commit")
        await producer.commit_transaction()
        return next(size for size in results if isinstance(size, int))

    async def _send(
        self,
        producer: AIOKafkaProducer,
        partition: int,
        topic: str,
        messages: Iterable[tuple[bytes, bytes | None, list[tuple[str, bytes]]]],
        passed: Callable[[], None],
    ) -> int:
        futures: list[asyncio.Future[Any]] = []
        size = 0
        for batch in batches(messages, transactional=True):
            if batch.size() > _RECORD_BYTES:
                excess = f"{batch.size()} bytes, above {_RECORD_BYTES}"
                raise Refusal(Exit.SEND, f"a record for {topic} partition {partition} has {excess}")
            size += batch.size()
            futures.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*futures)
        passed()
        return size

    def _ruin(self, producer: AIOKafkaProducer) -> None:
        self._producer = None
        task = asyncio.ensure_future(_stop(producer))
        _stopping.add(task)
        task.add_done_callback(_stopping.discard)

    async def close(self) -> None:
        """Close the connections; an open transaction is left to the next owner, who aborts it. Not during `commit`."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)


_stopping: set[asyncio.Future[None]] = set()  # the loop holds tasks weakly


async def _stop(producer: AIOKafkaProducer) -> None:
    # A producer whose sender has died, or whose broker is away, may wait for ever on what it will never deliver.
    with suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.stop(), 3.0)
        return
    with suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.client.close(), 1.0)
