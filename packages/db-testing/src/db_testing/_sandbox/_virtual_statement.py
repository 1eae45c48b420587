"""Prepared statements of a virtual connection of asyncpg."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from .._statements._setting_statements import args_of_many
from ._virtual_cursor import VirtualCursorFactory
from ._virtual_resource import Resource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from asyncpg.prepared_stmt import PreparedStatement

    from .._statements._statements import Control
    from ._runtime import Wire
    from ._virtual import VirtualConnection

T = TypeVar("T")


class VirtualStatement(Resource):
    """A prepared statement, prepared again when what is beneath has been replaced.

    On a server each connection has names of its own, and they end with it. Here all connections of
    all tests are one, so the name is known to the statement only, and the driver chooses another.
    """

    real_name = "PreparedStatement"

    def __init__(
        self,
        connection: VirtualConnection,
        query: str,
        name: str | None,
        options: dict[str, Any],
    ) -> None:
        super().__init__(connection)
        self._query = query
        self._name = name
        self._options = options
        self._real: PreparedStatement[Any] | None = None
        self._prepared_on: tuple[Wire, int] | None = None

    async def prepare(self, timeout: float | None = None) -> None:
        await self._connection.run(self._query, self._ensure, timeout=timeout)

    async def _ensure(self, wire: Wire) -> PreparedStatement[Any]:
        current = (wire, self._connection.generation)
        if self._real is None or self._prepared_on != current:
            self._real = None
            self._real = await wire.prepare(self._query, **self._options)
            self._prepared_on = current
        return self._real

    @property
    def _prepared(self) -> PreparedStatement[Any]:
        assert self._real is not None  # noqa: S101  # prepare() has returned
        return self._real

    async def _run(
        self,
        method: str,
        operation: Callable[[PreparedStatement[Any]], Awaitable[T]],
        args: Sequence[Any] = (),
        timeout: float | None = None,
    ) -> T:
        async def on(wire: Wire) -> T:
            return await operation(await self._ensure(wire))

        self._check_connection(method)
        return await self._connection.run(self._query, on, args, timeout=timeout)

    async def fetch(self, *args: Any, timeout: float | None = None) -> list[Any]:
        return await self._run("fetch", lambda real: real.fetch(*args), args, timeout)

    async def fetchval(self, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        return await self._run(
            "fetchval", lambda real: real.fetchval(*args, column=column), args, timeout
        )

    async def fetchrow(self, *args: Any, timeout: float | None = None) -> Any:
        return await self._run("fetchrow", lambda real: real.fetchrow(*args), args, timeout)

    async def fetchmany(
        self, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> Any:
        rows = args_of_many(self._query, args)
        return await self._run("fetchmany", lambda real: real.fetchmany(rows), rows, timeout)

    async def executemany(
        self, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        rows = args_of_many(self._query, args)
        await self._run("executemany", lambda real: real.executemany(rows), rows, timeout)

    async def explain(self, *args: Any, analyze: bool = False) -> Any:
        self._check_connection("explain")
        if not analyze:
            plan = await self._connection.fetchval(
                f"EXPLAIN (FORMAT JSON, VERBOSE) {self._query}", *args
            )
            return json.loads(plan)
        # Analysing runs the statement, and what it did is to be undone.
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            plan = await self._connection.fetchval(
                f"EXPLAIN (FORMAT JSON, VERBOSE, ANALYZE) {self._query}", *args
            )
        finally:
            await transaction.rollback()
        return json.loads(plan)

    def cursor(self, *args: Any, **options: Any) -> VirtualCursorFactory:
        self._check_connection("cursor")
        prefetch, timeout = options.pop("prefetch", None), options.pop("timeout", None)

        async def make(wire: Wire) -> Any:
            return await (await self._ensure(wire)).cursor(*args, **options)

        return VirtualCursorFactory(
            self._connection, self._query, make, args, prefetch, timeout=timeout
        )

    def get_name(self) -> str:
        self._check_connection("get_name")
        return self._prepared.get_name() if self._name is None else self._name

    def get_query(self) -> str:
        self._check_connection("get_query")
        return self._query

    def get_statusmsg(self) -> str | None:
        self._check_connection("get_statusmsg")
        return self._prepared.get_statusmsg()

    def get_parameters(self) -> Any:
        self._check_connection("get_parameters")
        return self._prepared.get_parameters()

    def get_attributes(self) -> Any:
        self._check_connection("get_attributes")
        return self._prepared.get_attributes()


class ControlStatement(VirtualStatement):
    """SAVEPOINT, RELEASE or ROLLBACK TO in raw SQL: SQLAlchemy prepares every statement."""

    def __init__(self, connection: VirtualConnection, query: str, control: Control) -> None:
        super().__init__(connection, query, None, {})
        self._control = control
        self._status: str | None = None

    async def fetch(self, *args: Any, timeout: float | None = None) -> list[Any]:
        del args, timeout
        self._check_connection("fetch")
        self._status = self._connection.steer(self._control)
        return []

    async def fetchval(self, *args: Any, column: int = 0, timeout: float | None = None) -> None:
        del column
        await self.fetch(*args, timeout=timeout)

    async def fetchrow(self, *args: Any, timeout: float | None = None) -> None:
        await self.fetch(*args, timeout=timeout)

    def get_statusmsg(self) -> str | None:
        return self._status

    def get_parameters(self) -> Any:
        return ()

    def get_attributes(self) -> Any:
        return ()
