"""Virtual connections: asyncpg's connection interface over the sandbox.

Only the interface is here. Which statement may run when, and what a commit means, is the
sandbox's; everything that reaches the server goes through :meth:`VirtualConnection.run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import weakref
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import asyncpg
from asyncpg.connection import _ConnectionProxy
from asyncpg.transaction import ISOLATION_LEVELS

from .._statements import _statements
from .._statements._setting_statements import args_of_many
from . import _steering
from ._codecs import Codec
from ._virtual_cursor import VirtualCursorFactory
from ._virtual_listeners import Listeners
from ._virtual_statement import ControlStatement, VirtualStatement
from ._virtual_transaction import VirtualTransaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from ._codecs import Codecs
    from ._runtime import Wire
    from ._sandbox import Sandbox
    from ._transaction import Transaction

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
        self._listeners = Listeners()
        self._savepoints = 0
        self._prepared: weakref.WeakValueDictionary[tuple[int, str | None], VirtualStatement] = (
            weakref.WeakValueDictionary()
        )
        """By test and by the names that the program gave them."""
        self._busy = False
        self.closed = False

    @property
    def generation(self) -> int:
        """Changes when nothing that was prepared before may be used."""
        return self._sandbox.generation

    def __repr__(self) -> str:
        return f"<VirtualConnection {id(self):#x} {'closed' if self.closed else 'open'}>"

    # ------------------------------------------------------------------ statements

    async def run(
        self,
        sql: str,
        operation: Callable[[Wire], Awaitable[T]],
        args: Sequence[Any] = (),
        *,
        cursor: bool = False,
        timeout: float | None = None,
    ) -> T:
        """Run an operation in the open transaction, or in one of its own.

        `timeout` bounds the wait for a turn too: in production a statement waits for locks
        instead, and asyncpg's own timeout ends that, which costs a transaction.
        """
        if timeout is not None:
            transaction = self._transaction
            try:
                async with asyncio.timeout(timeout):
                    return await self.run(sql, operation, args, cursor=cursor)
            except TimeoutError:
                if transaction is not None:
                    transaction.failed = True
                raise
        self._claim()
        try:
            if self._listeners.logs or self._listeners.queries:
                operation = self._listeners.overhear(self, operation)
            if self._transaction is None:
                return await self._sandbox.statement(sql, operation, args=args, codecs=self._codecs)
            return await self._sandbox.run(
                self._transaction, sql, operation, args=args, cursor=cursor
            )
        finally:
            self._busy = False

    def _claim(self) -> None:
        """Refuse a second operation at a time, as the protocol of a real connection does."""
        if self.closed:
            self._check_open()
        if self._busy:
            message = "cannot perform operation: another operation is in progress"
            raise asyncpg.InterfaceError(message)
        self._busy = True

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        status = self._steered(query)
        if status is not None:
            return status
        return await self.run(query, lambda wire: wire.execute(query, *args), args, timeout=timeout)

    async def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        rows = args_of_many(command, args)
        await self.run(command, lambda wire: wire.executemany(command, rows), rows, timeout=timeout)

    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None, **options: Any
    ) -> list[Any]:
        if self._steered(query) is not None:
            return []
        return await self.run(
            query, lambda wire: wire.fetch(query, *args, **options), args, timeout=timeout
        )

    async def fetchval(
        self, query: str, *args: Any, timeout: float | None = None, **options: Any
    ) -> Any:
        if self._steered(query) is not None:
            return None
        return await self.run(
            query, lambda wire: wire.fetchval(query, *args, **options), args, timeout=timeout
        )

    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, **options: Any
    ) -> Any:
        if self._steered(query) is not None:
            return None
        return await self.run(
            query, lambda wire: wire.fetchrow(query, *args, **options), args, timeout=timeout
        )

    def _steered(self, query: str) -> str | None:
        """Obey a statement that steers a transaction, which gives no rows; return its status."""
        self._check_open()
        control = _statements.control(query)
        return None if control is None else self.steer(control)

    async def fetchmany(
        self,
        query: str,
        args: Iterable[Sequence[Any]],
        *,
        timeout: float | None = None,
        **options: Any,
    ) -> Any:
        rows = args_of_many(query, args)
        return await self.run(
            query, lambda wire: wire.fetchmany(query, rows, **options), rows, timeout=timeout
        )

    async def prepare(
        self, query: str, *, name: str | None = None, **options: Any
    ) -> VirtualStatement:
        self._check_open()
        control = _statements.control(query)
        if control is not None:
            return ControlStatement(self, query, control)
        timeout = options.pop("timeout", None)
        statement = VirtualStatement(self, query, name, options)
        key = self._sandbox.epoch, name
        if name is not None and key in self._prepared:
            self._fail()
            message = f'prepared statement "{name}" already exists'
            raise asyncpg.DuplicatePreparedStatementError(message)
        await statement.prepare(timeout)
        if name is not None:
            self._prepared[key] = statement
        return statement

    def cursor(self, query: str, *args: Any, **options: Any) -> VirtualCursorFactory:
        self._check_open()
        prefetch, timeout = options.pop("prefetch", None), options.pop("timeout", None)

        async def make(wire: Wire) -> Any:
            return await wire.cursor(query, *args, **options)

        return VirtualCursorFactory(self, query, make, args, prefetch, timeout=timeout)

    async def copy_from_table(self, table_name: str, **options: Any) -> str:
        self._follow(options)
        return await self._copy("TABLE", "copy_from_table", table_name, **options)

    async def copy_from_query(self, query: str, *args: Any, **options: Any) -> str:
        self._follow(options)
        return await self._copy(query, "copy_from_query", query, *args, **options)

    async def copy_to_table(self, table_name: str, **options: Any) -> str:
        return await self._copy("COPY", "copy_to_table", table_name, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        return await self._copy("COPY", "copy_records_to_table", table_name, **options)

    async def _copy(
        self,
        sql: str,
        method: str,
        *args: Any,
        timeout: float | None = None,
        **options: Any,
    ) -> str:
        def copy(wire: Wire) -> Awaitable[str]:
            done: Awaitable[str] = getattr(wire, method)(*args, **options)
            return done

        return await self.run(sql, copy, timeout=timeout)

    def _follow(self, options: dict[str, Any]) -> None:
        """Let the sandbox know the task that runs a COPY's target: asyncpg may give it its own."""
        output = options.get("output")
        if inspect.iscoroutinefunction(output):

            async def target(data: bytes) -> None:
                with self._sandbox.part_of_statement():
                    await output(data)

            options["output"] = target

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
        self._claim()
        try:
            if self._transaction is None:
                self._transaction = self._sandbox.begin(readonly=readonly, codecs=self._codecs)
                return None
            self._savepoints += 1
            name = f"__asyncpg_savepoint_{self._savepoints:x}__"
            self._transaction.savepoint(name)
            return name
        finally:
            self._busy = False

    async def end(self, *, keep: bool) -> None:
        self._claim()
        try:
            transaction, self._transaction = self._transaction, None
            if transaction is None:
                return  # ended by hand: to a server COMMIT is no error then
            if keep:
                await self._sandbox.commit(transaction)
            else:
                self._sandbox.rollback(transaction)
        finally:
            self._busy = False

    def end_savepoint(self, name: str, *, keep: bool) -> None:
        self.steer(_statements.Control("release" if keep else "rollback_to", name))

    def steer(self, control: _statements.Control) -> str:
        if control.kind in _steering.REFUSED:
            raise _steering.refused(self._sandbox, control, "in a script, of which")
        self._claim()
        try:
            return _steering.obey(self._sandbox, self._transaction, control)
        finally:
            self._busy = False

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
        self._claim()
        try:
            await self._sandbox.set_codec(self._codecs, codec)
        finally:
            self._busy = False

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
        self._listeners.logs[callback] = None

    def remove_log_listener(self, callback: Callable[..., Any]) -> None:
        self._listeners.logs.pop(callback, None)

    def add_query_logger(self, callback: Callable[..., Any]) -> None:
        self._listeners.queries[callback] = None

    def remove_query_logger(self, callback: Callable[..., Any]) -> None:
        self._listeners.queries.pop(callback, None)

    @contextlib.contextmanager
    def query_logger(self, callback: Callable[..., Any]) -> Iterator[None]:
        self.add_query_logger(callback)
        try:
            yield
        finally:
            self.remove_query_logger(callback)

    def add_termination_listener(self, callback: Callable[..., Any]) -> None:
        self._listeners.terminations[callback] = None

    def remove_termination_listener(self, callback: Callable[..., Any]) -> None:
        self._listeners.terminations.pop(callback, None)

    def get_reset_query(self) -> str:
        return self._sandbox.connected().get_reset_query()

    async def reset(self, *, timeout: float | None = None) -> NoReturn:
        del timeout
        raise self._sandbox.refuse(
            "Connection.reset()", "would reset the session that the test shares"
        )

    # ------------------------------------------------------------------ the end

    def is_closed(self) -> bool:
        return self.closed

    async def close(self, *, timeout: float | None = None) -> None:
        del timeout
        self.terminate()

    def terminate(self) -> None:
        self.closed = True
        self._listeners.terminated(self)
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            self._sandbox.rollback(transaction)

    def _fail(self) -> None:
        """Let the open transaction be as after an error of the server's."""
        if self._transaction is not None:
            self._transaction.check_usable()
            self._transaction.failed = True

    def _check_open(self) -> None:
        if self.closed:
            message = "connection is closed"
            raise asyncpg.InterfaceError(message)
