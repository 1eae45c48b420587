"""TLS for a server that has none, and certificates that clients trust."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class Proxy:
    """Takes encrypted connections, and no others, and leads them to a server on a local port."""

    def __init__(self, server: int, certificate: ssl.SSLContext) -> None:
        self._server = server
        self._certificate = certificate
        self._loop = asyncio.new_event_loop()
        self.refused = 0
        """How many did not ask for encryption."""
        self.encrypted = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Run it in a thread; what it leads to is reached by the port that is returned."""
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.run_until_complete(self._end(server))
            self._loop.close()

    @staticmethod
    async def _end(server: asyncio.Server) -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(8) != SSL_REQUEST:
            self.refused += 1
            writer.close()
            return
        self.encrypted += 1
        with contextlib.suppress(OSError):  # a client hangs up in the middle
            writer.write(b"S")
            await writer.start_tls(self._certificate)
            upstream = await asyncio.open_connection("127.0.0.1", self._server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, upstream[1]))
                both.create_task(self._pass(upstream[0], writer))

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()
