"""Virtual connections of psycopg: its own connections, whose statements pass through the sandbox.

A virtual connection is a `psycopg.Connection` on the `pgconn` that all of a test's share, so that
cursors, adaptation of values, COPY and named cursors are psycopg's own. Between tests and beneath
every statement the shared connection is in a transaction, so psycopg never begins one by itself;
its public methods that would end one, or speak to the server otherwise, are overridden here, and
those of cursors in :mod:`._psycopg_cursor`. What reaches the server past them is refused.
"""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import psycopg
from psycopg import IsolationLevel
from psycopg.adapt import AdaptersMap
from psycopg.pq import TransactionStatus

from .._statements import _statements
from . import _steering
from ._psycopg_cursor import EXECUTE, numbered, text_of, virtual_class
from ._psycopg_transaction import VirtualTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg.abc import AdaptContext
    from psycopg.pq.abc import PGconn

    from ._psycopg_wire import PsycopgWire
    from ._sandbox import Sandbox
    from ._threads import Threads
    from ._transaction import Transaction

_LEVELS: Final = (None, IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)


def _option(name: str) -> Any:
    def read(self: VirtualConnection) -> Any:
        return self.options[name]

    def write(self: VirtualConnection, value: Any) -> None:
        getattr(self, f"set_{name}")(value)

    return property(read, write)


