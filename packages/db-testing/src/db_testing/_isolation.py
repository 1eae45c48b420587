"""What stands between a test and its worker's database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from ._admin import PATIENCE, connect
from ._checkouts import Checkouts
from ._commits import Commits
from ._sandbox import MARKER, Sandbox
from ._tasks import generators_closed
from ._template import LOCK_TIMEOUT
from ._virtual import VirtualConnection
from .errors import DBTestingError, SandboxEscapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ._escapes import Watch
    from ._sandbox import Connect, Wire
    from ._settings import IsolationName
    from .errors import SandboxError

    Close = Callable[[], Coroutine[Any, Any, None]]


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

    def __init__(self, connect: Connect, watch: Watch) -> None:
        self._sandbox = Sandbox(connect, watch=watch)

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

    @property
    def sandbox(self) -> Sandbox:
        """What the connections lead to."""
        return self._sandbox

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

    def __init__(self, url: URL, *, renew: Callable[[], None], watch: Watch) -> None:
        """Connect to nothing yet.

        `renew` replaces the database by a new clone; `watch` sees what others do in it.
        """
        self.url = url
        self.tests = 0
        """How many tests have used the database."""
        self.seconds = 0.0
        """How long undoing them took."""
        self._renew = renew
        self._watch = watch
        self._rollback = Rollback(self._connect, watch)
        self._kinds: dict[IsolationName, Kind] = {
            "rollback": self._rollback,
            "commit": Commit(self._connect),
        }
        self._kind: Kind = self._rollback
        self._closing: list[Close] = []
        self._test = "no test"
        self._patience = PATIENCE
        self._leaks: list[str] = []
        self._last_loop: asyncio.AbstractEventLoop | None = None
        self.engine: AsyncEngine = create_async_engine(
            url,
            async_creator=self.connect,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=0,  # no limit: nobody waits for a connection that a test has lost
        )
        self._checkouts = Checkouts(self.engine.sync_engine)
        self._commits = Commits(url.database or "")

    async def connect(self) -> Any:
        """Return a new connection of the driver, virtual or real."""
        return await self._kind.connect()

    async def _connect(self) -> Wire:
        # A server that a test restarts comes back; but one that does not is waited for only once.
        patience, self._patience = self._patience, 0.0
        wire = await connect(
            self.url,
            patience=patience,
            gone=True,
            server_settings={"lock_timeout": LOCK_TIMEOUT},
        )
        self._patience = PATIENCE
        return wire

    def begin(self, test: str, kind: IsolationName) -> None:
        """Let what follows belong to a test, isolated in one way or the other."""
        self._test = test
        chosen = self._kinds[kind]
        if chosen is self._rollback:
            self._watch.begin()
            if self._watch.changed:
                # What is put back after a test is from now on what fixtures have committed.
                self._rollback.disconnect()
                self._rollback.sandbox.read_again()
                self._watch.changed = False
        self._commits.clear()
        self._checkouts.watching = True
        if chosen is not self._kind:
            self._forget_pool()
            self._kind = chosen
        chosen.begin(test)

    def at_end(self, close: Close) -> None:
        """Close something on the test's event loop when the test is over."""
        self._closing.append(close)

    @property
    def users(self) -> set[asyncio.Task[Any]]:
        """The tasks that hold a transaction of the running test."""
        return self._rollback.sandbox.users

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop from which the test has used the database; None if it has not."""
        return self._kind.loop

    @contextlib.contextmanager
    def others(self) -> Iterator[None]:
        """Let what is done meanwhile be a wider fixture's, and not the test's."""
        watching, self._checkouts.watching = self._checkouts.watching, False
        # What the test itself has committed until now stays its own.
        spoilt = watching and self._kind is self._rollback and self._watch.differs()
        try:
            yield
        finally:
            self._checkouts.watching = watching
            if not spoilt:
                self._watch.stale = True
                if watching and self._kind is self._rollback:
                    self._watch.begin()

    @property
    def lost(self) -> bool:
        """Whether the last test's wire was given up, for whatever reason."""
        return self._rollback.sandbox.lost

    def take_leaks(self) -> list[str]:
        """Return what the last test has left behind, once."""
        leaks, self._leaks = self._leaks, []
        return leaks

    def end(self, *, connects: bool = False) -> SandboxError | None:
        """Undo the test, and return what its isolation could not do for it.

        `connects` says whether the test has what it needs to connect by itself.
        """
        failure = self._end(connects=connects)
        if failure is None and self._kind is self._rollback:
            failure = self._escaped(connects=connects)
        return failure

    def _escaped(self, *, connects: bool) -> SandboxError | None:
        """Look whether a connection that is not the sandbox's has done what cannot be undone."""
        sandbox, lines = self._rollback.sandbox, self._commits.seen
        if sandbox.moved is False and not lines:
            return None
        if sandbox.moved is None and not (connects or lines or sandbox.lost):
            return None
        if not (lines or sandbox.moved or self._watch.moved()):
            return None
        what, left = self._watch.look(ours=[*sandbox.discarded, *sandbox.processes])
        self._leaks += left
        if what is None:
            if self._watch.sequences_moved:
                sandbox.restore_sequences()
            return None
        by = f"the commit at {lines[0]}" if lines else "a connection that is not the sandbox's"
        lost = "" if self._watch.pristine else " What wider fixtures had committed is gone with it."
        self._renew_database()
        return SandboxEscapeError(
            f"{self._test} has really committed {what}, by {by}: no rollback can undo that, so "
            f"the database was replaced by a new clone.{lost} Use db_engine instead, or db_bind "
            f"for an engine of the application's own; or add {MARKER} to the test."
        )

    async def _collect(self) -> None:
        self._leaks += self._checkouts.end()

    def _end(self, *, connects: bool) -> SandboxError | None:
        closing = [*self._closing, self._collect]
        self._closing = []
        kind, loop = self._kind, self._kind.loop
        if loop is None:
            if self._checkouts.any:
                self._close_without_loop(closing)
            self._checkouts.watching = False
            kind.abandon()
            if kind is not self._rollback and (connects or self._commits.seen):
                self._renew_database()
            return kind.failure
        started = time.perf_counter()
        if loop.is_running():
            message = "a database test ended while its event loop was running"
            raise DBTestingError(message)
        if loop.is_closed():
            kind.abandon()
            self._close_without_loop(closing)
        else:
            loop.run_until_complete(self._undo(kind, closing))
        if loop is not self._last_loop:
            # What the pool keeps may be bound to the loop of its last use.
            self._forget_pool()
            self._last_loop = loop
        if kind.spoilt:
            self._renew_database()
        self.tests += 1
        self.seconds += time.perf_counter() - started
        return kind.failure

    async def _undo(self, kind: Kind, closing: list[Close]) -> None:
        await generators_closed()
        await kind.undo(closing)

    def _renew_database(self) -> None:
        self._forget_pool()
        self._rollback.disconnect()
        self._renew()
        self._watch.renewed()
        self._commits.disconnected()

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
        self._commits.close()
        self._rollback.disconnect()
        self._watch.close()
