"""Virtual connections: asyncpg's connection interface over the sandbox.

Only the interface is here. Which statement may run when, and what a commit means, is the
sandbox's; everything that reaches the server goes through :meth:`VirtualConnection.run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TypeVar

import asyncpg
from asyncpg.connection import _ConnectionProxy
from asyncpg.transaction import ISOLATION_LEVELS

from . import _statements
from ._wire import Codec

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Generator,
        Iterable,
        Iterator,
        Sequence,
    )

    from asyncpg.cursor import Cursor
    from asyncpg.prepared_stmt import PreparedStatement

    from ._sandbox import Sandbox
    from ._wire import Codecs, Transaction, Wire

T = TypeVar("T")

_LEVELS: Final = (None, "read_committed", "read_uncommitted")


class VirtualConnection(_ConnectionProxy):
    """What the application takes for an asyncpg connection.

    asyncpg's own base of connection proxies makes `isinstance(connection, asyncpg.Connection)`
    true.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._transaction: Transaction | None = None
        self._codecs: Codecs = {}
        # Sets that keep their order.
        self._log_listeners: dict[Callable[..., Any], None] = {}
        self._query_loggers: dict[Callable[..., Any], None] = {}
        self._termination_listeners: dict[Callable[..., Any], None] = {}
        self._savepoints = 0
        self._busy = False
        self._closed = False

    @property
    def generation(self) -> int:
        """Changes when nothing that was prepared before may be used."""
        return self._sandbox.generation

    def __repr__(self) -> str:
        return f"<VirtualConnection {id(self):#x} {'closed' if self._closed else 'open'}>"

    # ------------------------------------------------------------------ statements

    async def run(
        self,
        sql: str,
        operation: Callable[[Wire], Awaitable[T]],
        args: Sequence[Any] = (),
        *,
        cursor: bool = False,
    ) -> T:
        with self._exclusively():
            if self._log_listeners or self._query_loggers:
                operation = self._overheard(operation)
            if self._transaction is None:
                return await self._sandbox.statement(sql, operation, args=args, codecs=self._codecs)
            return await self._sandbox.run(
                self._transaction, sql, operation, args=args, cursor=cursor
            )

    def _overheard(
        self, operation: Callable[[Wire], Awaitable[T]]
    ) -> Callable[[Wire], Awaitable[T]]:
        """Let this connection's listeners hear one operation of the wire that others share."""

        def relay(_: Any, message: Any) -> None:
            for callback in self._log_listeners:
                _call(callback, self, message)

        async def overheard(wire: Wire) -> T:
            loggers = list(self._query_loggers)
            wire.add_log_listener(relay)
            for logger in loggers:
                wire.add_query_logger(logger)
            try:
                return await operation(wire)
            finally:
                wire.remove_log_listener(relay)
                for logger in loggers:
                    wire.remove_query_logger(logger)

        return overheard

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Refuse a second operation at a time, as the protocol of a real connection does."""
        self._check_open()
        if self._busy:
            message = "cannot perform operation: another operation is in progress"
            raise asyncpg.InterfaceError(message)
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        self._check_open()
        control = _statements.control(query)
        if control is not None:
            return self.steer(control)
        return await self.run(query, lambda wire: wire.execute(query, *args, timeout=timeout), args)

    async def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        await self.run(command, lambda wire: wire.executemany(command, args, timeout=timeout))

    async def fetch(self, query: str, *args: Any, **options: Any) -> list[Any]:
        if self._steered(query):
            return []
        return await self.run(query, lambda wire: wire.fetch(query, *args, **options), args)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        if self._steered(query):
            return None
        return await self.run(query, lambda wire: wire.fetchval(query, *args, **options), args)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        if self._steered(query):
            return None
        return await self.run(query, lambda wire: wire.fetchrow(query, *args, **options), args)

    def _steered(self, query: str) -> bool:
        """Obey a statement that steers a transaction, whose result has no rows."""
        self._check_open()
        control = _statements.control(query)
        if control is not None:
            self.steer(control)
        return control is not None

    async def fetchmany(self, query: str, args: Iterable[Sequence[Any]], **options: Any) -> Any:
        return await self.run(query, lambda wire: wire.fetchmany(query, args, **options))

    async def prepare(
        self, query: str, *, name: str | None = None, **options: Any
    ) -> VirtualStatement:
        self._check_open()
        control = _statements.control(query)
        if control is not None:
            return ControlStatement(self, query, control)
        statement = VirtualStatement(self, query, {"name": name, **options})
        await statement.prepare()
        return statement

    def cursor(self, query: str, *args: Any, **options: Any) -> VirtualCursorFactory:
        self._check_open()
        prefetch = options.pop("prefetch", None)

        async def make(wire: Wire) -> Any:
            return await wire.cursor(query, *args, **options)

        return VirtualCursorFactory(self, query, make, args, prefetch)

    async def copy_from_table(self, table_name: str, **options: Any) -> str:
        return await self.run("TABLE", lambda wire: wire.copy_from_table(table_name, **options))

    async def copy_from_query(self, query: str, *args: Any, **options: Any) -> str:
        return await self.run(query, lambda wire: wire.copy_from_query(query, *args, **options))

    async def copy_to_table(self, table_name: str, **options: Any) -> str:
        return await self.run("COPY", lambda wire: wire.copy_to_table(table_name, **options))

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        return await self.run(
            "COPY", lambda wire: wire.copy_records_to_table(table_name, **options)
        )

    # ------------------------------------------------------------------ transactions

    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False
    ) -> VirtualTransaction:
        self._check_open()
        if isolation and isolation not in ISOLATION_LEVELS:
            message = f"isolation is expected to be either of {ISOLATION_LEVELS}, got {isolation!r}"
            raise ValueError(message)
        if isolation not in _LEVELS:
            raise self._sandbox.refuse(
                f"transaction(isolation={isolation!r})",
                "asks for a level that the outer transaction, READ COMMITTED, does not have",
            )
        del deferrable  # means nothing below SERIALIZABLE
        return VirtualTransaction(self, readonly=readonly)

    def is_in_transaction(self) -> bool:
        return self._transaction is not None

    @property
    def current_transaction(self) -> Transaction | None:
        return self._transaction

    def begin(self, *, readonly: bool) -> str | None:
        """Begin a transaction, or in one a savepoint, whose name is returned."""
        with self._exclusively():
            if self._transaction is None:
                self._transaction = self._sandbox.begin(readonly=readonly, codecs=self._codecs)
                return None
            self._savepoints += 1
            name = f"__asyncpg_savepoint_{self._savepoints:x}__"
            self._sandbox.savepoint(self._transaction, name)
            return name

    async def end(self, *, keep: bool) -> None:
        with self._exclusively():
            transaction, self._transaction = self._transaction, None
            if transaction is None:
                return  # ended by hand: to a server COMMIT is no error then
            if keep:
                await self._sandbox.commit(transaction)
            else:
                self._sandbox.rollback(transaction)

    def end_savepoint(self, name: str, *, keep: bool) -> None:
        self.steer(_statements.Control("release" if keep else "rollback_to", name))

    def steer(self, control: _statements.Control) -> str:
        if control.kind == "boundary":
            raise self._sandbox.refuse(
                control.name, "would end the outer transaction that is to be rolled back"
            )
        if control.kind == "script":
            raise self._sandbox.refuse(
                f"savepoint {control.name}",
                "is steered in a script, of which the sandbox sees no step; send its statements "
                "one by one",
            )
        with self._exclusively():
            if self._transaction is None:
                raise _no_block(control.kind.replace("_", " ").upper())
            match control.kind:
                case "savepoint":
                    self._sandbox.savepoint(self._transaction, control.name)
                    return "SAVEPOINT"
                case "release":
                    self._sandbox.release(self._transaction, control.name)
                    return "RELEASE"
                case "rollback_to":
                    self._sandbox.rollback_to(self._transaction, control.name)
                    return "ROLLBACK"

    # ------------------------------------------------------------------ the session

    async def set_type_codec(
        self, typename: str, *, schema: str = "public", **options: Any
    ) -> None:
        await self._set_codec(Codec("set_type_codec", typename, schema, options))

    async def set_builtin_type_codec(
        self, typename: str, *, schema: str = "public", **options: Any
    ) -> None:
        await self._set_codec(Codec("set_builtin_type_codec", typename, schema, options))

    async def _set_codec(self, codec: Codec) -> None:
        with self._exclusively():
            await self._sandbox.set_codec(self._codecs, codec)

    async def reset_type_codec(self, typename: str, *, schema: str = "public") -> None:
        self._check_open()
        self._codecs.pop((typename, schema), None)

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
        raise self._sandbox.refuse(f"LISTEN {channel}", "is delivered at a commit")

    async def remove_listener(self, channel: str, callback: Callable[..., Any]) -> None:
        """Do nothing, as asyncpg does for a listener that was never added."""

    def add_log_listener(self, callback: Callable[..., Any]) -> None:
        self._check_open()
        self._log_listeners[callback] = None

    def remove_log_listener(self, callback: Callable[..., Any]) -> None:
        self._log_listeners.pop(callback, None)

    def add_query_logger(self, callback: Callable[..., Any]) -> None:
        self._query_loggers[callback] = None

    def remove_query_logger(self, callback: Callable[..., Any]) -> None:
        self._query_loggers.pop(callback, None)

    @contextlib.contextmanager
    def query_logger(self, callback: Callable[..., Any]) -> Iterator[None]:
        self.add_query_logger(callback)
        try:
            yield
        finally:
            self.remove_query_logger(callback)

    def add_termination_listener(self, callback: Callable[..., Any]) -> None:
        self._termination_listeners[callback] = None

    def remove_termination_listener(self, callback: Callable[..., Any]) -> None:
        self._termination_listeners.pop(callback, None)

    def get_reset_query(self) -> str:
        return self._sandbox.connected().get_reset_query()

    async def reset(self, *, timeout: float | None = None) -> NoReturn:
        del timeout
        raise self._sandbox.refuse(
            "Connection.reset()", "would reset the session that the test shares"
        )

    # ------------------------------------------------------------------ the end

    def is_closed(self) -> bool:
        return self._closed

    async def close(self, *, timeout: float | None = None) -> None:
        del timeout
        self.terminate()

    def terminate(self) -> None:
        self._closed = True
        listeners, self._termination_listeners = self._termination_listeners, {}
        for callback in listeners:
            _call(callback, self)
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            self._sandbox.rollback(transaction)

    def _check_open(self) -> None:
        if self._closed:
            message = "connection is closed"
            raise asyncpg.InterfaceError(message)


def _call(callback: Callable[..., Any], *args: Any) -> None:
    """Call a listener soon, as asyncpg does, be it a function or a coroutine function."""
    loop = asyncio.get_running_loop()
    if inspect.iscoroutinefunction(callback):
        task = loop.create_task(callback(*args))
        _LISTENING.add(task)
        task.add_done_callback(_LISTENING.discard)
    else:
        loop.call_soon(callback, *args)


_LISTENING: Final[set[asyncio.Task[Any]]] = set()
"""Listeners that run; the loop itself holds its tasks weakly."""


def _no_block(words: str) -> asyncpg.NoActiveSQLTransactionError:
    words = {"RELEASE": "RELEASE SAVEPOINT", "ROLLBACK TO": "ROLLBACK TO SAVEPOINT"}.get(
        words, words
    )
    return asyncpg.NoActiveSQLTransactionError(f"{words} can only be used in transaction blocks")


class _Resource:
    """Something of a connection, which is of no use once that is closed."""

    real_name: ClassVar[str]

    def __init__(self, connection: VirtualConnection) -> None:
        self._connection = connection

    def _check_connection(self, method: str) -> None:
        if self._connection.is_closed():
            message = (
                f"cannot call {self.real_name}.{method}(): the underlying connection is closed"
            )
            raise asyncpg.InterfaceError(message)


class VirtualTransaction(_Resource):
    """asyncpg's transaction block: the outermost begins a transaction, others are savepoints."""

    real_name = "Transaction"

    def __init__(self, connection: VirtualConnection, *, readonly: bool) -> None:
        super().__init__(connection)
        self._readonly = readonly
        self._savepoint: str | None = None
        self._state = "new"
        self._managed = False

    async def start(self) -> None:
        self._check_connection("start")
        if self._state != "new":
            raise self._misused("start")
        self._state = "in error state"
        self._savepoint = self._connection.begin(readonly=self._readonly)
        self._state = "started"

    async def commit(self) -> None:
        self._check_connection("commit")
        self._check_unmanaged("commit")
        await self._finish(keep=True)

    async def rollback(self) -> None:
        self._check_connection("rollback")
        self._check_unmanaged("rollback")
        await self._finish(keep=False)

    async def _finish(self, *, keep: bool) -> None:
        if self._state != "started":
            raise self._misused("commit" if keep else "rollback")
        self._state = "in error state"
        if self._savepoint is None:
            await self._connection.end(keep=keep)
        else:
            self._connection.end_savepoint(self._savepoint, keep=keep)
        self._state = "committed" if keep else "rolled back"

    def _misused(self, verb: str) -> asyncpg.InterfaceError:
        state = {
            "new": "is not yet started",
            "in error state": "is in error state",
        }.get(self._state, f"is already {self._state}")
        return asyncpg.InterfaceError(f"cannot {verb}; the transaction {state}")

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
            self._check_connection("__aexit__")
        except asyncpg.InterfaceError:
            if kind is GeneratorExit:
                return  # whoever closed the connection has rolled back, as asyncpg has it
            raise
        try:
            await self._finish(keep=kind is None)
        finally:
            self._managed = False


