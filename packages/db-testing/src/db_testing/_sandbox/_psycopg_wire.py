"""A connection of psycopg, with as much of asyncpg's interface as the sandbox uses.

Its coroutines are for :class:`._threads.Threads` to drive.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

from ._threads import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.pq.abc import PGconn


class PsycopgWire:
    """The connection that a test's virtual connections share."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Connect, with arguments of `psycopg.connect`."""
        self._connection: psycopg.Connection[Row] = _Physical.connect(
            **options,
            autocommit=True,
            prepare_threshold=None,
            cursor_factory=psycopg.RawCursor,
            row_factory=_make_rows,
        )
        self.pgconn: PGconn = self._connection.pgconn
        self.cursors: dict[str, Any] = {}
        """By the names of the cursors that have been declared, the last transaction to do so."""
        self._cut = False

    def get_server_pid(self) -> int:
        """Return the server process's number."""
        return self.pgconn.backend_pid

    def get_server_version(self) -> asyncpg.ServerVersion:
        """Return the server's version, as asyncpg has it."""
        major, minor = divmod(self.pgconn.server_version, 10_000)
        return asyncpg.ServerVersion(major, minor, micro=0, releaselevel="final", serial=0)

    def is_closed(self) -> bool:
        """Tell whether the server can no longer be reached."""
        return self._cut or self.pgconn.status == ConnStatus.BAD

    def is_in_transaction(self) -> bool:
        """Tell whether the server has a transaction open."""
        return self.pgconn.transaction_status != TransactionStatus.IDLE

    async def execute(self, sql: str, *args: Any, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as asyncpg has it
        """Run statements whose results nobody reads; `timeout` is in seconds."""
        if args:
            await self.fetch(sql, *args)
        else:
            await Step(lambda: ask(self.pgconn, sql, timeout))

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        """Run one statement, with `$1` and so on for its arguments, and return its rows."""
        rows: list[Row] = await Step(lambda: self._fetch(sql, args))
        return rows

    def _fetch(self, sql: str, args: Sequence[Any]) -> list[Row]:
        cursor = self._connection.execute(sql, args or None)
        return cursor.fetchall() if cursor.description is not None else []

    async def reload_schema_state(self) -> None:
        """Do nothing: psycopg, which prepares nothing here, knows nothing of the schema."""

    def terminate(self) -> None:
        """Cut the connection, also while another thread waits for an answer on it."""
        if not self.is_closed():
            self._cut = True
            # Another thread may be inside libpq, so nothing is freed: it reads the end of the file.
            with socket.socket(fileno=os.dup(self.pgconn.socket)) as own:
                own.shutdown(socket.SHUT_RDWR)

    async def close(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as asyncpg has it
        """Say goodbye to the server."""
        del timeout  # nothing is waited for
        self._connection.close()


def ask(pgconn: PGconn, sql: str, timeout: float | None) -> None:
    """Run statements whose results nobody reads.

    Raises:
        TimeoutError: the server has not answered after as many seconds.
        psycopg.Error: it reports an error, or is gone.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pgconn.send_query(sql.encode())
    with selectors.DefaultSelector() as selector:
        selector.register(pgconn.socket, selectors.EVENT_READ)
        while pgconn.flush():
            _wait(selector, pgconn, selectors.EVENT_READ | selectors.EVENT_WRITE, deadline)
            pgconn.consume_input()
        failure = None
        while True:
            while pgconn.is_busy():
                _wait(selector, pgconn, selectors.EVENT_READ, deadline)
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                break
            if result.status == ExecStatus.FATAL_ERROR:
                failure = failure or psycopg.errors.error_from_result(result)
    if failure is not None:
        raise failure


def _wait(
    selector: selectors.BaseSelector, pgconn: PGconn, events: int, deadline: float | None
) -> None:
    selector.modify(pgconn.socket, events)
    if not selector.select(None if deadline is None else deadline - time.monotonic()):
        message = "the server did not answer in time"
        raise TimeoutError(message)


class _Physical(psycopg.Connection[Any]):
    """A connection that may be cut off, and then is freed by whoever lets go of it last."""

    def __del__(self, *_: Any) -> None:
        """Say nothing: psycopg would warn of what was cut off on purpose."""


class Row(tuple[Any, ...]):  # noqa: SLOT001  # has names
    """A row whose values have names too, as those of asyncpg."""

    names: Sequence[str]

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)


def _make_rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], Row]:
    names = [column.name for column in cursor.description or ()]

    def make(values: Sequence[Any]) -> Row:
        row = Row(values)
        row.names = names
        return row

    return make
