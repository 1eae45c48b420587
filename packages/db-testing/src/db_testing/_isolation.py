"""What stands between a test and its worker's database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from ._admin import connect_options
from ._sandbox import Sandbox, caller
from ._states import States
from ._virtual import VirtualConnection
from .errors import DataLayerError, DBTestingError, SandboxError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

    from ._sandbox import Connect, Wire
    from ._settings import IsolationName
    from ._states import Database

    Sessions = async_sessionmaker[AsyncSession]
    Close = Callable[[], Coroutine[Any, Any, None]]


def _another_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


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

    def __init__(self, connect: Connect) -> None:
        self._sandbox = Sandbox(connect)

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

    @property
    def unsettled(self) -> bool:
        """Whether only a rollback test's first statement would find the database clean."""
        return self._sandbox.unsettled

    @property
    def remark(self) -> str | None:
        """What the running test, should it fail, may owe to transaction identity."""
        return self._sandbox.remark

    async def undo(self, closing: list[Close]) -> None:
        # In this order closing a session that holds a transaction sends nothing.
        await self._sandbox.end_test()
        for close in closing:
            await close()

    def abandon(self) -> None:
        self._sandbox.abandon_test()

    def disconnect(self) -> None:
        """Close the real connections of all event loops, as far as they can still be."""
        for loop in self._sandbox.loops:
            if not (loop.is_closed() or _another_runs()):
                loop.run_until_complete(self._sandbox.close())
        self._sandbox.cut_off()

    async def settle(self) -> None:
        """Put back what a lost connection has left, without waiting for the next statement."""
        await self._sandbox.settle()

    async def close_here(self) -> None:
        """Close the real connection of the running loop."""
        await self._sandbox.close()

    def forget(self) -> None:
        """Learn the template's facts again: the database has been changed."""
        self._sandbox.forget_catalog()

    @contextlib.asynccontextmanager
    async def layer(self) -> AsyncIterator[None]:
        """Undo in the middle of a test what is done inside."""
        live, ground = await self._sandbox.lay()
        try:
            yield
        finally:
            await self._sandbox.fall_back(live, ground)


