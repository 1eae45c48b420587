"""Data layers: rows that are written once for many tests, and undone to after each.

What a fixture writes in one is committed for real, so tests of every isolation and on every event
loop begin with it. Inside a test it is a state to come back to.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NoReturn, Protocol

from .._origin import caller
from ..errors import DataLayerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from .._settings import IsolationName
    from ._kinds import Rollback
    from ._pool import Pools
    from ._states import States


class Tested(Protocol):
    """The database of a worker, and the test that runs in it."""

    @property
    def tested(self) -> IsolationName | None:
        """How the running test is isolated; None between two tests."""

    def part(self) -> None:
        """Give the test a database of its own, if it is to have one and has not."""

    def commit(self, *, really: bool) -> None:
        """Let connections that wider fixtures take commit for real, or not any more."""

    async def disconnect(self) -> None:
        """Close what is connected on the running loop: the database is about to be replaced."""

    def changed(self) -> None:
        """Learn that the database is another, or has other rows to begin with."""


class DataLayers:
    """The data layers of one database."""

    def __init__(self, tested: Tested, states: States, pools: Pools, rollback: Rollback) -> None:
        """Write nothing yet."""
        self._tested = tested
        self._states = states
        self._pools = pools
        self._rollback = rollback
        self._writing: tuple[AsyncSession, asyncio.AbstractEventLoop] | None = None
        """The session in which one is being written, and its event loop."""

    def begin(self, sessions: async_sessionmaker[AsyncSession]) -> DataLayer:
        """Undo at the end what is done inside: see the fixture `db_layer`."""
        return DataLayer(self._entered(sessions))

    @contextlib.asynccontextmanager
    async def _entered(
        self, sessions: async_sessionmaker[AsyncSession]
    ) -> AsyncIterator[AsyncSession]:
        session = sessions(expire_on_commit=False)
        if self._tested.tested is None:
            layer = self._beneath_tests(session)
        elif self._tested.tested == "rollback":
            layer = self._rollback.layer()
        else:
            layer = self._in_committed_test()
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
        await self._tested.disconnect()
        self._states.push()
        self._tested.changed()
        self._tested.commit(really=True)
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
        self._tested.part()
        self._check_unused("begins")
        await self._tested.disconnect()
        self._states.remember()
        try:
            yield
            self._check_unused("ends")
        finally:
            await self._tested.disconnect()
            self._states.recall()

    def seal(self) -> None:
        """Commit the layer that has been written, if one has: its fixture has paused.

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
        await self._tested.disconnect()
        self._tested.changed()
        self._tested.commit(really=False)

    def _check_unused(self, moment: str) -> None:
        used = self._pools.in_use
        if used:
            raise DataLayerError(
                f"a data layer {moment} ({caller()}) while connections are in use: {used}. Close "
                f"the sessions that are open; what they have not committed would be lost."
            )


class DataLayer(AbstractAsyncContextManager["AsyncSession"]):
    """What `db_layer()` returns, which tells synchronous code how to have one."""

    def __init__(self, layer: AbstractAsyncContextManager[AsyncSession]) -> None:
        """Begin nothing yet."""
        self._layer = layer

    async def __aenter__(self) -> AsyncSession:
        return await self._layer.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._layer.__aexit__(kind, error, traceback)

    def __enter__(self) -> NoReturn:
        raise DataLayerError(
            "`with db_layer()` was used in synchronous code, and a data layer is written by an "
            "AsyncSession. Write `async with db_layer() as session` in an `async def` fixture of "
            "class, module or session scope: synchronous tests (db_sync) of that scope begin with "
            "its rows too."
        )

    def __exit__(self, *_: object) -> NoReturn:
        raise NotImplementedError  # never entered
