"""The one connection of a test: what is sent on it, and what is done about what comes back.

:mod:`._sandbox` states the model and decides what may run; :mod:`._layers` keeps the server's stack
of savepoints; here both are brought to the server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from .._server._admin import WIRE_ERRORS
from .._statements import _statements
from .._statements._catalog import Catalog, deallocate, prepared, restoring
from ._codecs import exchange
from ._layers import BASE, Ground, Layers
from ._runtime import ASYNCIO, NO_SAVEPOINT, sqlstate
from ._turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

    from .._statements._routines import Effect, Routines
    from ._blockers import Blockers
    from ._codecs import Codec, Codecs
    from ._runtime import Runtime, Wire
    from ._transaction import Transaction

T = TypeVar("T")

CANCEL_PATIENCE: Final = 5.0
"""Seconds within which a server must have cancelled a statement."""


class LiveWire:
    """A wire and the savepoints on it. `perform` and `reset` need the turn."""

    def __init__(self, wire: Wire, catalog: Catalog, runtime: Runtime = ASYNCIO) -> None:
        self.wire = wire
        runtime.opened(wire)
        self.pid = wire.get_server_pid()
        self.loop = runtime.loop()
        self.guard: AsyncGenerator[None] | None = None
        """Closes the wire when its loop closes."""
        self.blockers: Blockers | None = None
        self.turns = Turns(runtime)
        self.layers = Layers()
        self.answer: bool | None = None
        """Whether the question of the last reset selected a row; None if there was none."""
        self.schema_changed = False
        """Whether a statement since the last reset may have changed the schema."""
        self.catalog = catalog
        self._runtime = runtime
        self._codecs: Codecs = {}
        self._routines: Routines = catalog.routines
        self.interrupted: str | None = None
        """The statement that was cancelled so that its driver gave the connection up."""
        self._uprooted = False
        """Whether a savepoint was gone, so that a commit and a BEGIN must have been hidden."""

    async def adopt_catalog(self, catalog: Catalog) -> None:
        """Take over what has been read anew, between two tests."""
        await self.wire.execute("DEALLOCATE db_testing_reset")
        await catalog.prepare_reset(self.wire)
        self.catalog = catalog
        self._routines = catalog.routines

    def note_codec(self, codec: Codec) -> None:
        """Learn of one that the wire has been given, to take it back for other connections."""
        self._codecs[codec.typename, codec.schema] = codec

    def reads_only(self, sql: str) -> bool:
        """Tell whether a statement can be shown to change nothing."""
        return _statements.reads_only(sql, self._routines.writing)

    def effect(self, sql: str) -> Effect:
        """Return what a statement that may write does besides; note what it defines."""
        if _statements.changes_schema(sql):
            self.schema_changed = True
            if _statements.defines_routine(sql):
                self._routines = self._routines.beside(sql)
        effect = self._routines.effect(sql)
        self.schema_changed |= effect.changes_schema
        return effect

    @property
    def wire_errors(self) -> tuple[type[Exception], ...]:
        """What talking to the server can raise."""
        return self._runtime.wire_errors

    @property
    def escaped(self) -> bool:
        """Whether the outer transaction was ended by something other than the reset."""
        return self._uprooted or (
            self.layers.begun and not self.wire.is_closed() and not self.wire.is_in_transaction()
        )

    # ----------------------------------------------------------------- statements

    async def perform(
        self,
        transaction: Transaction,
        operation: Callable[[Wire], Awaitable[T]],
        *,
        reads: bool,
        cursor: bool,
    ) -> T:
        """Run an operation in a layer of the transaction's innermost frame."""
        # A rollback of another transaction, which needs no turn, may remove the layer while one of
        # these steps waits for the server.
        while True:
            if not transaction.open:
                message = "connection is closed"
                raise self._runtime.closed(message)
            layer = self.layers.ready(transaction.frames[-1])
            if layer is not None and self._codecs == transaction.codecs:
                break
            await self._enter(transaction)
            if self._codecs != transaction.codecs:
                await self._finish(exchange(self.wire, self._codecs, transaction.codecs))
        if cursor:
            layer.cursor = transaction
        if not reads:
            layer.wrote = transaction
            if not transaction.wrote:
                self.turns.hold(transaction)
        try:
            return await operation(self.wire)
        except (Exception, asyncio.CancelledError) as error:
            await self._finish(self._examine(transaction, error))
            raise
        except BaseException:
            self.wire.terminate()  # interrupted in the middle of a message
            raise

    async def _enter(self, transaction: Transaction) -> None:
        script = self.layers.enter(transaction)
        self.turns.open.add(transaction)
        if script:
            await self._finish(self._bookkeeping(";".join(script)))

    def _finish(self, step: Coroutine[Any, Any, None]) -> Awaitable[None]:
        """Take a step after which the bookkeeping is true, or give the wire up."""
        return self._runtime.finish(step, otherwise=self.wire.terminate)

    async def _bookkeeping(self, script: str) -> None:
        """Run statements of the sandbox's own, which must all succeed for the stack to be true."""
        try:
            await self.wire.execute(script)
        except BaseException as error:
            self._uprooted = sqlstate(error) == NO_SAVEPOINT
            self.wire.terminate()
            raise

    async def _examine(self, transaction: Transaction, error: BaseException) -> None:
        """Learn whether a failure has aborted the transaction: ask, unless the server said so."""
        if self.wire.is_closed():
            return
        aborted = self._runtime.aborted(self.wire, error)
        if aborted is None:
            asking = asyncio.ensure_future(self.wire.execute("SELECT"))
            try:
                if not (await asyncio.wait({asking}, timeout=CANCEL_PATIENCE))[0]:
                    asking.cancel()
                    self.wire.terminate()
                    return
                asking.result()
            except asyncpg.InFailedSQLTransactionError:
                aborted = True
            except WIRE_ERRORS:
                self.wire.terminate()
                return
        if aborted and self.layers.begun:
            transaction.failed = True
            self.layers.aborted = True

    # ----------------------------------------------------------------- ends

    async def lay(self, origin: str) -> Ground:
        """Lay a ground on what the test has done so far. Needs the turn."""
        script, layer = self.layers.lay(origin)
        ground = Ground(
            origin=origin,
            layer=layer,
            transactions=frozenset(self.turns.open),
            schema_changed=self.schema_changed,
            routines=self._routines,
        )
        # From now on: a rollback of another transaction, which needs no turn, may come meanwhile.
        self.layers.grounds.append(ground)
        try:
            await self._finish(self._lay(ground, ";".join(script)))
        except BaseException:
            self.layers.give_up(ground)
            raise
        return ground

    async def _lay(self, ground: Ground, script: str) -> None:
        await self._bookkeeping(script)
        if ground.schema_changed:
            ground.prepared = await prepared(self.wire)
        ground.restoring = restoring(await self.catalog.current_positions(self.wire))

    async def fall_back(self, ground: Ground, patience: float) -> bool:
        """Undo all that was done since a ground was laid, and the ground itself.

        Returns whether the wire can be used again.
        """
        if ground not in self.layers.grounds:
            return True  # a ground beneath it is gone, or the test has ended
        name = ground.layer.name
        script = f"ROLLBACK TO {name};RELEASE {name};{ground.restoring};{Catalog.FORGET}"
        if await self._undo_all(script, patience, ground.transactions, ground.prepared) is None:
            return False
        self.layers.drop(ground)
        self.schema_changed = ground.schema_changed
        self._routines = ground.routines
        return True

    async def reset(self, patience: float, question: str | None = None) -> bool:
        """Roll back, restore what a rollback does not; tell whether the wire can be used again.

        `question` is asked in the same round trip: a statement that selects a row, or none.
        """
        script = [f"ROLLBACK TO {BASE};{self.catalog.RESET}", question] if self.layers.begun else []
        status = await self._undo_all(";".join(filter(None, script)), patience)
        if status is None:
            return False
        if script and question:
            self.answer = status != "SELECT 0"
        self.layers.clear()
        self.schema_changed = False
        self._routines = self.catalog.routines
        return True

    async def _undo_all(
        self,
        script: str,
        patience: float,
        keep: frozenset[Transaction] = frozenset(),
        keep_prepared: frozenset[str] = frozenset(),
    ) -> str | None:
        """Run a script that undoes; return its last status, or None if the wire is of no use."""
        status = ""
        turns = self.turns
        for transaction in turns.open - keep:
            turns.end(transaction)
        try:
            await turns.take_over(patience)
        except TimeoutError:
            return None
        try:
            if self.wire.is_closed() or self.escaped:
                self._uprooted |= self.escaped  # a wire that is cut off does not tell any more
                return None
            if script:
                status = await self.wire.execute(script, timeout=patience) or status
            if self.schema_changed:
                # Plans, and what asyncpg knows of types, may be of a schema that is gone.
                await self.wire.reload_schema_state()
                await deallocate(self.wire, keep_prepared)
        except self._runtime.wire_errors as error:
            self._uprooted |= sqlstate(error) == NO_SAVEPOINT
            return None
        finally:
            for transaction in turns.open - keep:
                turns.end(transaction)
            turns.give()
        return status

    async def close(self) -> None:
        """Say goodbye to the server."""
        if not self.wire.is_closed():
            try:
                await self.wire.close(timeout=2)
            except self._runtime.wire_errors:
                self.wire.terminate()
