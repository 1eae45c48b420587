"""Virtual connections: asyncpg's connection interface over the sandbox.

Only the interface is here. Which statement may run when, and what a commit means, is the
sandbox's; everything that reaches the server goes through :meth:`Sandbox.run` or
:meth:`Sandbox.statement`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import asyncpg
from asyncpg.connection import _ConnectionProxy

from . import _statements
from ._sandbox import MARKER, Codec, Sandbox, Transaction, caller
from .errors import SandboxRefusedError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Generator,
        Iterable,
        Sequence,
    )

    from asyncpg.cursor import Cursor
    from asyncpg.prepared_stmt import PreparedStatement

    from ._sandbox import Wire

T = TypeVar("T")

_LEVELS = (None, "read_committed", "read_uncommitted")


class VirtualConnection(_ConnectionProxy):
    """What the application takes for an asyncpg connection.

    asyncpg's own base of connection proxies makes `isinstance(connection, asyncpg.Connection)`
    true.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._transaction: Transaction | None = None
        self._top: VirtualTransaction | None = None
        self._savepoints = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<VirtualConnection {id(self):#x} {'closed' if self._closed else 'open'}>"

    # ------------------------------------------------------------------ statements

    async def _run(self, sql: str, operation: Callable[[Wire], Awaitable[T]]) -> T:
        self._check_open()
        if self._transaction is None:
            return await self._sandbox.statement(sql, operation)
        return await self._sandbox.run(self._transaction, sql, operation)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        self._check_open()
        control = _statements.control(query)
        if control is not None:
            return await self._steer(control)
        return await self._run(query, lambda wire: wire.execute(query, *args, timeout=timeout))

    async def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        await self._run(command, lambda wire: wire.executemany(command, args, timeout=timeout))

    async def fetch(self, query: str, *args: Any, **options: Any) -> list[Any]:
        return await self._run(query, lambda wire: wire.fetch(query, *args, **options))

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._run(query, lambda wire: wire.fetchval(query, *args, **options))

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._run(query, lambda wire: wire.fetchrow(query, *args, **options))

    async def fetchmany(self, query: str, args: Iterable[Sequence[Any]], **options: Any) -> Any:
        return await self._run(query, lambda wire: wire.fetchmany(query, args, **options))

    async def prepare(
        self, query: str, *, name: str | None = None, **options: Any
    ) -> VirtualStatement:
        self._check_open()
        control = _statements.control(query)
        if control is not None:
            return ControlStatement(self, query, control)
        statement = VirtualStatement(self, query, {"name": name, **options})
        await statement._prepare()  # noqa: SLF001  # the two classes are one interface
        return statement

    def cursor(self, query: str, *args: Any, **options: Any) -> VirtualCursorFactory:
        self._check_open()
        prefetch = options.pop("prefetch", None)
        return VirtualCursorFactory(
            self, query, lambda wire: wire.cursor(query, *args, **options), prefetch
        )

    async def copy_from_table(self, table_name: str, **options: Any) -> str:
        return await self._run("TABLE", lambda wire: wire.copy_from_table(table_name, **options))

    async def copy_from_query(self, query: str, *args: Any, **options: Any) -> str:
        return await self._run(query, lambda wire: wire.copy_from_query(query, *args, **options))

    async def copy_to_table(self, table_name: str, **options: Any) -> str:
        return await self._run("COPY", lambda wire: wire.copy_to_table(table_name, **options))

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        return await self._run(
            "COPY", lambda wire: wire.copy_records_to_table(table_name, **options)
        )

    # ------------------------------------------------------------------ transactions

    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False
    ) -> VirtualTransaction:
        self._check_open()
        if isolation not in _LEVELS or deferrable:
            wanted = f"isolation={isolation!r}, deferrable={deferrable}"
            raise SandboxRefusedError(
                f"a transaction with {wanted} was asked for at {caller()}. Rollback isolation runs "
                f"every transaction inside one of READ COMMITTED, whose level cannot change; add "
                f"{MARKER} to the test."
            )
        return VirtualTransaction(self, readonly=readonly)

    def is_in_transaction(self) -> bool:
        return self._transaction is not None

    async def _steer(self, control: _statements.Control) -> str:
        if control.kind == "boundary":
            raise self._sandbox.refuse_boundary(control.name)
        if self._transaction is None:
            words = control.kind.replace("_", " ").upper()
            message = f"{words} can only be used in transaction blocks"
            raise asyncpg.NoActiveSQLTransactionError(message)
        match control.kind:
            case "savepoint":
                await self._sandbox.savepoint(self._transaction, control.name)
                return "SAVEPOINT"
            case "release":
                await self._sandbox.release(self._transaction, control.name)
                return "RELEASE"
            case "rollback_to":
                await self._sandbox.rollback_to(self._transaction, control.name)
                return "ROLLBACK"

    # ------------------------------------------------------------------ the session

    async def set_type_codec(self, typename: str, **options: Any) -> None:
        await self._sandbox.set_codec(Codec("set_type_codec", typename, options))

    async def set_builtin_type_codec(self, typename: str, **options: Any) -> None:
        await self._sandbox.set_codec(Codec("set_builtin_type_codec", typename, options))

    async def reset_type_codec(self, typename: str, **options: Any) -> None:
        await self._sandbox.set_codec(Codec("reset_type_codec", typename, options))

    async def reload_schema_state(self) -> None:
        self._check_open()
        wire = (await self._sandbox.wire()).wire
        await wire.reload_schema_state()

    def get_server_version(self) -> Any:
        return self._sandbox.connected().get_server_version()

    def get_server_pid(self) -> int:
        return self._sandbox.connected().get_server_pid()

    def get_settings(self) -> Any:
        return self._sandbox.connected().get_settings()

    async def add_listener(self, channel: str, callback: Callable[..., Any]) -> NoReturn:
        del callback
        self._refuse(f"LISTEN {channel}", "notifications are delivered at a commit")

    async def remove_listener(self, channel: str, callback: Callable[..., Any]) -> None:
        """Do nothing, as asyncpg does for a listener that was never added."""

    async def reset(self, *, timeout: float | None = None) -> NoReturn:
        del timeout
        self._refuse("Connection.reset()", "it would reset the session that the test shares")

    def _refuse(self, what: str, why: str) -> NoReturn:
        message = f"{what} was called at {caller()}: {why}; add {MARKER} to the test."
        raise SandboxRefusedError(message)

    # ------------------------------------------------------------------ the end

    def is_closed(self) -> bool:
        return self._closed

    async def close(self, *, timeout: float | None = None) -> None:
        del timeout
        await self._leave()

    async def _leave(self) -> None:
        self._closed = True
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            await self._sandbox.rollback(transaction)

    def terminate(self) -> None:
        self._closed = True
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            self._sandbox.rollback_soon(transaction)

    def _check_open(self) -> None:
        if self._closed:
            message = "connection is closed"
            raise asyncpg.InterfaceError(message)


