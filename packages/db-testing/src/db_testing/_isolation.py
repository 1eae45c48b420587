"""What stands between a test and its worker's database."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine

from ._admin import connect_options
from ._pool import LoopPool
from ._sandbox import Sandbox
from ._virtual import VirtualConnection
from .errors import DBTestingError, SandboxError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from sqlalchemy.engine import URL, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ._sandbox import Connect, Wire
    from ._settings import IsolationName

    Close = Callable[[], Coroutine[Any, Any, None]]

PATIENCE: Final = 10.0
"""Seconds within which an event loop that runs in another thread must have undone a test."""

LOCK_TIMEOUT: Final = "10s"
"""How long a statement waits for a row that another connection has locked."""


class Kind(Protocol):
    """A way of undoing a test."""

    async def connect(self) -> Any:
        """Return what SQLAlchemy's dialect takes for a connection of asyncpg."""

    def begin(self, test: str) -> None:
        """Let the connections that follow belong to a test."""

    @property
    def used(self) -> bool:
        """Whether the test has used the database."""

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops, perhaps closed, on which :meth:`undo` must run."""

    @property
    def spoilt(self) -> bool:
        """Whether the database must be replaced before the next test."""

    @property
    def failure(self) -> SandboxError | None:
        """What this isolation could not do for the test."""

    async def undo(self, closing: list[Close]) -> None:
        """Undo what the test did on the running loop, and close what it was given there."""

    def abandon(self) -> None:
        """Undo a test whose event loops are closed."""


class Rollback:
    """Virtual connections; the real one is rolled back."""

    def __init__(self, connect: Connect) -> None:
        self._sandbox = Sandbox(connect)

    async def connect(self) -> Any:
        return VirtualConnection(self._sandbox)

    def begin(self, test: str) -> None:
        self._sandbox.begin_test(test)

    @property
    def used(self) -> bool:
        return self._sandbox.used

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        return [self._sandbox.loop] if self._sandbox.loop else []

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
                _run(loop, self._sandbox.close())


class Commit:
    """Real connections, on any number of event loops; the database is thrown away."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._used = False
        self._wires: dict[asyncio.AbstractEventLoop, tuple[list[Wire], AsyncGenerator[None]]] = {}
        """The connections of each loop, and what closes them."""

    async def connect(self) -> Any:
        self._used = True
        loop = asyncio.get_running_loop()
        if loop not in self._wires:
            opened: list[Wire] = []
            guard = _close_with_loop(opened)
            self._wires[loop] = opened, guard
            await anext(guard)
        wires, _ = self._wires[loop]
        wire = await self._connect()
        wires[:] = [other for other in wires if not other.is_closed()]
        wires.append(wire)
        return wire

    def begin(self, test: str) -> None:
        pass

    @property
    def used(self) -> bool:
        return self._used

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        return list(self._wires)

    @property
    def spoilt(self) -> bool:
        return True

    @property
    def failure(self) -> SandboxError | None:
        return None

    async def undo(self, closing: list[Close]) -> None:
        for close in closing:
            await close()
        _, guard = self._wires.pop(asyncio.get_running_loop())
        await guard.aclose()
        self._used = bool(self._wires)

    def abandon(self) -> None:
        self._wires.clear()
        self._used = False


async def _close_with_loop(wires: list[Wire]) -> AsyncGenerator[None]:
    """Close connections before their loop closes, as `Sandbox` closes its wire."""
    try:
        yield
    finally:
        for wire in wires:
            try:
                await wire.close(timeout=2)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                wire.terminate()


def _run(loop: asyncio.AbstractEventLoop, step: Coroutine[Any, Any, None]) -> None:
    """Run a step on an event loop that waits, or that runs in another thread."""
    if not loop.is_running():
        loop.run_until_complete(step)
        return
    future = asyncio.run_coroutine_threadsafe(step, loop)
    try:
        future.result(PATIENCE)
    except TimeoutError:
        future.cancel()
        raise DBTestingError(
            f"a test used the database on an event loop of another thread, such as that of "
            f"Starlette's TestClient, which has not let the test be undone for {PATIENCE:g} s. "
            f"Something blocks that loop."
        ) from None


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
        self._rollback = Rollback(self._connect)
        self._kinds: dict[IsolationName, Kind] = {
            "rollback": self._rollback,
            "commit": Commit(self._connect),
        }
        self._kind: Kind = self._rollback
        self._closing: list[Close] = []
        self.engine: AsyncEngine = create_async_engine(
            url,
            async_creator=self.connect,
            poolclass=LoopPool,
        )
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet([self.engine.sync_engine])
        """Those whose pools hold connections of this database."""

    def serve(self, engine: Engine) -> None:
        """Note that an engine, whose pool is a `LoopPool`, holds connections of this database."""
        self._engines.add(engine)

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
            self._forget_pools()
            self._kind = chosen
        chosen.begin(test)

    def at_end(self, close: Close) -> None:
        """Close something on the test's event loop when the test is over."""
        self._closing.append(close)

    def end(self) -> SandboxError | None:
        """Undo the test, and return what its isolation could not do for it."""
        closing, self._closing = self._closing, []
        kind = self._kind
        if not kind.used:
            kind.abandon()
            return kind.failure
        started = time.perf_counter()
        loops = [loop for loop in kind.loops if not loop.is_closed()]
        if asyncio._get_running_loop() in loops:  # noqa: SLF001  # None where none runs
            message = "a database test ended while its event loop was running"
            raise DBTestingError(message)
        # What the test was given lives on its own loop, which waits now; that of a thread may run.
        for loop in sorted(loops, key=lambda loop: loop.is_running()):
            _run(loop, kind.undo(closing))
            closing = []
        if not loops:
            kind.abandon()
            self._close_without_loop(closing)
        if kind.spoilt:
            self._forget_pools()
            self._rollback.disconnect()
            self._renew()
        else:
            # What listeners do to a new connection, such as SET, has been undone with the test.
            self._forget_pools(of_listeners=True)
        self.tests += 1
        self.seconds += time.perf_counter() - started
        return kind.failure

    def _forget_pools(self, *, of_listeners: bool = False) -> None:
        """Empty the pools: virtual connections need no closing, and real ones have been closed."""
        for engine in list(self._engines):
            if not of_listeners or cast("LoopPool", engine.pool).has_listeners_of_its_own:
                engine.pool = engine.pool.recreate()

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