class VirtualStatement(_Resource):
    """A prepared statement, prepared again when what is beneath has been replaced."""

    real_name = "PreparedStatement"

    def __init__(self, connection: VirtualConnection, query: str, options: dict[str, Any]) -> None:
        super().__init__(connection)
        self._query = query
        self._options = options
        self._real: PreparedStatement[Any] | None = None
        self._prepared_on: tuple[Wire, int] | None = None

    async def prepare(self) -> None:
        await self._connection.run(self._query, self._ensure)

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
    ) -> T:
        async def on(wire: Wire) -> T:
            return await operation(await self._ensure(wire))

        self._check_connection(method)
        return await self._connection.run(self._query, on, args)

    async def fetch(self, *args: Any, timeout: float | None = None) -> list[Any]:
        return await self._run("fetch", lambda real: real.fetch(*args, timeout=timeout), args)

    async def fetchval(self, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        return await self._run(
            "fetchval", lambda real: real.fetchval(*args, column=column, timeout=timeout), args
        )

    async def fetchrow(self, *args: Any, timeout: float | None = None) -> Any:
        return await self._run("fetchrow", lambda real: real.fetchrow(*args, timeout=timeout), args)

    async def fetchmany(self, args: Iterable[Sequence[Any]], **options: Any) -> Any:
        return await self._run("fetchmany", lambda real: real.fetchmany(args, **options))

    async def executemany(self, args: Iterable[Sequence[Any]], **options: Any) -> None:
        await self._run("executemany", lambda real: real.executemany(args, **options))

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
        prefetch = options.pop("prefetch", None)

        async def make(wire: Wire) -> Any:
            return await (await self._ensure(wire)).cursor(*args, **options)

        return VirtualCursorFactory(self._connection, self._query, make, args, prefetch)

    def get_name(self) -> str:
        self._check_connection("get_name")
        return self._prepared.get_name()

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

    def __init__(
        self, connection: VirtualConnection, query: str, control: _statements.Control
    ) -> None:
        super().__init__(connection, query, {})
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


class VirtualCursorFactory(_Resource):
    """A cursor: awaited for one that is moved by hand, iterated for rows."""

    real_name = "CursorFactory"

    def __init__(
        self,
        connection: VirtualConnection,
        query: str,
        make: Callable[[Wire], Awaitable[Any]],
        args: Sequence[Any],
        prefetch: int | None,
    ) -> None:
        super().__init__(connection)
        self._query = query
        self._make = make
        self._args = args
        self._prefetch = prefetch

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
        real = await self._connection.run(self._query, self._make, self._args, cursor=True)
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
        while rows := await cursor.fetch(rows_at_once):
            for row in rows:
                yield row


def _no_transaction_for_cursor() -> asyncpg.NoActiveSQLTransactionError:
    return asyncpg.NoActiveSQLTransactionError("cursor cannot be created outside of a transaction")


class VirtualCursor(_Resource):
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

    async def _run(self, method: str, operation: Callable[[Cursor[Any]], Awaitable[T]]) -> T:
        self._check_connection(method)
        current = self._connection.current_transaction
        if current is None:
            raise _no_transaction_for_cursor()
        if current is not self._transaction:
            message = "the cursor's portal does not exist: its transaction has ended"
            raise asyncpg.InvalidCursorNameError(message)
        return await self._connection.run(self._query, lambda _: operation(self._real))

    async def fetch(self, n: int, *, timeout: float | None = None) -> list[Any]:
        return await self._run("fetch", lambda real: real.fetch(n, timeout=timeout))

    async def fetchrow(self, *, timeout: float | None = None) -> Any:
        return await self._run("fetchrow", lambda real: real.fetchrow(timeout=timeout))

    async def forward(self, n: int, *, timeout: float | None = None) -> int:
        return await self._run("forward", lambda real: real.forward(n, timeout=timeout))