class VirtualTransaction:
    """asyncpg's transaction block: the outermost begins a transaction, others are savepoints."""

    def __init__(self, connection: VirtualConnection, *, readonly: bool) -> None:
        self._connection = connection
        self._readonly = readonly
        self._savepoint: str | None = None
        self._state = "new"
        self._managed = False

    async def start(self) -> None:
        if self._state != "new":
            message = f"cannot start; the transaction is already {self._state}"
            raise asyncpg.InterfaceError(message)
        connection = self._connection
        sandbox = connection._sandbox  # noqa: SLF001
        connection._check_open()  # noqa: SLF001
        if connection._transaction is None:  # noqa: SLF001
            connection._transaction = sandbox.begin(readonly=self._readonly)  # noqa: SLF001
        else:
            connection._savepoints += 1  # noqa: SLF001
            self._savepoint = f"__asyncpg_savepoint_{connection._savepoints:x}__"  # noqa: SLF001
            await sandbox.savepoint(connection._transaction, self._savepoint)  # noqa: SLF001
        self._state = "started"

    async def commit(self) -> None:
        self._check_unmanaged("commit")
        await self._finish(keep=True)

    async def rollback(self) -> None:
        self._check_unmanaged("rollback")
        await self._finish(keep=False)

    async def _finish(self, *, keep: bool) -> None:
        if self._state != "started":
            verb = "commit" if keep else "rollback"
            message = (
                f"cannot {verb}; the transaction is not yet started"
                if self._state == "new"
                else f"cannot {verb}; the transaction is already {self._state}"
            )
            raise asyncpg.InterfaceError(message)
        connection = self._connection
        sandbox, transaction = connection._sandbox, connection._transaction  # noqa: SLF001
        self._state = "in error state"
        if transaction is not None:
            if self._savepoint is None:
                connection._transaction = None  # noqa: SLF001
                await (sandbox.commit if keep else sandbox.rollback)(transaction)
            elif keep:
                await sandbox.release(transaction, self._savepoint)
            else:
                await sandbox.rollback_to(transaction, self._savepoint)
        self._state = "committed" if keep else "rolled back"

    def _check_unmanaged(self, verb: str) -> None:
        if self._managed:
            message = f"cannot manually {verb} from within an `async with` block"
            raise asyncpg.InterfaceError(message)

    async def __aenter__(self) -> None:
        if self._managed:
            message = "cannot enter context: already in an `async with` block"
            raise asyncpg.InterfaceError(message)
        self._managed = True
        await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            await self._finish(keep=kind is None)
        finally:
            self._managed = False


