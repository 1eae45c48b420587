"""Transaction blocks of a virtual connection of asyncpg."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from ._virtual_resource import Resource

if TYPE_CHECKING:
    from ._virtual import VirtualConnection


class VirtualTransaction(Resource):
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
