"""The one connection of a test, and the savepoints on it: the bookkeeping of the sandbox's model.

:mod:`._sandbox` states the model and decides when a statement may run; this module keeps the
server's stack of savepoints true to what has run.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

import asyncpg

from . import _statements
from ._catalog import Catalog, Deferrable, restoring
from ._runtime import ASYNCIO, NO_SAVEPOINT, WIRE_ERRORS, sqlstate, uninterrupted

if TYPE_CHECKING:
    import re
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

    from ._runtime import Event, Runtime, Worker

__all__ = [
    "BASE",
    "WIRE_ERRORS",
    "Codec",
    "Codecs",
    "Frame",
    "Ground",
    "LiveWire",
    "Transaction",
    "Wire",
    "uninterrupted",
]

T = TypeVar("T")
Wire: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

BASE: Final = "db_testing"
"""The savepoint beneath all others: a return to it undoes everything but sequences and locks."""

LEFTOVER_PATIENCE: Final = 1.0
"""Seconds that the reset waits for a statement still running; a new wire costs far less."""

CANCEL_PATIENCE: Final = 5.0
"""Seconds within which a server must have cancelled a statement."""

_PUT_BACK: Final = """
    SELECT set_config(name, coalesce(value, ''), false)
    FROM unnest($1::text[], $2::text[]) AS setting(name, value)
"""

_PREPARED: Final = """
    SELECT name FROM pg_prepared_statements
    WHERE from_sql AND name NOT IN ('db_testing_reset', 'db_testing_moved')