class VirtualStatement:
    """A prepared statement, prepared again when the connection beneath has been replaced."""

    def __init__(self, connection: VirtualConnection, query: str, options: dict[str, Any]) -> None:
        self._connection = connection
        self._query = query
        self._options = options
        self._wire: Wire | None = None
        self._real: PreparedStatement[Any] | None = None

    async def _prepare(self) -> None:
        await self._connection._run(self._query, self._ensure)  # noqa: SLF001

    async def _ensure(self, wire: Wire) -> PreparedStatement[Any]:
        if self._real is None or self._wire is not wire:
            self._real = await wire.prepare(self._query, **self._options)
            self._wire = wire
        return self._real

    @property
    def _prepared(self) -> PreparedStatement[Any]:
        assert self._real is not None  # noqa: S101  # prepare() has returned
        return self._real

    async def _run(self, operation: Callable[[PreparedStatement[Any]], Awaitable[T]]) -> T:
        async def on(wire: Wire) -> T:
            return await operation(await self._ensure(wire))

        return await self._connection._run(self._query, on)  # noqa: SLF001

    async def fetch(self, *args: Any, timeout: float | None = None) -> list[Any]:
        return await self._run(lambda real: real.fetch(*args, timeout=timeout))

    async def fetchval(self, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        return await self._run(lambda real: real.fetchval(*args, column=column, timeout=timeout))

    async def fetchrow(self, *args: Any, timeout: float | None = None) -> Any:
        return await self._run(lambda real: real.fetchrow(*args, timeout=timeout))

    async def fetchmany(self, args: Iterable[Sequence[Any]], **options: Any) -> Any:
        return await self._run(lambda real: real.fetchmany(args, **options))

    async def executemany(self, args: Iterable[Sequence[Any]], **options: Any) -> None:
        await self._run(lambda real: real.executemany(args, **options))

    async def explain(self, *args: Any, analyze: bool = False) -> Any:
        return await self._run(lambda real: real.explain(*args, analyze=analyze))

    def cursor(self, *args: Any, **options: Any) -> VirtualCursorFactory:
        prefetch = options.pop("prefetch", None)
        return VirtualCursorFactory(
            self._connection,
            self._query,
            lambda _: self._prepared.cursor(*args, **options),
            prefetch,
        )

    def get_name(self) -> str:
        return self._prepared.get_name()

    def get_query(self) -> str:
        return self._query

    def get_statusmsg(self) -> str | None:
        return self._prepared.get_statusmsg()

    def get_parameters(self) -> Any:
        return self._prepared.get_parameters()

    def get_attributes(self) -> Any:
        return self._prepared.get_attributes()


class ControlStatement(VirtualStatement):
    """SAVEPOINT, RELEASE or ROLLBACK TO in raw SQL: SQLAlchemy prepares every statement."""

    def __init__(
        self, connection: VirtualConnection, query: str, control: _statements.Control
    ) -> None:
        super().__init__(connection, query, {})
        self._control = control
        self._status: str | None = None

    async def fetch(self, *args: Any, timeout: float | None = None) -> list[Any]:
        del args, timeout
        self._status = await self._connection._steer(self._control)  # noqa: SLF001
        return []

    def get_statusmsg(self) -> str | None:
        return self._status

    def get_parameters(self) -> Any:
        return ()

    def get_attributes(self) -> Any:
        return ()


class VirtualCursorFactory:
    """A cursor: awaited for one that is moved by hand, iterated for rows."""

    def __init__(
        self,
        connection: VirtualConnection,
        query: str,
        make: Callable[[Wire], Any],
        prefetch: int | None,
    ) -> None:
        self._connection = connection
        self._query = query
        self._make = make
        self._prefetch = prefetch or 50  # asyncpg's default

    def __await__(self) -> Generator[Any, Any, VirtualCursor]:
        return self._open().__await__()

    async def _open(self) -> VirtualCursor:
        if not self._connection.is_in_transaction():
            message = "cursor cannot be created outside of a transaction"
            raise asyncpg.NoActiveSQLTransactionError(message)

        async def on(wire: Wire) -> Any:
            return await self._make(wire)

        real = await self._connection._run(self._query, on)  # noqa: SLF001
        return VirtualCursor(self._connection, self._query, real)

    async def __aiter__(self) -> AsyncIterator[Any]:
        cursor = await self._open()
        while rows := await cursor.fetch(self._prefetch):
            for row in rows:
                yield row


class VirtualCursor:
    """An open cursor."""

    def __init__(self, connection: VirtualConnection, query: str, real: Cursor[Any]) -> None:
        self._connection = connection
        self._query = query
        self._real = real

    async def _run(self, operation: Callable[[Cursor[Any]], Awaitable[T]]) -> T:
        return await self._connection._run(self._query, lambda _: operation(self._real))  # noqa: SLF001

    async def fetch(self, n: int, *, timeout: float | None = None) -> list[Any]:
        return await self._run(lambda real: real.fetch(n, timeout=timeout))

    async def fetchrow(self, *, timeout: float | None = None) -> Any:
        return await self._run(lambda real: real.fetchrow(timeout=timeout))

    async def forward(self, n: int, *, timeout: float | None = None) -> int:
        return await self._run(lambda real: real.forward(n, timeout=timeout))
