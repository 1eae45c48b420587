"""What stands between a test and its worker's database."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from ._admin import connect_options
from ._sandbox import DatabaseState, Sandbox
from ._virtual import VirtualConnection
from .errors import DBTestingError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ._sandbox import Connect, Wire
    from ._settings import IsolationName
    from ._synchronous import Synchronous

    Close = Callable[[], Coroutine[Any, Any, None]]

LOCK_TIMEOUT: Final = "10s"
"""How long a statement waits for a row that another connection has locked."""


class Kind(Protocol):
    """A way of undoing a test."""

    async def connect(self) -> Any:
        """Return what SQLAlchemy's dialect takes for a connection of asyncpg."""

    def begin(self, test: str) -> None:
        """Let the connections that follow belong to a test."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop from which the test has used the database; None if it has not."""

    @property
    def spoilt(self) -> bool:
        """Whether the database must be replaced before the next test."""

    @property
    def failure(self) -> SandboxError | None:
        """What this isolation could not do for the test."""

    async def undo(self, closing: list[Close]) -> None:
        """Undo the test and close what it was given, on its event loop."""

    def abandon(self) -> None:
        """Undo a test whose event loop is closed."""


class Rollback:
    """Virtual connections; the real one is rolled back."""

    def __init__(
        self, connect: Connect, state: DatabaseState, admit: Callable[[], str | None]
    ) -> None:
        self._sandbox = Sandbox(connect, state=state, admit=admit)

    async def connect(self) -> Any:
        return VirtualConnection(self._sandbox)

    def begin(self, test: str) -> None:
        self._sandbox.begin_test(test)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._sandbox.loop

    @property
    def spoilt(self) -> bool:
        return self._sandbox.committed

    @property
    def failure(self) -> SandboxError | None:
        return self._sandbox.failure

    async def undo(self, closing: list[Close]) -> None:
        # In this order closing a session that holds a transaction sends nothing.
        await self._sandbox.end_test()
        for close in closing:
            await close()

    def abandon(self) -> None:
        self._sandbox.abandon_test()

    def disconnect(self) -> None:
        """Close the real connections whose event loops still live."""
        for loop in self._sandbox.loops:
            if not loop.is_closed():
                loop.run_until_complete(self._sandbox.close())


