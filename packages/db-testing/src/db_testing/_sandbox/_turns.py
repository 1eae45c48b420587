"""Who of a wire's transactions may run a statement: the turns of the sandbox's model."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Final

from .._origin import caller
from ..errors import SandboxDeadlockError
from ._failures import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._failures import Failures
    from ._runtime import Runtime, Worker
    from ._transaction import Transaction

LEFTOVER_PATIENCE: Final = 1.0
"""Seconds that the reset waits for a statement still running; a new wire costs far less."""

# Open transactions that have written in this task or in the tasks it was started from.
_lineage: contextvars.ContextVar[frozenset[Transaction]] = contextvars.ContextVar(
    "db_testing_lineage", default=frozenset()
)


class Turns:
    """The open transactions of a wire, and which of them has it."""

    def __init__(self, runtime: Runtime) -> None:
        """Let nobody have it yet."""
        self.open: set[Transaction] = set()
        self.running: Worker | None = None
        """The task or thread that has the turn, while its statement runs."""
        self._runtime = runtime
        self._lock = runtime.lock()
        self.give: Callable[[], None] = self._lock.release
        """Let the next one run a statement."""

    async def take(self, transaction: Transaction, patience: float, failures: Failures) -> None:
        """Wait until a transaction may run a statement, and let nobody else until :meth:`give`.

        `patience` is in seconds.

        Raises:
            SandboxDeadlockError: one holder of the turn, or one statement, took longer than that,
                or the statement is part of the one that is running.
        """
        transaction.task = me = self._runtime.current()
        if me is not None and self.running is me:
            error = self._within(transaction, failures.test_of(transaction))
            raise failures.blame(transaction, error)
        while True:
            holder = self._holder_before(transaction)
            try:
                if holder is not None:
                    await self._runtime.ended_or_orphaned(holder.ended, holder.task, patience)
                    continue
                await self._runtime.acquire(self._lock, patience)
            except TimeoutError:
                test = failures.test_of(transaction)
                error = self._deadlock(transaction, holder, patience, test)
                raise failures.blame(transaction, error) from None
            if self._holder_before(transaction) is None:
                return
            self._lock.release()

    async def take_over(self, patience: float) -> None:
        """Wait a moment for the statement that is running, whoever holds the turn.

        Raises:
            TimeoutError: it is still running.
        """
        await self._runtime.acquire(self._lock, min(patience, LEFTOVER_PATIENCE))

    def hold(self, transaction: Transaction) -> None:
        """Let a transaction, which writes for the first time, hold the turn until it ends."""
        transaction.wrote = True
        transaction.beneath = frozenset(self.writers_besides(transaction))
        _lineage.set(frozenset(other for other in _lineage.get() if other.open) | {transaction})

    def end(self, transaction: Transaction) -> None:
        """Let nobody wait for a transaction any more."""
        transaction.end()
        self.open.discard(transaction)

    def writers_besides(self, transaction: Transaction) -> list[Transaction]:
        """Return the other open transactions that have written."""
        return [other for other in self.open if other.wrote and other is not transaction]

    def _holder_before(self, transaction: Transaction) -> Transaction | None:
        """Return a transaction whose uncommitted changes this one must not overlap."""
        if not self.open:
            return None
        related = _lineage.get()
        for other in self.open:
            if (
                other.wrote
                and other is not transaction
                and other not in related
                and other not in transaction.beneath
                and other.task is not None
                and not other.task.done()
                and other.task is not transaction.task
            ):
                return other
        return None

    def _within(self, transaction: Transaction, test: str | None) -> SandboxDeadlockError:
        return SandboxDeadlockError(
            f"{transaction} was to run at {caller()} within another statement of the same "
            f"{self._runtime.worker}, such as a COPY whose source or target uses the database. "
            f"Under rollback isolation all connections are one, which runs one statement at a "
            f"time. Read the rows before the COPY begins, or add {MARKER} to {test}."
        )

    def _deadlock(
        self,
        transaction: Transaction,
        holder: Transaction | None,
        patience: float,
        test: str | None,
    ) -> SandboxDeadlockError:
        what = (
            f"{holder} has uncommitted changes and was not ended"
            if holder
            else f"a statement of another {self._runtime.worker} is still running"
        )
        return SandboxDeadlockError(
            f"{transaction} waited {patience:g} s for its turn at {caller()}: {what}. "
            f"Under rollback isolation transactions that write take turns on one connection. "
            f"If the first is waiting for the second, add {MARKER} to {test}."
        )