class Commit:
    """Real connections; the database is thrown away."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._wires: list[tuple[asyncio.AbstractEventLoop, Wire]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def connect(self) -> Any:
        self._loop = asyncio.get_running_loop()
        wire = await self._connect()
        self._wires = [entry for entry in self._wires if not entry[1].is_closed()]
        self._wires.append((asyncio.get_running_loop(), wire))
        return wire

    def begin(self, test: str) -> None:
        del test
        self._loop = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._loop

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

    def cut_off(self) -> None:
        """Cut the connections off, because the database is about to be replaced."""
        wires, self._wires = self._wires, []
        for loop, wire in wires:
            if not loop.is_closed():
                wire.terminate()


class Isolation:
    """One database of a worker: its engine, and the beginning and end of each test in it."""

    def __init__(self, url: URL, database: Database) -> None:
        """Connect to nothing yet."""
        self.url = url
        self.tests = 0
        """How many tests have used the database."""
        self.seconds = 0.0
        """How long undoing them took."""
        self._states = States(database, cut_off=self._cut_off)
        self._rollback = Rollback(self._connect)
        self._commit = Commit(self._connect)
        self._kinds: dict[IsolationName, Kind] = {
            "rollback": self._rollback,
            "commit": self._commit,
        }
        self._kind: Kind = self._rollback
        self._test: str | None = None
        self._writing: tuple[AsyncSession, asyncio.AbstractEventLoop] | None = None
        """The session in which a data layer is being written, and its event loop."""
        self._closing: list[Close] = []
        self._last_loop: asyncio.AbstractEventLoop | None = None
        self.engine: AsyncEngine = create_async_engine(
            url,
            async_creator=self.connect,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=0,  # no limit: nobody waits for a connection that a test has lost
        )

    async def connect(self) -> Any:
        """Return a new connection of the driver, virtual or real.

        Raises:
            DataLayerError: what a fixture has written for this test is gone.
        """
        if self._states.lost is not None:
            raise DataLayerError(
                f"the rows of a data layer are gone, because {self._states.lost} really committed "
                f"under rollback isolation, which is undone by a new database. Mend that test, or "
                f'add @pytest.mark.db(isolation="commit") to it.'
            )
        return await self._kind.connect()

    async def _connect(self) -> Wire:
        return await asyncpg.connect(
            **connect_options(self.url),
            timeout=15,
            server_settings={"lock_timeout": LOCK_TIMEOUT},
        )

    @property
    def remark(self) -> str | None:
        """What the running test, should it fail, may owe to its isolation."""
        return self._rollback.remark if self._kind is self._rollback else None

    def begin(self, test: str, kind: IsolationName) -> None:
        """Let what follows belong to a test, isolated in one way or the other."""
        self.seal()
        chosen = self._kinds[kind]
        if chosen is not self._kind:
            self._forget_pool()
            self._kind = chosen
        if self._states.settle():
            self._changed()
        if chosen is self._commit:
            if self._rollback.unsettled:
                # With a factory the runner leaves the thread's current event loop alone.
                with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                    runner.run(self._rollback.settle())
            self._states.save()
        self._test = test
        chosen.begin(test)

    def at_end(self, close: Close) -> None:
        """Close something on the test's event loop when the test is over."""
        self._closing.append(close)

    def end(self) -> SandboxError | None:
        """Undo the test, and return what its isolation could not do for it."""
        test, self._test = self._test or "", None
        closing, self._closing = self._closing, []
        kind, loop = self._kind, self._kind.loop
        if loop is None:
            kind.abandon()
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
        if kind.spoilt:
            self._states.renew(test)
            self._changed()
        self.tests += 1
        self.seconds += time.perf_counter() - started
        return kind.failure

    # ----------------------------------------------------------------- data layers

    @contextlib.asynccontextmanager
    async def layer(
        self, sessions: async_sessionmaker[AsyncSession]
    ) -> AsyncIterator[AsyncSession]:
        """Undo at the end what is done inside: see the fixture `db_layer`."""
        session = sessions(expire_on_commit=False)
        if self._test is None:
            layer = self._beneath_tests(session)
        elif self._kind is self._commit:
            layer = self._in_committed_test()
        else:
            layer = self._rollback.layer()
        async with layer:
            try:
                yield session
            finally:
                await session.close()

    @contextlib.asynccontextmanager
    async def _beneath_tests(self, session: AsyncSession) -> AsyncIterator[None]:
        """Commit for real; the tests that follow begin with it."""
        if self._rollback.unsettled:
            await self._rollback.settle()
        await self._disconnect()
        self._states.push()
        self._changed()
        self._kind = self._commit
        self._writing = session, asyncio.get_running_loop()
        try:
            yield
        finally:
            if self._writing is not None:  # it failed before its fixture paused
                await self._written()
            self._states.pop()

    @contextlib.asynccontextmanager
    async def _in_committed_test(self) -> AsyncIterator[None]:
        """Copy the database, and replace it by the copy."""
        self._check_unused("begins")
        await self._disconnect()
        self._states.remember()
        try:
            yield
            self._check_unused("ends")
        finally:
            await self._disconnect()
            self._states.recall()

    def seal(self) -> None:
        """Commit the data layer that has been written, if one has: its fixture has paused.

        Raises:
            DataLayerError: its event loop cannot be used, or a connection is in use.
        """
        if self._writing is None:
            return
        session, loop = self._writing

        async def finish() -> None:
            try:
                await session.commit()
                await session.close()
                self._check_unused("is complete")
            finally:
                await self._written()

        if loop.is_closed() or loop.is_running():
            self._writing = None
            raise DataLayerError(
                "`async with db_layer()` was left open by code that does not pause in it. Write a "
                "fixture that yields inside the block, or a test that ends it."
            )
        loop.run_until_complete(finish())

    async def _written(self) -> None:
        self._writing = None
        await self._disconnect()
        self._changed()
        self._kind = self._rollback

    def _check_unused(self, moment: str) -> None:
        used = self.engine.pool.checkedout()  # type: ignore[attr-defined]  # of this kind of pool
        if used:
            raise DataLayerError(
                f"a data layer {moment} ({caller()}) while connections are in use: {used}. Close "
                f"the sessions that are open; what they have not committed would be lost."
            )

    async def _disconnect(self) -> None:
        """Close what is connected on the running loop: the database is about to be replaced."""
        self._forget_pool()
        await self._commit.undo([])
        await self._rollback.close_here()

    def _cut_off(self) -> None:
        self._forget_pool()
        self._commit.cut_off()
        self._rollback.disconnect()

    def _changed(self) -> None:
        self._rollback.forget()

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
