"""What stands between synchronous code and its worker's database: the engine on psycopg."""

from __future__ import annotations

import contextlib
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from ..errors import DBTestingError, FixtureError

try:
    import psycopg
except ImportError as error:
    raise FixtureError(
        f"synchronous code (db_sync, db_sync_engine) uses psycopg 3, which cannot be imported "
        f'({error}). Install it: pip install "db-testing[sync]".'
    ) from error

from .._sandbox._blockers import Blockers
from .._sandbox._psycopg import VirtualConnection
from .._sandbox._psycopg_wire import PsycopgWire
from .._sandbox._sandbox import Sandbox
from .._sandbox._threads import Step, Threads
from .._server._admin import Patience, connect, url_for
from .._template._clones import LOCK_TIMEOUT
from ._pool import has_listeners_of_its_own
from ._psycopg_real import RealConnections

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from sqlalchemy.engine import URL, Dialect, Engine

    from .._sandbox._runtime import Wire
    from .._sandbox._wires import DatabaseState
    from .._server._budget import Budget
    from .._settings import IsolationName
    from ..errors import SandboxError
    from ._checkouts import Checkouts


T = TypeVar("T")

PAUSE: Final = 0.05
"""Seconds between two attempts to connect."""


class Synchronous:
    """The engine of synchronous code, and the beginning and end of each test that uses it."""

    def __init__(
        self,
        url: URL,
        state: DatabaseState,
        admit: Callable[[], str | None],
        checkouts: Checkouts,
        *,
        part: Callable[[], None],
        budget: Budget,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Connect to nothing yet. The URL is asyncpg's. `part` comes before real connections.

        `loop` is that of a thread of ours, where it is found out for whom a statement waits.
        """
        self._part = part
        self._budget = budget
        self._patience = Patience()
        self._url = url_for("psycopg", url)
        self._threads = Threads()
        self._sandbox = Sandbox(
            self._open,
            runtime=self._threads,
            state=state,
            admit=admit,
            blockers=lambda pid: Blockers(lambda: connect(url), pid, loop),
        )
        self._kind: IsolationName = "rollback"
        self._real = RealConnections()
        self._closing: list[Callable[[], None]] = []
        self.engine: Engine = create_engine(
            self._url,
            creator=lambda: self.connect(self.engine.dialect),
            poolclass=QueuePool,
            pool_size=0,  # no limit: nobody waits for a connection that a test has lost
        )
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        """Those whose pools hold connections of this database."""
        self._checkouts = checkouts
        self.serve(self.engine)

    def serve(self, engine: Engine) -> None:
        """Note that an engine holds connections of this database."""
        if engine not in self._engines:
            self._engines.add(engine)
            self._checkouts.watch(engine)

    def connect(self, dialect: Dialect) -> psycopg.Connection[Any]:
        """Return a new connection of the driver, virtual or real, for an engine of a dialect.

        It says how values are adapted, as by functions for JSON of the application's own.
        """
        options = self._options(dialect)
        if self._kind == "rollback":
            return VirtualConnection(self._sandbox, self._threads, options.get("context"))
        self._part()
        return self._patiently(lambda: self._real.connect(options))

    def _patiently(self, connect: Callable[[], T]) -> T:
        """Connect, waiting for a server that has as many connections as it allows."""
        with self._patience.lent(vain=DBTestingError) as patience:
            deadline = time.monotonic() + patience
            while True:
                try:
                    return connect()
                except psycopg.OperationalError as error:
                    # All that libpq has of the reason is its text, perhaps not in English.
                    full = self._budget.exhausted()
                    if full is None:
                        raise
                    if time.monotonic() > deadline:
                        raise full from error
                time.sleep(PAUSE)  # nothing tells that one has become free

    def _options(self, dialect: Dialect) -> dict[str, Any]:
        """Translate the URL into the arguments of `psycopg.connect`."""
        _, options = dialect.create_connect_args(self._url)
        own = {
            "connect_timeout": 15,
            "hostaddr": "",  # or PGHOSTADDR, which asyncpg does not know, would lead elsewhere
            "options": f"-c lock_timeout={LOCK_TIMEOUT}",
        }
        return own | dict(options)

    async def _open(self) -> Wire:
        options = self._options(self.engine.dialect)
        return cast("Wire", await Step(lambda: self._patiently(lambda: PsycopgWire(options))))

    def begin(self, test: str, kind: IsolationName) -> None:
        """Let what follows belong to a test, isolated in one way or the other."""
        self._change_to(kind)
        if kind == "rollback":  # else a connection that a wider fixture holds may only read
            self._sandbox.begin_test(test)

    def rest(self) -> None:
        """Let what fixtures of wider scope do between two tests be rolled back."""
        self._change_to("rollback")

    def _change_to(self, kind: IsolationName) -> None:
        if kind != self._kind:
            self._forget_pools()
            self._kind = kind

    @property
    def sandbox(self) -> Sandbox:
        """What virtual connections lead to."""
        return self._sandbox

    def at_end(self, close: Callable[[], None]) -> None:
        """Close something when the test is over."""
        self._closing.append(close)

    @property
    def failure(self) -> SandboxError | None:
        """What rollback isolation could not do for the test."""
        return self._sandbox.failure if self._kind == "rollback" else None

    def end(self) -> tuple[bool, bool]:
        """Undo the test; tell whether it used the database, and whether that must be replaced."""
        used = self._sandbox.used or bool(self._real)
        # In this order closing a session that holds a transaction sends nothing.
        self._threads.drive(self._sandbox.end_test())
        closing, self._closing = self._closing, []
        for close in closing:
            with contextlib.suppress(DBAPIError, psycopg.Error):  # ended by the test itself
                close()
        if not self._real:
            if used:
                # What listeners do to a new connection, such as SET, has been undone with the test.
                self._forget_pools(lambda engine: has_listeners_of_its_own(engine.pool))
            return used, self._sandbox.committed
        spare = self._budget.spare if self._kind == "commit" else 0
        for connection in self._real.end(keep=spare):
            self._checkouts.ending(connection)
        self._forget_pools()
        return used, True

    def _forget_pools(self, which: Callable[[Engine], bool] = lambda _: True) -> None:
        """Empty the pools: virtual connections need no closing, and real ones have been closed."""
        for engine in filter(which, list(self._engines)):
            engine.dispose(close=False)

    @property
    def processes(self) -> list[int]:
        """The server processes of real connections that are as new for the next test."""
        return self._real.processes

    def disconnect(self) -> None:
        """Close the real connections, also that beneath virtual ones."""
        self._forget_pools()
        self._real.close()
        self._threads.drive(self._sandbox.close())
