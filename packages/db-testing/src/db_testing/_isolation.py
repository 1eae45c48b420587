"""What stands between a test and its worker's database."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from ._admin import connect_options
from ._sandbox import Sandbox
from ._virtual import VirtualConnection
from .errors import DBTestingError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ._sandbox import Wire

LOCK_TIMEOUT = "10s"
"""How long a statement waits for a row that a connection outside the sandbox has locked."""


class Rollback:
    """Rollback isolation of one database: its engine, and the ends of its tests."""

    def __init__(self, url: URL, *, renew: Callable[[], None]) -> None:
        """Connect to nothing yet. `renew` replaces the database by a new clone."""
        self.url = url
        self.tests = 0
        """How many tests have used the database."""
        self.seconds = 0.0
        """How long undoing them took."""
        self._renew = renew
        self._sandbox = Sandbox(self._connect)
        self._closing: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._last_loop: asyncio.AbstractEventLoop | None = None
        self.engine: AsyncEngine = create_async_engine(
            url,
            async_creator=self._virtual_connection,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=0,  # no limit: virtual connections cost nothing, and nobody waits for one
        )

    async def _connect(self) -> Wire:
        options = connect_options(self.url)
        return await asyncpg.connect(
            **options, timeout=15, server_settings={"lock_timeout": LOCK_TIMEOUT}
        )

    async def _virtual_connection(self) -> Any:
        return VirtualConnection(self._sandbox)

    def virtual_connection(self) -> VirtualConnection:
        """Return a new connection for code that talks to the driver."""
        return VirtualConnection(self._sandbox)

    def begin(self, test: str) -> None:
        """Let what follows belong to a test."""
        self._sandbox.begin_test(test)

    def at_end(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Close something on the test's event loop after the test has been undone."""
        self._closing.append(close)

    def end(self) -> SandboxError | None:
        """Undo the test, and return what the sandbox could not do for it."""
        closing, self._closing = self._closing, []
        loop = self._sandbox.loop
        if loop is None:
            self._sandbox.abandon_test()
            return self._sandbox.failure
        started = time.perf_counter()
        if loop.is_closed():
            self._sandbox.abandon_test()
            self._close_without_loop(closing)
        elif loop.is_running():
            message = "a database test ended while its event loop was running"
            raise DBTestingError(message)
        else:
            loop.run_until_complete(self._end(closing))
        if loop is not self._last_loop:
            # What the pool keeps may be bound to the loop; virtual connections need no closing.
            self.engine.sync_engine.dispose(close=False)
            self._last_loop = loop
        if self._sandbox.committed:
            self._replace(loop)
        self.tests += 1
        self.seconds += time.perf_counter() - started
        return self._sandbox.failure

    async def _end(self, closing: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        await self._sandbox.end_test()
        for close in closing:
            await close()

    def _close_without_loop(self, closing: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Close what the test was given when its event loop is gone: nothing is sent any more."""
        loop = asyncio.new_event_loop()
        try:
            for close in closing:
                loop.run_until_complete(close())
        finally:
            loop.close()

    def _replace(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.run_until_complete(self._sandbox.close())
        self._renew()

    def close(self) -> None:
        """Close the connections whose event loops still live."""
        for loop in self._sandbox.loops:
            if not loop.is_closed():
                loop.run_until_complete(self._sandbox.close())
