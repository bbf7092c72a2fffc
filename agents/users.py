"""The faust agent on the user topic: chunks in, handed to the owners that fold them."""

from typing import Any

import faust
from faust.types import EventT, Message, StreamT

from agents.kafka.owner import Chunk
from agents.kafka.shell import Shell


class ChunkSchema(faust.Schema[Any, Any]):
    """A message's value is a chunk of records already; nothing is decoded here."""

    def compile(self, app: Any, **_: Any) -> Any:
        """A decoder that wraps the value into an event."""

        async def decode(message: Message, *, propagate: bool = False) -> EventT[Any]:  # noqa: ARG001 faust's name
            event: EventT[Any] = app.create_event(None, message.value, {}, message)
            return event

        return decode


def define_users(app: faust.App, topic: str, shell: Shell) -> Any:
    """Define the agent of the user topic (full name); see `feed`."""
    return feed(app, topic, shell, name="users")


def feed(app: faust.App, topic: str, shell: Shell, *, name: str) -> Any:
    """Define the agent that hands every chunk of `topic` (full name) to the owner of its partition.

    The folding goes on in a task for each partition, so that a partition that waits for its commit, or that wakes half
    a million users, does not hold up the others. The topic is not acked: how far it has come is known elsewhere: from
    the state, or from what was acknowledged.
    """
    channel = app.topic(topic, schema=ChunkSchema(), acks=False, internal=False)

    @app.agent(channel, name=name)
    async def chunks(stream: StreamT[Chunk]) -> None:
        async for chunk in stream:
            shell.take(chunk)

    return chunks
