"""A network between a client and a broker: a TCP proxy on loopback that can be cut and slowed down."""

import asyncio
from contextlib import suppress
from typing import Final, Self

_CHUNK: Final = 1 << 16


class Proxy:
    """Hands on what comes to the port `outside` to the port `inside`, and back. An async context manager."""

    def __init__(self, outside: int, inside: int) -> None:
        self._outside, self._inside = outside, inside
        self._open = asyncio.Event()
        self._refusing = False
        self._delay = 0.0
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._outside)
        self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Break everything off."""
        self._server.close()
        for task in list(self._pairs):
            task.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    def swallow(self) -> None:
        """Nothing gets through and nobody is told: connections stay, new ones are made, all is silent."""
        self._open.clear()

    def refuse(self) -> None:
        """Connections break, and new ones break at once."""
        self._refusing = True
        for writers in self._pairs.values():
            for writer in writers:
                writer.transport.abort()

    def slow(self, seconds: float) -> None:
        """Everything takes so much longer, each way."""
        self._delay = seconds

    def mend(self) -> None:
        """All is well; what was swallowed arrives now, as TCP has it."""
        self._open.set()
        self._refusing, self._delay = False, 0.0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = (writer,)
        try:
            if not self._refusing:
                there, back = await asyncio.open_connection("127.0.0.1", self._inside)
                self._pairs[task] = (writer, back)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, back))
                    group.create_task(self._pump(there, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in self._pairs.pop(task):
                each.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            await asyncio.sleep(self._delay)
            await self._open.wait()
            sink.write(data)
            await sink.drain()
        with suppress(OSError):
            sink.write_eof()
