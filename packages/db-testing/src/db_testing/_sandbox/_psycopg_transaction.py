"""The context of `connection.transaction()`: the outermost is a transaction, others savepoints."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psycopg
from psycopg.transaction import OutOfOrderTransactionNesting

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ._psycopg import VirtualConnection
    from ._transaction import Transaction

_logger = logging.getLogger("psycopg")


class VirtualTransaction(psycopg.Transaction):
    """A block of psycopg's, of which only the sandbox hears."""

    def __init__(
        self,
        connection: VirtualConnection,
        savepoint_name: str | None,
        force_rollback: bool,  # noqa: FBT001  # as psycopg has it
    ) -> None:
        super().__init__(connection, savepoint_name, force_rollback)
        self._virtual = connection
        self._name = savepoint_name or ""
        self._transaction: Transaction | None = None
        self._outermost = False
        self._depth = 0

    @property
    def savepoint_name(self) -> str | None:
        return self._name

    def __repr__(self) -> str:
        return f"<VirtualTransaction {self._name!r} ({self.status.value}) {id(self):#x}>"

    def __enter__(self) -> Self:
        if self.status != self.Status.NOT_STARTED:
            message = "transaction blocks can be used only once"
            raise TypeError(message)
        connection = self._virtual
        self._outermost = connection.begin()
        self._transaction = connection.current
        self._depth = connection.blocks
        if not self._outermost and not self._name:
            self._name = f"_pg3_{connection.blocks + 1}"
        self.status = self.Status.ACTIVE
        connection.blocks += 1
        try:
            if self._name:
                assert self._transaction is not None  # noqa: S101  # has begun
                with connection.threads.turnstile:
                    self._transaction.savepoint(self._name)
        except BaseException:
            connection.blocks -= 1
            self.status = self.Status.FAILED
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        connection = self._virtual
        if connection.closed:
            self.status = self.Status.FAILED
            return False
        keep = exc_val is None and not self.force_rollback
        connection.blocks -= 1
        asked = isinstance(exc_val, psycopg.Rollback)
        if keep:
            self.status = self.Status.COMMITTED
        elif asked or self.force_rollback:
            self.status = self.Status.ROLLED_BACK_EXPLICITLY
        else:
            self.status = self.Status.ROLLED_BACK_WITH_ERROR
        if connection.blocks != self._depth:
            verb = "commit" if keep else "rollback"
            message = f"transaction {verb} at the wrong nesting level: {self}"
            raise OutOfOrderTransactionNesting(message)
        try:
            self._finish(keep=keep)
        except psycopg.Error as error:
            if keep:
                raise
            _logger.warning("error ignored in rollback of %s: %s", self, error)
            return False
        return isinstance(exc_val, psycopg.Rollback) and exc_val.transaction in (None, self)

    def _finish(self, *, keep: bool) -> None:
        connection, transaction = self._virtual, self._transaction
        if self._outermost:
            connection.end(keep=keep)
            return
        assert transaction is not None  # noqa: S101  # __enter__ has set them
        assert self._name is not None  # noqa: S101
        with connection.threads.turnstile:
            if not keep:
                connection.sandbox.rollback_to(transaction, self._name)
            connection.sandbox.release(transaction, self._name)
