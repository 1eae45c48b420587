"""What is looked for in each statement: before it runs what would be a lie, after it what it broke.

A statement that cannot be honoured is refused. An error of the server's that is due to the sandbox,
and not to the program, is told in the sandbox's words.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .._origin import caller
from .._server._admin import first_line
from .._statements import _statements, _transaction_identity
from .._statements._statement_text import shorten
from ..errors import SandboxBlockedError, SandboxConflictError
from ._failures import MARKER
from ._runtime import (
    CONSTRAINT_VIOLATION,
    INSIDE_TRANSACTION,
    LOCK_NOT_AVAILABLE,
    NO_TRANSACTION,
    READ_ONLY,
    UNSAFE_NEW_ENUM_VALUE,
    constraint_of,
    sqlstate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._statements._routines import Effect
    from ..errors import SandboxError
    from ._blockers import Blockers
    from ._failures import Failures
    from ._runtime import Runtime
    from ._transaction import Transaction
    from ._wire import LiveWire


class Inspection:
    """What is looked for in the statements of a sandbox's tests."""

    def __init__(self, failures: Failures, runtime: Runtime) -> None:
        """Note what is found among the failures."""
        self._failures = failures
        self._runtime = runtime
        self._identity: list[str] = []
        """This test's statements that mention transaction identity."""

    def begin(self) -> None:
        """Forget what was found in the last test."""
        self._identity = []

    def remark(self, objects: Sequence[str]) -> str | None:
        """Return what a failure of the test may owe to transaction identity.

        `objects` of the schema mention it too.
        """
        return _transaction_identity.remark(objects, self._identity, MARKER)

    # ----------------------------------------------------------------- before a statement

    def check(self, transaction: Transaction, sql: str) -> None:
        """Refuse what would be a lie here, or what the server would refuse outside a block."""
        why = _statements.refusal(sql)
        if why is not None:
            raise self._failures.refused(sql, why)
        if _transaction_identity.mentioned(sql):
            self._identity.append(f"{shorten(sql)!r} at {caller()}")
        if transaction.implicit and any(kind == "cursor" for kind, _ in _statements.endings(sql)):
            raise self._runtime.error(
                NO_TRANSACTION, "DECLARE CURSOR can only be used in transaction blocks"
            )

    def check_locks(
        self, live: LiveWire, transaction: Transaction, sql: str, effect: Effect
    ) -> None:
        """Refuse to tell what is locked while others may hold locks: a session sees not its own."""
        asks = effect.asks_for_locks or _statements.asks_for_locks(sql)
        if asks and (others := live.turns.writers_besides(transaction)):
            raise self._failures.refused(
                sql, f"cannot see the locks of {others[0]}, on the same connection"
            )

    # ----------------------------------------------------------------- after it

    def damage(
        self, live: LiveWire, sql: str, error: BaseException | None = None
    ) -> SandboxError | None:
        """Notice that an operation has cost the test its connection or its outer transaction."""
        escaped = live.escaped
        if live.wire.is_closed() and not escaped:
            if isinstance(error, asyncio.CancelledError):
                # Which nobody need mind whose loop has just ended, as that of a TestClient does.
                live.interrupted = f"{shorten(sql)!r} at {caller()}"
                return None
            return self._failures.lost(live.interrupted)
        return self._failures.escaped(sql) if escaped else None

    def explained(
        self,
        error: BaseException,
        live: LiveWire,
        transaction: Transaction,
        sql: str,
        blockers: Blockers | None,
    ) -> SandboxError | None:
        """Return a better error where the server's is due to the sandbox, not to the program."""
        code = sqlstate(error)
        if code == LOCK_NOT_AVAILABLE and blockers is not None and blockers.names:
            return self._blocked(error, transaction, sql, blockers)
        if code == READ_ONLY and not transaction.readonly:
            reader = live.layers.readonly_besides(transaction)
            return self._beneath(reader, transaction) if reader is not None else None
        if code.startswith(CONSTRAINT_VIOLATION) and sql != "COMMIT":  # see `ambiguous`
            return self._checked_early(error, live, transaction, sql)
        if code in INSIDE_TRANSACTION and (transaction.implicit or _statements.sets_isolation(sql)):
            return self._failures.refused(sql, f"cannot run inside another transaction ({error})")
        if code == UNSAFE_NEW_ENUM_VALUE:
            return self._failures.refused(sql, f"needs a value that is never committed ({error})")
        return None

    def _checked_early(
        self, error: BaseException, live: LiveWire, transaction: Transaction, sql: str
    ) -> SandboxConflictError | None:
        """Tell a violation that was met because SET CONSTRAINTS is of all transactions here."""
        asks = bool(_statements.constraint_modes(sql))
        waits = live.schema_changed or live.catalog.deferrable.may_wait(constraint_of(error))
        for other in live.turns.writers_besides(transaction):
            modes = other.constraint_modes
            if asks or (waits and any(map(_statements.checks_at_once, modes))):
                return self._failures.blame(
                    transaction,
                    SandboxConflictError(
                        f"a constraint was violated at {caller()}, in {transaction} ({error}), "
                        f"perhaps because SET CONSTRAINTS, on the same connection, is for "
                        f"{other} too. End one before the other begins, or add {MARKER} to "
                        f"{self._failures.test_of(transaction)}."
                    ),
                )
        return None

    def _blocked(
        self, error: BaseException, transaction: Transaction, sql: str, blockers: Blockers
    ) -> SandboxBlockedError:
        why = first_line(error)
        return self._failures.blame(
            transaction,
            SandboxBlockedError(
                f"{shorten(sql)!r} at {caller()}, in {transaction}, waited in vain for a lock "
                f"({why}) that a connection which is not the sandbox's held: "
                f"{', '.join(blockers.names)}. End its transaction first, use the fixture's engine "
                f"for both, or add {MARKER} to {self._failures.test_of(transaction)}."
            ),
        )

    def _beneath(self, reader: Transaction, transaction: Transaction) -> SandboxConflictError:
        return self._failures.blame(
            transaction,
            SandboxConflictError(
                f"{transaction} could not write at {caller()}, because {reader} is "
                f"read-only and has a cursor, or has set something. End it first, "
                f"or add {MARKER} to {self._failures.test_of(transaction)}."
            ),
        )

    def ambiguous(
        self, error: BaseException, live: LiveWire, transaction: Transaction
    ) -> SandboxConflictError | None:
        """Tell a violation at a commit from one that an overlapping transaction may have caused."""
        others = live.turns.writers_besides(transaction)
        if not sqlstate(error).startswith(CONSTRAINT_VIOLATION) or not others:
            return None
        return self._failures.blame(
            transaction,
            SandboxConflictError(
                f"a deferred constraint was violated when {transaction} was committed at "
                f"{caller()} ({error}), and the violation may be of {others[0]}, which is still "
                f"open. Commit one before the other writes, or add {MARKER} to "
                f"{self._failures.test_of(transaction)}."
            ),
        )
