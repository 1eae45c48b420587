"""Cursors of a virtual connection of asyncpg."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from ._virtual_resource import Resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence

    from asyncpg.cursor import Cursor

    from ._runtime import Wire
    from ._transaction import Transaction
    from ._virtual import VirtualConnection

T = TypeVar("T")


class VirtualCursorFactory(Resource):
    """A cursor: awaited for one that is moved by hand, iterated for rows."""

    real_name = "CursorFactory"

    def __init__(
        self,
        connection: VirtualConnection,
        query: str,
        make: Callable[[Wire], Awaitable[Any]],
        args: Sequence[Any],
        prefetch: int | None,
        *,
        timeout: float | None,
    ) -> None:
        super().__init__(connection)
        self._query = query
        self._make = make
        self._args = args
        self._prefetch = prefetch
        self._timeout = timeout

    def __await__(self) -> Generator[Any, Any, VirtualCursor]:
        self._check_connection("__await__")
        if self._prefetch is not None:
            message = "prefetch argument can only be specified for iterable cursor"
            raise asyncpg.InterfaceError(message)
        return self._open().__await__()

    async def _open(self) -> VirtualCursor:
        transaction = self._connection.current_transaction
        if transaction is None:
            raise _no_transaction_for_cursor()
        real = await self._connection.run(
            self._query, self._make, self._args, cursor=True, timeout=self._timeout
        )
        transaction.endings |= {("cursor", real._portal_name)}  # noqa: SLF001  # nothing tells it
        return VirtualCursor(self._connection, transaction, self._query, real)

    def __aiter__(self) -> AsyncIterator[Any]:
        self._check_connection("__aiter__")
        return self._rows()

    async def _rows(self) -> AsyncIterator[Any]:
        rows_at_once = 50 if self._prefetch is None else self._prefetch  # asyncpg's default
        if rows_at_once <= 0:
            message = "prefetch argument must be greater than zero"
            raise asyncpg.InterfaceError(message)
        cursor = await self._open()
        while rows := await cursor.fetch(rows_at_once, timeout=self._timeout):
            for row in rows:
                yield row


def _no_transaction_for_cursor() -> asyncpg.NoActiveSQLTransactionError:
    return asyncpg.NoActiveSQLTransactionError("cursor cannot be created outside of a transaction")


class VirtualCursor(Resource):
    """An open cursor."""

    real_name = "Cursor"

    def __init__(
        self,
        connection: VirtualConnection,
        transaction: Transaction,
        query: str,
        real: Cursor[Any],
    ) -> None:
        super().__init__(connection)
        self._transaction = transaction
        self._query = query
        self._real = real

    async def _run(
        self,
        method: str,
        operation: Callable[[Cursor[Any]], Awaitable[T]],
        timeout: float | None,
    ) -> T:
        self._check_connection(method)
        current = self._connection.current_transaction
        if current is None:
            raise _no_transaction_for_cursor()
        if current is not self._transaction:
            message = "the cursor's portal does not exist: its transaction has ended"
            raise asyncpg.InvalidCursorNameError(message)
        return await self._connection.run(
            self._query, lambda _: operation(self._real), timeout=timeout
        )

    async def fetch(self, n: int, *, timeout: float | None = None) -> list[Any]:
        return await self._run("fetch", lambda real: real.fetch(n), timeout)

    async def fetchrow(self, *, timeout: float | None = None) -> Any:
        return await self._run("fetchrow", lambda real: real.fetchrow(), timeout)

    async def forward(self, n: int, *, timeout: float | None = None) -> int:
        return await self._run("forward", lambda real: real.forward(n), timeout)
