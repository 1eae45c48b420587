"""Raw SQL that steers a transaction: it never reaches the server, where it would mean another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ._runtime import NO_TRANSACTION

if TYPE_CHECKING:
    from .._statements._statements import Control
    from ..errors import SandboxRefusedError
    from ._sandbox import Sandbox
    from ._transaction import Transaction

REFUSED: Final = ("boundary", "script")
"""The kinds of control that are refused."""

_WORDS: Final = {"release": "RELEASE SAVEPOINT", "rollback_to": "ROLLBACK TO SAVEPOINT"}


def refused(sandbox: Sandbox, control: Control, where: str) -> SandboxRefusedError:
    """Build the error for a statement that would move what the sandbox stands on.

    `where` says in what the sandbox could not see a savepoint's statement.
    """
    if control.kind == "boundary":
        return sandbox.refuse(
            control.name, "would end the outer transaction that is to be rolled back"
        )
    return sandbox.refuse(
        "SET TRANSACTION READ ONLY" if control.kind == "read_only" else f"savepoint {control.name}",
        f"is steered {where} the sandbox sees no step; send its statements one by one",
    )


def obey(sandbox: Sandbox, transaction: Transaction | None, control: Control) -> str:
    """Do with a transaction, or its savepoint, what a statement says; return the status.

    Raises:
        the driver's error: no transaction is open.
    """
    if control.kind == "read_only":
        if transaction is not None:  # else the server warns, and does nothing
            sandbox.make_read_only(transaction)
        return "SET"
    if transaction is None:
        word = _WORDS.get(control.kind, "SAVEPOINT")
        message = f"{word} can only be used in transaction blocks"
        raise sandbox.runtime.error(NO_TRANSACTION, message)
    match control.kind:
        case "savepoint":
            transaction.savepoint(control.name)
            return "SAVEPOINT"
        case "release":
            sandbox.release(transaction, control.name)
            return "RELEASE"
        case _:
            sandbox.rollback_to(transaction, control.name)
            return "ROLLBACK"
