"""Real connections of psycopg for commit isolation, as new for each test without a new session.

What is kept is libpq's connection, made as new on the server. Each `psycopg.Connection` lives for
one test, so that whatever a test has set on one (adapters, handlers, autocommit) ends with it.
"""

from __future__ import annotations

import select
import threading
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.pq import PGconn, PipelineStatus, TransactionStatus

from .._sandbox._psycopg_wire import ask
from .._sandbox._threads import Threads
from ._real import PATIENCE, RESET

if TYPE_CHECKING:
    from psycopg import pq

LEFTOVER_PATIENCE: Final = 1.0
"""Seconds to wait for a statement that a thread still runs on a connection to be closed."""

_ENDED: Final = PGconn.connect_start(b"no connection")
"""What a connection has that no longer has any: libpq refuses the words."""


class RealConnection(psycopg.Connection[Any]):
    """A connection as `psycopg.connect()` returns it, on a session that may be an old one."""

    def __init__(self, pgconn: pq.abc.PGconn, adapters: AdaptersMap) -> None:
        super().__init__(pgconn)
        self._map = AdaptersMap(adapters)

    @property
    def adapters(self) -> AdaptersMap:
        """How values are adapted on this connection."""
        return self._map


class RealConnections:
    """The connections of one test, and the sessions that are ready for the next."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._open: list[RealConnection] = []
        self._ready: list[pq.abc.PGconn] = []
        self._taking = threading.Lock()

    def __bool__(self) -> bool:
        """Tell whether the test has opened any."""
        return bool(self._open)

    @property
    def processes(self) -> list[int]:
        """The server processes of sessions that are as new, and whose counters are known."""
        return [pgconn.backend_pid for pgconn in self._ready]

    def connect(self, options: dict[str, Any]) -> RealConnection:
        """Return a new connection, with arguments of `psycopg.connect()`."""
        context = options.get("context") or psycopg
        pgconn = self._next() or _take(psycopg.connect(**options))
        connection = RealConnection(pgconn, context.adapters)
        self._open.append(connection)
        return connection

    def _next(self) -> pq.abc.PGconn | None:
        with self._taking:
            while self._ready:
                pgconn = self._ready.pop()
                # Nothing was asked: what came is the server's farewell, or news of its settings.
                if not select.select([pgconn.socket], [], [], 0)[0]:
                    return pgconn
                pgconn.finish()
        return None

    def end(self, *, keep: int) -> list[RealConnection]:
        """End them all, and return those that had not been closed. Keep so many sessions."""
        ended, self._open = [each for each in self._open if not each.closed], []
        for connection in ended:
            pgconn = _take_in_time(connection)
            if pgconn is None:
                continue  # nothing is pulled from under that thread; it ends with the database
            if len(self._ready) < keep and _renewed(pgconn):
                self._ready.append(pgconn)
            else:
                pgconn.finish()
        return ended

    def close(self) -> None:
        """Close the sessions that are ready."""
        ready, self._ready = self._ready, []
        for pgconn in ready:
            pgconn.finish()


def _take_in_time(connection: psycopg.Connection[Any]) -> pq.abc.PGconn | None:
    """Take what is beneath a connection of which a thread may be in the middle of a statement."""
    if not connection.lock.acquire(timeout=LEFTOVER_PATIENCE):
        connection.cancel()
        if not connection.lock.acquire(timeout=LEFTOVER_PATIENCE):
            return None
    try:
        return _take(connection)
    finally:
        connection.lock.release()


def _take(connection: psycopg.Connection[Any]) -> pq.abc.PGconn:
    """Take what is beneath a connection, which then is closed."""
    pgconn, connection.pgconn = connection.pgconn, _ENDED
    connection.close()
    pgconn.notice_handler = pgconn.notify_handler = None
    return pgconn


def _renewed(pgconn: pq.abc.PGconn) -> bool:
    """Make a session as new; false if that cannot be done."""
    if (
        pgconn.transaction_status != TransactionStatus.IDLE
        or pgconn.pipeline_status != PipelineStatus.OFF
    ):
        return False
    try:
        ask(pgconn, f"DEALLOCATE ALL; {RESET}", PATIENCE)
    except Threads.wire_errors:
        return False  # the server or the test has ended it
    while pgconn.notifies():
        pass
    return True