class Commit:
    """Real connections; the database is thrown away."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._wires: list[tuple[asyncio.AbstractEventLoop, Wire]] = []

    async def connect(self) -> Any:
        wire = await self._connect()
        self._wires = [entry for entry in self._wires if not entry[1].is_closed()]
        self._wires.append((asyncio.get_running_loop(), wire))
        return wire

    def begin(self, test: str) -> None:
        pass

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._wires[0][0] if self._wires else None

    @property
    def spoilt(self) -> bool:
        return True

    @property
    def failure(self) -> SandboxError | None:
        return None

    async def undo(self, closing: list[Close]) -> None:
        for close in closing:
            await close()
        wires, self._wires = self._wires, []
        for loop, wire in wires:
            if loop is not asyncio.get_running_loop():
                continue  # the server ends the connection when the database is dropped
            try:
                await wire.close(timeout=2)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                wire.terminate()

    def abandon(self) -> None:
        self._wires.clear()


class Isolation:
    """One database of a worker: its engine, and the beginning and end of each test in it."""

    def __init__(self, url: URL, *, renew: Callable[[], None]) -> None:
        """Connect to nothing yet. `renew` replaces the database by a new clone."""
        self.url = url
        self.tests = 0
        """How many tests have used the database."""
        self.seconds = 0.0
        """How long undoing them took."""
        self._renew = renew
        self._database = DatabaseState()
        self._family: str | None = None
        """The driver that the test has used, under rollback isolation."""
        self._test: tuple[str, IsolationName] | None = None
        self._synchronous: Synchronous | None = None
        self._rollback = Rollback(
            self._connect, self._database, lambda: self._admit("asyncpg (db, db_engine)")
        )
        self._kinds: dict[IsolationName, Kind] = {
            "rollback": self._rollback,
            "commit": Commit(self._connect),
        }
        self._kind: Kind = self._rollback
        self._closing: list[Close] = []
        self._last_loop: asyncio.AbstractEventLoop | None = None
        self.engine: AsyncEngine = create_async_engine(
            url,
            async_creator=self.connect,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=0,  # no limit: nobody waits for a connection that a test has lost
        )

    def synchronous(self) -> Synchronous:
        """Return what synchronous code uses, made on first use.

        Raises:
            FixtureError: psycopg is not installed.
        """
        if self._synchronous is None:
            from ._synchronous import Synchronous

            self._synchronous = Synchronous(
                self.url, self._database, lambda: self._admit("psycopg (db_sync, db_sync_engine)")
            )
            if self._test is not None:
                self._synchronous.begin(*self._test)
        return self._synchronous

    def _admit(self, family: str) -> str | None:
        """Say why a family may not be used by this test; None if it may."""
        self._family = self._family or family
        if family == self._family:
            return None
        return (
            f"goes through {family}, and the test has used {self._family} before: under rollback "
            f"isolation each has a connection with a transaction of its own, and neither can see "
            f"the other's rows"
        )

    async def connect(self) -> Any:
        """Return a new connection of the driver, virtual or real."""
        return await self._kind.connect()

    async def _connect(self) -> Wire:
        return await asyncpg.connect(
            **connect_options(self.url),
            timeout=15,
            server_settings={"lock_timeout": LOCK_TIMEOUT},
        )

    def begin(self, test: str, kind: IsolationName) -> None:
        """Let what follows belong to a test, isolated in one way or the other."""
        chosen = self._kinds[kind]
        if chosen is not self._kind:
            self._forget_pool()
            self._kind = chosen
        chosen.begin(test)
        self._family = None
        self._test = (test, kind)
        if self._synchronous is not None:
            self._synchronous.begin(test, kind)

    def at_end(self, close: Close) -> None:
        """Close something on the test's event loop when the test is over."""
        self._closing.append(close)

    def end(self) -> SandboxError | None:
        """Undo the test, and return what its isolation could not do for it."""
        self._test = None
        if self._synchronous is None:
            return self._end(spoilt=False)
        before, started = self.tests, time.perf_counter()
        used, spoilt = self._synchronous.end()
        self.seconds += time.perf_counter() - started
        failure = self._end(spoilt=spoilt)
        if used and self.tests == before:
            self.tests += 1
        return failure or self._synchronous.failure

    def _end(self, *, spoilt: bool) -> SandboxError | None:
        """Undo what asynchronous code did; replace the database if synchronous code spoilt it."""
        closing, self._closing = self._closing, []
        kind, loop = self._kind, self._kind.loop
        if loop is None:
            kind.abandon()
            if spoilt:
                self._replace()
            return kind.failure
        started = time.perf_counter()
        if loop.is_running():
            message = "a database test ended while its event loop was running"
            raise DBTestingError(message)
        if loop.is_closed():
            kind.abandon()
            self._close_without_loop(closing)
        else:
            loop.run_until_complete(kind.undo(closing))
        if loop is not self._last_loop:
            # What the pool keeps may be bound to the loop of its last use.
            self._forget_pool()
            self._last_loop = loop
        if kind.spoilt or spoilt:
            self._replace()
        self.tests += 1
        self.seconds += time.perf_counter() - started
        return kind.failure

    def _replace(self) -> None:
        """Replace the database, on which nothing may be connected."""
        self._forget_pool()
        self.close()
        self._renew()

    def _forget_pool(self) -> None:
        """Empty the pool: virtual connections need no closing, and real ones have been closed."""
        self.engine.sync_engine.dispose(close=False)

    def _close_without_loop(self, closing: list[Close]) -> None:
        """Close what the test was given when its event loop is gone: nothing is sent any more."""
        loop = asyncio.new_event_loop()
        try:
            for close in closing:
                loop.run_until_complete(close())
        finally:
            loop.close()

    def close(self) -> None:
        """Close the connections whose event loops still live."""
        self._rollback.disconnect()
        if self._synchronous is not None:
            self._synchronous.disconnect()