class VirtualConnection(psycopg.Connection[Any]):
    """What the application takes for a connection of psycopg."""

    def __init__(
        self, sandbox: Sandbox, threads: Threads, context: AdaptContext | None = None
    ) -> None:
        """Connect to nothing yet. `context` says how values are adapted, as in `connect()`."""
        stand_in: Any = SimpleNamespace()
        super().__init__(stand_in)
        psycopg.Connection.prepare_threshold.__set__(self, None)  # type: ignore[attr-defined]
        self.sandbox = sandbox
        self.threads = threads
        self.options: dict[str, Any] = {
            "autocommit": False,
            "isolation_level": None,
            "read_only": None,
            "deferrable": None,
        }
        self.blocks = 0
        """How many contexts of `transaction()` are open."""
        self.current: Transaction | None = None
        """The transaction that is open."""
        self._hear: Callable[..., None] = stand_in.notice_handler
        self._map = AdaptersMap((context or psycopg).adapters)
        self.stuck = False
        """Whether it can only be closed, as one with a COPY that was not read to its end."""
        self._inside: int | None = None
        """The thread that runs an operation."""
        self._ended = False

    def __repr__(self) -> str:
        return f"<VirtualConnection {id(self):#x} {'closed' if self._ended else 'open'}>"

    def __del__(self, *_: Any) -> None:
        """Say nothing of a connection that was not closed: there is nothing to close."""

    # ------------------------------------------------------------------ statements

    @contextlib.contextmanager
    def operation(
        self,
        sql: str,
        args: Sequence[Any] = (),
        *,
        reads: bool | None = None,
        cursor: bool = False,
        begins: bool = True,
    ) -> Iterator[PsycopgWire]:
        """Let the body of a `with` block, and nothing else, speak to the server.

        `begins` says whether the operation begins a transaction where the connection is not in
        autocommit.
        """
        self.check_open()
        if self._inside == threading.get_ident():
            message = "another operation of this connection is in progress, such as a COPY"
            raise psycopg.OperationalError(message)
        control = _statements.control(sql)
        if control is not None:
            raise self.refused(control)
        if begins and not self.options["autocommit"]:
            self.begin()
        transaction = self.current

        async def run(operation: Any) -> None:
            if transaction is None:
                await self.sandbox.statement(sql, operation, args=args)
            else:
                await self.sandbox.run(
                    transaction, sql, operation, args=args, reads=reads, cursor=cursor
                )

        with self.threads.inside(run) as wire:
            self._inside = threading.get_ident()
            wire.pgconn.notice_handler = self._hear
            try:
                yield wire
            finally:
                wire.pgconn.notice_handler = None
                self._inside = None

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Speak to the server, which only an operation may do.

        A cursor that was not made by this connection executes without asking: psycopg makes such
        ones to look types up, and applications do as well, `ClientCursor(connection)`.
        """
        if self._inside == threading.get_ident():
            return super().wait(gen, *args, **options)
        known = gen.gi_frame.f_locals if gen.__name__ == EXECUTE else {}
        if "query" not in known:
            gen.close()
            raise self.sandbox.refuse(
                gen.__qualname__,
                "reached the connection past the sandbox, because its cursor was not made by "
                "connection.cursor(): set connection.cursor_factory and use that",
            )
        with self.operation(*numbered(text_of(known["query"]), known.get("params"))):
            return super().wait(gen, *args, **options)

    def cursor(
        self,
        name: str = "",
        *,
        binary: bool = False,
        row_factory: Any = None,
        scrollable: bool | None = None,
        withhold: bool = False,
    ) -> Any:
        self.check_open()
        row_factory = row_factory or self.row_factory
        cursor: Any
        if name:
            cursor = virtual_class(cast("Any", self.server_cursor_factory))(
                self, name=name, row_factory=row_factory, scrollable=scrollable, withhold=withhold
            )
        else:
            cursor = virtual_class(cast("Any", self.cursor_factory))(self, row_factory=row_factory)
        if binary:
            cursor.format = psycopg.pq.Format.BINARY
        return cursor

    # ------------------------------------------------------------------ transactions

    def begin(self) -> bool:
        """Begin a transaction unless one is open; tell whether one was begun."""
        self.check_open()
        if self.current is not None:
            return False
        with self.threads.turnstile:
            self.current = self.sandbox.begin(readonly=bool(self.options["read_only"]))
        return True

    def end(self, *, keep: bool) -> None:
        """End the transaction that is open; do nothing if none is."""
        self.check_open()
        transaction, self.current = self.current, None
        if transaction is None:
            return
        if keep:
            self.threads.drive(self.sandbox.commit(transaction))
        else:
            self.threads.turnstile.finalize(lambda: self.sandbox.rollback(transaction))

    def commit(self) -> None:
        self._check_unmanaged(
            "Explicit commit() forbidden within a Transaction context. (Transaction will be "
            "automatically committed on successful exit from context.)"
        )
        self.end(keep=True)

    def rollback(self) -> None:
        self._check_unmanaged(
            "Explicit rollback() forbidden within a Transaction context. (Either raise Rollback() "
            "or allow an exception to propagate out of the context.)"
        )
        self.end(keep=False)

    def _check_unmanaged(self, message: str) -> None:
        if self.blocks:
            raise psycopg.ProgrammingError(message)

    @contextlib.contextmanager
    def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002  # as psycopg has it
    ) -> Iterator[psycopg.Transaction]:
        with VirtualTransaction(self, savepoint_name, force_rollback) as block:
            yield block

    def steer(self, control: _statements.Control) -> str:
        """Obey a statement about savepoints, and return the status the server would."""
        if control.kind in _steering.REFUSED:
            raise self.refused(control)
        if not self.options["autocommit"]:
            self.begin()
        with self.threads.turnstile:
            return _steering.obey(self.sandbox, self.current, control)

    def refused(self, control: _statements.Control) -> Exception:
        """Build the error for a statement that only `execute()` of a cursor may steer by."""
        where = "in a script or otherwise than by execute(), where"
        return _steering.refused(self.sandbox, control, where)

    # ------------------------------------------------------------------ the session

    @property
    def pgconn(self) -> PGconn:
        return self.threads.drive(self.sandbox.wire()).wire.pgconn  # type: ignore[attr-defined, no-any-return]

    @pgconn.setter
    def pgconn(self, _: object) -> None:
        """Ignore what psycopg sets: it is the test's."""

    @property
    def adapters(self) -> AdaptersMap:
        return self._map

    @property
    def info(self) -> psycopg.ConnectionInfo:
        return VirtualInfo(self)

    autocommit = _option("autocommit")
    isolation_level = _option("isolation_level")
    read_only = _option("read_only")
    deferrable = _option("deferrable")

    @property
    def prepare_threshold(self) -> int | None:
        """Nothing is prepared: what one connection prepared would be in the way of the others."""
        return None

    @prepare_threshold.setter
    def prepare_threshold(self, value: int | None) -> None:
        """Ignore it."""

    def set_autocommit(self, value: bool) -> None:  # noqa: FBT001  # as psycopg has it
        self._set("autocommit", bool(value))

    def set_isolation_level(self, value: IsolationLevel | None) -> None:
        level = None if value is None else IsolationLevel(value)
        if level not in _LEVELS:
            raise self.sandbox.refuse(
                f"isolation_level = {level!r}",
                "asks for a level that the outer transaction, READ COMMITTED, does not have",
            )
        self._set("isolation_level", level)

    def set_read_only(self, value: bool | None) -> None:  # noqa: FBT001  # as psycopg has it
        self._set("read_only", None if value is None else bool(value))

    def set_deferrable(self, value: bool | None) -> None:  # noqa: FBT001  # as psycopg has it
        self._set("deferrable", None if value is None else bool(value))

    def _set(self, name: str, value: object) -> None:
        self.check_open()
        if self.current is not None:
            why = (
                "connection.transaction() context in progress"
                if self.blocks
                else f"connection in transaction status {self.transaction_status.name}"
            )
            message = f"can't change {name!r} now: {why}"
            raise psycopg.ProgrammingError(message)
        self.options[name] = value

    @property
    def transaction_status(self) -> TransactionStatus:
        """What a connection of its own would be in."""
        if self._inside is not None:
            return TransactionStatus.ACTIVE
        if self.current is None:
            return TransactionStatus.IDLE
        return TransactionStatus.INERROR if self.current.failed else TransactionStatus.INTRANS

    def cancel(self) -> None:
        if self._inside is not None:
            super().cancel()

    def cancel_safe(self, *, timeout: float = 30.0) -> None:
        if self._inside is not None:
            super().cancel_safe(timeout=timeout)

    # ------------------------------------------------------------------ what is refused

    def pipeline(self) -> Any:
        self._refuse("Connection.pipeline()", "sends statements of which the sandbox sees no step")

    def notifies(self, **_: Any) -> Any:
        self._refuse("Connection.notifies()", "waits for what is delivered at a commit")

    def tpc_begin(self, *_: Any) -> None:
        self._refuse("Connection.tpc_begin()", "prepares a transaction that outlives the test")

    def tpc_prepare(self) -> None:
        self._refuse("Connection.tpc_prepare()", "prepares a transaction that outlives the test")

    def tpc_commit(self, *_: Any) -> None:
        self._refuse("Connection.tpc_commit()", "really commits")

    def tpc_rollback(self, *_: Any) -> None:
        self._refuse("Connection.tpc_rollback()", "ends a transaction that outlives the test")

    def _refuse(self, what: str, why: str) -> NoReturn:
        raise self.sandbox.refuse(what, why)

    # ------------------------------------------------------------------ the end

    @property
    def closed(self) -> bool:
        return self._ended

    @property
    def broken(self) -> bool:
        return False

    def close(self) -> None:
        if not self._ended:
            self.stuck = False
            try:
                self.end(keep=False)
            finally:
                self._ended = True

    def check_open(self) -> None:
        """Raise what psycopg does on a closed connection."""
        if self._ended:
            message = "the connection is closed"
            raise psycopg.OperationalError(message)
        if self.stuck:
            message = "sending query failed: another command is already in progress"
            raise psycopg.OperationalError(message)


class VirtualInfo(psycopg.ConnectionInfo):
    """What is to be known of a connection."""

    def __init__(self, connection: VirtualConnection) -> None:
        super().__init__(connection.pgconn)
        self._connection = connection

    @property
    def transaction_status(self) -> TransactionStatus:
        return self._connection.transaction_status