"""

# Open transactions that have written in this task or in the tasks it was started from.
_lineage: contextvars.ContextVar[frozenset[Transaction]] = contextvars.ContextVar(
    "db_testing_lineage", default=frozenset()
)


@dataclass(eq=False, slots=True)
class Frame:
    """A transaction or one of its savepoints: what a rollback returns to."""

    transaction: Transaction
    savepoint: str | None = None


@dataclass(eq=False, slots=True)
class Layer:
    """A savepoint on the server."""

    name: str
    frame: Frame | None
    """Whose statements run in it; None once their transaction has ended."""
    readonly: bool
    """Whether the server refuses writes in it, and so in every layer above."""
    wrote: Transaction | None = None
    """The last transaction that may have changed something in it for its frame."""
    foreign: Transaction | None = None
    """A transaction that has committed into it without being its owner."""
    cursor: Transaction | None = None
    """Its owner, when that has opened a cursor in it, which a rollback beneath would close."""

    @property
    def plain(self) -> bool:
        """Whether its savepoint is as good as a new one."""
        return not (self.readonly or self.wrote or self.foreign)

    @property
    def doomed(self) -> bool:
        """Whether its frame is aborted, so that nothing its owner did in it can be kept."""
        if self.frame is None:
            return False
        transaction = self.frame.transaction
        return transaction.failed and self.frame is transaction.frames[-1]


@dataclass(eq=False, slots=True)
class Ground:
    """A savepoint to fall back to in the middle of a test, beneath which nothing may be undone."""

    origin: str
    layer: Layer
    transactions: frozenset[Transaction]
    """Those that were open when it was laid."""
    schema_changed: bool
    routines: re.Pattern[str] | None
    restoring: str = ""
    """The statement that puts sequences back to their positions here."""

    def __str__(self) -> str:
        return f"the data layer begun at {self.origin}"


@dataclass(eq=False, slots=True)
class Transaction:
    """A virtual transaction: what one virtual connection believes to be its own."""

    test: str
    origin: str
    implicit: bool = False
    readonly: bool = False
    codecs: Codecs = field(default_factory=dict)
    """Those of its connection."""
    frames: list[Frame] = field(default_factory=list)
    task: Worker | None = None
    """The task or thread that used it last."""
    wrote: bool = False
    beneath: frozenset[Transaction] = frozenset()
    """The transactions that were open and had written when it first wrote."""
    local_settings: dict[str, str | None] = field(default_factory=dict)
    """What a commit puts back: settings made by SET LOCAL, and their values before."""
    endings: frozenset[tuple[str, str]] = frozenset()
    """What a commit drops or closes: temporary tables ON COMMIT DROP, and cursors without hold."""
    open: bool = True
    failed: bool = False
    """The innermost frame is aborted; only a rollback helps."""
    ended: Event = field(default_factory=asyncio.Event)
    worker: str = ASYNCIO.worker

    def __post_init__(self) -> None:
        self.frames.append(Frame(self))

    def __str__(self) -> str:
        kind = "statement" if self.implicit else "transaction"
        task = f" in {self.worker} {self.task.get_name()!r}" if self.task else ""
        return f"the {kind} begun at {self.origin}{task}"


@dataclass(frozen=True, eq=False, slots=True)
class Codec:
    """A conversion of a type that an application asked a connection for."""

    action: Literal["set_type_codec", "set_builtin_type_codec"]
    typename: str
    schema: str
    options: dict[str, Any]

    async def apply(self, wire: Wire) -> None:
        """Set it on a wire."""
        await getattr(wire, self.action)(self.typename, schema=self.schema, **self.options)

    def same_as(self, other: Codec) -> bool:
        """Tell whether two codecs convert alike, also where each has functions of its own."""
        return (self.action, self.typename, self.schema, _meaning(self.options)) == (
            (other.action, other.typename, other.schema, _meaning(other.options))
        )


Codecs: TypeAlias = dict[tuple[str, str], Codec]


@dataclass(frozen=True, slots=True)
class LastStep:
    """What is to happen in a transaction before it is committed."""

    run: Callable[[Wire], Awaitable[None]]
    reads: bool


async def _end(wire: Wire, endings: frozenset[tuple[str, str]]) -> None:
    """Drop and close what ends with a transaction, where that has not done so itself."""
    still_open = {row["name"] for row in await wire.fetch("SELECT name FROM pg_cursors")}
    script = []
    for kind, name in endings:
        quoted = name.replace('"', '""')
        if kind == "table":
            script.append(f'DROP TABLE IF EXISTS pg_temp."{quoted}"')
        elif name in still_open:
            script.append(f'CLOSE "{quoted}"')
    if script:
        await wire.execute(";".join(script))


async def _deallocate(wire: Wire) -> None:
    """Forget what was prepared in raw SQL, which no rollback does."""
    names = [row["name"] for row in await wire.fetch(_PREPARED)]
    if names:
        quoted = (name.replace('"', '""') for name in names)
        await wire.execute(";".join(f'DEALLOCATE "{name}"' for name in quoted))


def _meaning(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _meaning(item) for name, item in value.items()}
    code = getattr(value, "__code__", None)
    if code is None:
        return value
    cells = [_meaning(cell.cell_contents) for cell in value.__closure__ or ()]
    return code, cells, value.__defaults__


class LiveWire:
    """A wire and the savepoints on it. `perform` and `reset` need the turn."""

    def __init__(self, wire: Wire, catalog: Catalog, runtime: Runtime = ASYNCIO) -> None:
        self.wire = wire
        runtime.opened(wire)
        self.pid = wire.get_server_pid()
        self.loop = runtime.loop()
        self.guard: AsyncGenerator[None] | None = None
        """Closes the wire when its loop closes."""
        self.turn = runtime.lock()
        self.running: Worker | None = None
        """The task or thread that has the turn, while its statement runs."""
        self.open: set[Transaction] = set()
        self.answer: bool | None = None
        """Whether the question of the last reset selected a row; None if there was none."""
        self.schema_changed = False
        """Whether a statement since the last reset may have changed the schema."""
        self.catalog = catalog
        self._runtime = runtime
        self._codecs: Codecs = {}
        self._routines: re.Pattern[str] | None = catalog.routines.writing
        self._begun = False
        self._layers: list[Layer] = []
        self._grounds: list[Ground] = []
        self._pending: list[str] = []
        """Returns to savepoints that are due before the next statement."""
        self._aborted = False
        """Whether the server has aborted the top layer."""
        self._uprooted = False
        """Whether a savepoint was gone, so that a commit and a BEGIN must have been hidden."""
        self._names = 0

    async def adopt_catalog(self, catalog: Catalog) -> None:
        """Take over what has been read anew, between two tests."""
        await self.wire.execute("DEALLOCATE db_testing_reset")
        await catalog.prepare_reset(self.wire)
        self.catalog = catalog
        self._routines = catalog.routines.writing

    def reads_only(self, sql: str) -> bool:
        """Tell whether a statement can be shown to change nothing; note what it defines."""
        if _statements.changes_schema(sql):
            self.schema_changed = True
            if _statements.defines_routine(sql):
                self._routines = _statements.ANY_CALL
        self.schema_changed |= self.catalog.routines.effect(sql).changes_schema
        return _statements.reads_only(sql, self._routines)

    @property
    def escaped(self) -> bool:
        """Whether the outer transaction was ended by something other than the reset."""
        return self._uprooted or (
            self._begun and not self.wire.is_closed() and not self.wire.is_in_transaction()
        )

    def holder_before(self, transaction: Transaction) -> Transaction | None:
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

    def readonly_besides(self, transaction: Transaction) -> Transaction | None:
        """Return another transaction whose cursor keeps its read-only layer beneath this one."""
        for layer in self._layers:
            if layer.readonly and layer.cursor is not None and layer.cursor is not transaction:
                return layer.cursor
        return None

    def writers_besides(self, transaction: Transaction) -> list[Transaction]:
        """Return the other open transactions that have written."""
        return [other for other in self.open if other.wrote and other is not transaction]

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
        while not self._is_ready(transaction):
            await self._enter(transaction)
            if self._codecs != transaction.codecs:
                await self._finish(self._adopt(transaction.codecs))
        layer = self._layers[-1]
        if cursor:
            layer.cursor = transaction
        if not reads:
            layer.wrote = transaction
            if not transaction.wrote:
                transaction.wrote = True
                transaction.beneath = frozenset(self.writers_besides(transaction))
                _lineage.set(
                    frozenset(other for other in _lineage.get() if other.open) | {transaction}
                )
        try:
            return await operation(self.wire)
        except (Exception, asyncio.CancelledError) as error:
            await self._finish(self._examine(transaction, error))
            raise
        except BaseException:
            self.wire.terminate()  # interrupted in the middle of a message
            raise

    def _is_ready(self, transaction: Transaction) -> bool:
        if not transaction.open:
            message = "connection is closed"
            raise self._runtime.closed(message)
        top = self._layers[-1] if self._layers else None
        return (
            top is not None
            and top.frame is transaction.frames[-1]
            and not self._pending
            and not self._aborted
            and self._codecs == transaction.codecs
        )

    async def _enter(self, transaction: Transaction) -> None:
        """Make the top layer one of the transaction's innermost frame."""
        frame = transaction.frames[-1]
        script = self._due(transaction)
        ended, changed = self._take_ended()
        top = self._layers[-1] if self._layers else None
        if top is not None and top.frame is frame and top.foreign is None:
            script += [f"RELEASE {layer.name}" for layer in ended[:1]]
        elif ended and not changed and not transaction.readonly:
            script += [f"RELEASE {layer.name}" for layer in ended[1:2]]
            self._layers.append(Layer(ended[0].name, frame, readonly=False))
        else:
            script += self._push(frame, ended, readonly=transaction.readonly)
        self.open.add(transaction)
        if script:
            await self._finish(self._bookkeeping(";".join(script)))

    def _due(self, transaction: Transaction | None) -> list[str]:
        """Return what the server must do before it can build on the top layer."""
        self._drop_readonly(transaction)
        self._heal()
        script, self._pending = self._pending, []
        if not self._begun:
            script += ["BEGIN", f"SAVEPOINT {BASE}"]
            self._begun = True
        return script

    def _push(self, frame: Frame, ended: list[Layer], *, readonly: bool) -> list[str]:
        """Take a new layer in place of ended ones; return what the server must do for it."""
        self._names += 1
        layer = Layer(f"{BASE}_{self._names}", frame, readonly=readonly)
        self._layers.append(layer)
        script = [f"RELEASE {old.name}" for old in ended[:1]]
        script.append(f"SAVEPOINT {layer.name}")
        if readonly:
            script.append("SET LOCAL transaction_read_only = on")
        return script

    async def _finish(self, step: Coroutine[Any, Any, None]) -> None:
        """Take a step after which the bookkeeping is true, or give the wire up."""
        await self._runtime.finish(step, otherwise=self.wire.terminate)

    async def _bookkeeping(self, script: str) -> None:
        """Run statements of the sandbox's own, which must all succeed for the stack to be true."""
        try:
            await self.wire.execute(script)
        except BaseException as error:
            self._uprooted = sqlstate(error) == NO_SAVEPOINT
            self.wire.terminate()
            raise

    def _drop_readonly(self, transaction: Transaction | None) -> None:
        """Return beneath read-only layers of others, in which nobody could write."""
        name = None
        while self._layers and self._layers[-1].readonly:
            frame = self._layers[-1].frame
            if frame is not None and frame.transaction is transaction:
                break
            if self._layers[-1].cursor is not None and self._layers[-1].cursor.open:
                break
            name = self._layers.pop().name
        if name is not None:
            self._return_to(name)

    def _heal(self) -> None:
        """Return an aborted top layer to health before another frame builds on it."""
        if self._aborted and not self._pending:
            self._pending.append(f"ROLLBACK TO {self._layers[-1].name}")
            self._layers[-1].wrote = None
        self._aborted = False

    def _take_ended(self) -> tuple[list[Layer], bool]:
        """Take the ended layers off the top, lowest first; tell whether they hold changes."""
        ended: list[Layer] = []
        changed = False
        while self._layers and self._layers[-1].frame is None:
            layer = self._layers.pop()
            ended.insert(0, layer)
            changed |= not layer.plain
            if self._layers:
                below = self._layers[-1]
                below.foreign = layer.wrote or layer.foreign or below.foreign
        return ended, changed

    async def _adopt(self, wanted: Codecs) -> None:
        """Give the wire the codecs of the connection whose statement comes next."""
        unknown_type = contextlib.suppress(ValueError)  # it may have been of an earlier test
        for typename, schema in self._codecs.keys() - wanted.keys():
            with unknown_type:
                await self.wire.reset_type_codec(typename, schema=schema)
            del self._codecs[typename, schema]
        for key, codec in wanted.items():
            if self._codecs.get(key) is not codec:
                with unknown_type:
                    await codec.apply(self.wire)
                self._codecs[key] = codec

    async def _examine(self, transaction: Transaction, error: BaseException) -> None:
        """Learn whether a failure has aborted the transaction: ask, unless the server said so."""
        if self.wire.is_closed():
            return
        aborted = self._runtime.aborted(self.wire, error)
        if aborted is None:
            try:
                async with asyncio.timeout(CANCEL_PATIENCE):
                    await self.wire.execute("SELECT")
            except asyncpg.InFailedSQLTransactionError:
                aborted = True
            except WIRE_ERRORS:
                self.wire.terminate()
                return
        if aborted and self._begun:
            transaction.failed = True
            self._aborted = True

    # ----------------------------------------------------------------- ends

    def relabel(self, frames: list[Frame], outer: Frame | None) -> None:
        """Hand the layers of frames that ended to the frame around them, or to nobody."""
        for layer in self._layers:
            if layer.frame in frames:
                layer.frame = outer

    def before_commit(self, transaction: Transaction) -> LastStep | None:
        """Return what a real commit would do in the transaction; None if that is nothing."""
        settings = transaction.local_settings
        deferrable = self.catalog.deferrable
        endings = transaction.endings
        if not (settings or endings or self.schema_changed or deferrable.check):
            return None

        async def run(wire: Wire) -> None:
            check = (await Deferrable.read(wire) if self.schema_changed else deferrable).check
            if check is not None:
                await wire.execute(check)
            if endings:
                await _end(wire, endings)
            if settings:
                await wire.execute(_PUT_BACK, list(settings), list(settings.values()))

        changes = settings or endings or self.schema_changed or deferrable.writes
        return LastStep(run, reads=not changes)

    def undo(self, frames: list[Frame]) -> str | None:
        """Schedule the return to the lowest layer in which frames wrote.

        Returns what of another transaction stands in the way, if something does.
        """
        lowest = next(
            (
                index
                for index, layer in enumerate(self._layers)
                if layer.frame in frames and layer.wrote
            ),
            None,
        )
        if lowest is not None:
            for ground in self._grounds:
                if ground.layer in self._layers[lowest:]:
                    return f"{ground} was laid"
            for layer in self._layers[lowest:]:
                if layer.foreign is not None:
                    return f"{layer.foreign} has written"
                if layer.frame in frames or layer.doomed:
                    continue
                if layer.wrote is not None:
                    return f"{layer.wrote} has written"
                if layer.cursor is not None and layer.cursor.open:
                    return f"{layer.cursor} has opened a cursor"
            name = self._layers[lowest].name
            del self._layers[lowest:]
            self._return_to(name)
        self.relabel(frames, None)
        return None

    def _return_to(self, name: str) -> None:
        self._pending += [f"ROLLBACK TO {name}", f"RELEASE {name}"]

    def end(self, transaction: Transaction) -> None:
        """Let nobody wait for a transaction any more."""
        transaction.open = False
        transaction.ended.set()
        self.open.discard(transaction)

    async def lay(self, origin: str) -> Ground:
        """Lay a ground on what the test has done so far. Needs the turn."""
        script = self._due(None)
        ended, _ = self._take_ended()
        script += self._push(Transaction(origin, origin).frames[0], ended, readonly=False)
        ground = Ground(
            origin=origin,
            layer=self._layers[-1],
            transactions=frozenset(self.open),
            schema_changed=self.schema_changed,
            routines=self._routines,
        )
        # From now on: a rollback of another transaction, which needs no turn, may come meanwhile.
        self._grounds.append(ground)
        try:
            await self._finish(self._lay(ground, ";".join(script)))
        except BaseException:
            self._grounds.remove(ground)
            del self._layers[self._layers.index(ground.layer) :]
            self._return_to(ground.layer.name)
            raise
        return ground

    async def _lay(self, ground: Ground, script: str) -> None:
        await self._bookkeeping(script)
        ground.restoring = restoring(await self.catalog.current_positions(self.wire))

    async def fall_back(self, ground: Ground, patience: float) -> bool:
        """Undo all that was done since a ground was laid, and the ground itself.

        Returns whether the wire can be used again.
        """
        if ground not in self._grounds:
            return True  # a ground beneath it is gone, or the test has ended
        name = ground.layer.name
        script = f"ROLLBACK TO {name};RELEASE {name};{ground.restoring};{Catalog.FORGET}"
        if await self._undo_all(script, ground.transactions, patience) is None:
            return False
        del self._grounds[self._grounds.index(ground) :]
        del self._layers[self._layers.index(ground.layer) :]
        self._pending.clear()
        self._aborted = False
        self.schema_changed = ground.schema_changed
        self._routines = ground.routines
        return True

    async def reset(self, patience: float, question: str | None = None) -> bool:
        """Roll back, restore what a rollback does not; tell whether the wire can be used again.

        `question` is asked in the same round trip: a statement that selects a row, or none.
        """
        script = [f"ROLLBACK TO {BASE};{self.catalog.RESET}", question] if self._begun else []
        status = await self._undo_all(";".join(filter(None, script)), frozenset(), patience)
        if status is None:
            return False
        if script and question:
            self.answer = status != "SELECT 0"
        self._begun = self._aborted = self.schema_changed = False
        self._grounds.clear()
        self._layers.clear()
        self._pending.clear()
        self._routines = self.catalog.routines.writing
        return True

    async def _undo_all(
        self, script: str, keep: frozenset[Transaction], patience: float
    ) -> str | None:
        """Run a script that undoes; return its last status, or None if the wire is of no use."""
        status = ""
        for transaction in self.open - keep:
            self.end(transaction)
        try:
            if self.turn.locked():
                await self._runtime.acquire(self.turn, min(patience, LEFTOVER_PATIENCE))
            else:
                await self.turn.acquire()
        except TimeoutError:
            return None
        try:
            if self.wire.is_closed() or self.escaped:
                return None
            if script:
                status = await self.wire.execute(script, timeout=patience) or status
            if self.schema_changed:
                # Plans, and what asyncpg knows of types, may be of a schema that is gone.
                await self.wire.reload_schema_state()
                await _deallocate(self.wire)
        except self._runtime.wire_errors as error:
            self._uprooted |= sqlstate(error) == NO_SAVEPOINT
            return None
        finally:
            for transaction in self.open - keep:
                self.end(transaction)
            self.turn.release()
        return status

    async def close(self) -> None:
        """Say goodbye to the server."""
        if not self.wire.is_closed():
            try:
                await self.wire.close(timeout=2)
            except self._runtime.wire_errors:
                self.wire.terminate()
