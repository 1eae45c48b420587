"""The ways of undoing a test: connections that roll back, and connections that really commit."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from .._sandbox._runtime import Begun
from .._sandbox._sandbox import Sandbox
from .._sandbox._virtual import VirtualConnection
from .._server._admin import disconnect
from ..errors import DBTestingError
from ._closing import close_what_is_left

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine

    from .._sandbox._runtime import Wire
    from .._sandbox._wires import Connect, DatabaseState
    from .._server._budget import Budget
    from ..errors import SandboxError
    from ._closing import Close
    from ._escapes import Watch
    from ._pool import Pooled
    from ._real import RealConnection

PATIENCE: Final = 10.0
"""Seconds within which an event loop that runs in another thread must have undone a test."""


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

    def __init__(
        self,
        connect: Connect,
        state: DatabaseState,
        watch: Watch,
        admit: Callable[[], str | None],
    ) -> None:
        self._sandbox = Sandbox(connect, state=state, watch=watch, admit=admit)

    async def connect(self) -> Any:
        return VirtualConnection(self._sandbox)

    def begin(self, test: str) -> None:
        self._sandbox.begin_test(test)

    @property
    def used(self) -> bool:
        return self._sandbox.used

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        loop = self._sandbox.loop
        return [] if loop is None else [loop]

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

    async def undo(self, closing: list[Close]) -> None:
        # Closing a session sends nothing any more, so it can be done while the server rolls back.
        ending = Begun(self._sandbox.end_test())
        try:
            for close in closing:
                await close()
        finally:
            await ending

    def abandon(self) -> None:
        self._sandbox.abandon_test()

    @property
    def sandbox(self) -> Sandbox:
        """What the connections lead to."""
        return self._sandbox

    def disconnect(self) -> None:
        """Close the real connections of all event loops, as far as they can still be."""
        for loop in self._sandbox.loops:
            # Beneath a loop that runs in this thread no other one can; what is left is cut off.
            if not loop.is_closed() and (loop.is_running() or not a_loop_runs_here()):
                run(loop, self._sandbox.close())
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

    @property
    def remark(self) -> str | None:
        """What the running test, should it fail, may owe to transaction identity."""
        return self._sandbox.remark


class Commit:
    """Real connections, on any number of event loops; what they commit is swept up."""

    def __init__(
        self,
        connect: Connect,
        taken: Callable[[], bool],
        pooled: Callable[[], Pooled],
        budget: Budget,
    ) -> None:
        """Open nothing yet.

        `taken` tells whether the test has taken a connection from a pool, and `pooled` what lies
        in the pools for the running loop.
        """
        self._connect = connect
        self._taken = taken
        self._pooled = pooled
        self._budget = budget
        self._used = False
        self._wires: dict[asyncio.AbstractEventLoop, tuple[list[Wire], AsyncGenerator[None]]] = {}
        """The connections of each loop, and what closes them."""
        self._renewed: list[Wire] = []

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
        del test
        self._used = False
        self._renewed.clear()

    @property
    def used(self) -> bool:
        return self._used or self._taken()

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        return list(self._wires)

    @property
    def processes(self) -> list[int]:
        """The server processes of connections that are as new, and whose counters are known."""
        return [wire.get_server_pid() for wire in self._renewed if not wire.is_closed()]

    @property
    def spoilt(self) -> bool:
        return False

    @property
    def failure(self) -> SandboxError | None:
        return None

    async def undo(self, closing: list[Close]) -> None:
        try:
            for close in closing:
                await close_what_is_left(close)  # a test may have terminated its own connections
        finally:
            await self._clean()

    async def _clean(self) -> None:
        """Make the running loop's connections as new, or close them."""
        wires, _ = self._wires[asyncio.get_running_loop()]
        pooled = self._pooled()
        self._used = False
        room = max(0, self._budget.spare - len(self._renewed))
        ready = await _renewed([wire for wire in wires if wire in pooled.idle][:room])
        self._renewed += ready
        for wire in list(wires):
            if wire in pooled.held or wire in ready:
                continue  # a wider fixture's, or the next test's
            record = pooled.idle.get(wire)
            wires.remove(wire)
            await disconnect(wire)
            if record is not None:
                record.invalidate()

    def abandon(self) -> None:
        self._used = False
        for loop in [loop for loop in self._wires if loop.is_closed()]:
            del self._wires[loop]

    async def close_here(self) -> None:
        """Close the connections of the running loop."""
        wires = self._wires.pop(asyncio.get_running_loop(), None)
        if wires is not None:
            await wires[1].aclose()

    def cut_off(self) -> None:
        """Cut off the connections of all loops, because the database is about to be replaced."""
        for loop, (wires, guard) in self._wires.items():
            if loop.is_closed():
                continue
            for wire in wires:
                wire.terminate()
            wires.clear()
            if not (loop.is_running() or a_loop_runs_here()):
                loop.run_until_complete(guard.aclose())  # else its loop would, in the next test
        self._wires.clear()


async def _renewed(wires: list[Wire]) -> list[Wire]:
    """Make connections as new, at once; return those with which it could be done."""
    made = [cast("RealConnection", wire).renewed() for wire in wires]
    done = await asyncio.gather(*made) if len(made) > 1 else [await each for each in made]
    return [wire for wire, renewed in zip(wires, done, strict=True) if renewed]


async def _close_with_loop(wires: list[Wire]) -> AsyncGenerator[None]:
    """Close connections before their loop closes, as `Sandbox` closes its wire."""
    try:
        yield
    finally:
        for wire in wires:
            await disconnect(wire)


def a_loop_runs_here() -> bool:
    return asyncio._get_running_loop() is not None  # noqa: SLF001  # the public one raises


def run(loop: asyncio.AbstractEventLoop, step: Coroutine[Any, Any, None]) -> None:
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


class Private(Commit):
    """Real connections to a database that only this test has."""

    @property
    def spoilt(self) -> bool:
        return True

    async def _clean(self) -> None:
        await self.close_here()
        self._used = bool(self._wires)
