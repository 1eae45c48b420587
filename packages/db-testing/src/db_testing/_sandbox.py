"""Rollback isolation: many virtual transactions on one physical connection.

The model
=========
One *wire*, an asyncpg connection, carries the statements of every virtual connection of a test.
The first statement opens the *outer transaction*; the end of the test rolls it back. What an
application believes to be transactions are savepoints in it.

*Layers.* The server's savepoints form a stack. Each layer belongs to the transaction that took it
(more exactly to one of its frames: the transaction itself, or a SAVEPOINT of the application).
Before a statement runs, the top layer must belong to the innermost frame of its transaction, and
if it does not, a new savepoint is taken. So an error never reaches below the layer of the
statement that raised it, and a transaction that never runs a statement never costs one.

*Ends.* Commit gives up a transaction's layers without a word to the server: they are released
together with the next savepoint, in one round trip. Rollback returns to the lowest layer in which
the transaction wrote. A transaction that only read has nothing to undo, so it may end in any
order relative to others. Deferred constraints are checked at each commit.

*Turns.* Any number of transactions may read side by side. One that has written holds the turn
until it ends: statements of other tasks wait for it, as a serial schedule would have it, and never
see its uncommitted rows. Two exceptions, in which the holder cannot be expected to end first:

- the statement runs in the holder's own task, or in a task started from it since (the holder is
  likely to be waiting for it);
- the task that last used the holder is done (whoever has the holder now is unknown).

In both the statement overlaps the holder, and sees its rows as if they had been committed.

*What cannot be expressed* raises, and the test can then only end:

- a rollback beneath a layer in which another transaction has written since
  (:class:`SandboxConflictError`);
- a turn that does not come within the bound (:class:`SandboxDeadlockError`).

Waits among transactions cannot form a cycle: only a transaction that has written is waited for,
and it wrote while none but its own ancestors held the turn, for which it does not wait. A wait
that never ends is therefore the program's own, such as a task that holds the turn and waits for
another task that wants it; the bound ends it.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
import textwrap
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

import asyncpg

from . import _statements
from ._catalog import Catalog
from .errors import (
    SandboxClosedError,
    SandboxConflictError,
    SandboxDeadlockError,
    SandboxError,
    SandboxLoopError,
    SandboxLostError,
    SandboxRefusedError,
)

if TYPE_CHECKING:
    import re
    from types import FrameType

T = TypeVar("T")
Wire: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Connect: TypeAlias = Callable[[], Awaitable[Wire]]

PATIENCE: Final = 10.0
"""Seconds that a statement waits for its turn before the wait is called a deadlock."""

MARKER: Final = '@pytest.mark.db(isolation="commit")'

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
    wrote: Transaction | None = None
    """The last transaction that may have changed something in it for its frame."""
    foreign: Transaction | None = None
    """A transaction that has committed into it without being its owner."""


@dataclass(eq=False, slots=True)
class Transaction:
    """A virtual transaction: what one virtual connection believes to be its own."""

    test: str
    origin: str
    implicit: bool = False
    readonly: bool = False
    frames: list[Frame] = field(default_factory=list)
    task: asyncio.Task[Any] | None = None
    """The task that used it last."""
    wrote: bool = False
    open: bool = True
    doubtful: bool = False
    """A statement failed, and the server has not been asked whether that aborted the frame."""
    failed: bool = False
    """The innermost frame is aborted; only a rollback helps."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.frames.append(Frame(self))

    def __str__(self) -> str:
        kind = "statement" if self.implicit else "transaction"
        task = f" in task {self.task.get_name()!r}" if self.task else ""
        return f"the {kind} begun at {self.origin}{task}"


@dataclass(frozen=True, slots=True)
class Codec:
    """A conversion of a type that an application asked a connection for."""

    action: Literal["set_type_codec", "set_builtin_type_codec", "reset_type_codec"]
    typename: str
    options: dict[str, Any]

    async def apply(self, wire: Wire) -> None:
        await getattr(wire, self.action)(self.typename, **self.options)

    def same_as(self, other: Codec) -> bool:
        """Tell whether two codecs convert alike, also where each has functions of its own."""
        return self.action == other.action and (
            {name: _meaning(value) for name, value in self.options.items()}
            == {name: _meaning(value) for name, value in other.options.items()}
        )


def _meaning(value: Any) -> Any:
    code = getattr(value, "__code__", None)
    if code is None:
        return value
    return code, [_meaning(cell.cell_contents) for cell in value.__closure__ or ()]


_LIBRARY_FOLDERS: Final = (
    str(Path(__file__).parent),
    str(Path(asyncio.__file__).parent.parent),
    "<",
)


@functools.cache
def _is_library(filename: str) -> bool:
    return filename.startswith(_LIBRARY_FOLDERS) or any(
        folder in filename for folder in ("site-packages", "dist-packages")
    )


def caller() -> str:
    """Name the line of the program that is running, outside the libraries: `file:line`."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # inspect.stack() reads sources
    while frame is not None:
        if not _is_library(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"


class Sandbox:
    """The concurrency control of one worker's database under rollback isolation."""

    def __init__(self, connect: Connect, *, patience: float = PATIENCE) -> None:
        """Open nothing yet.

        `connect` opens a wire on the running loop; `patience` is in seconds.
        """
        self._connect = connect
        self._patience = patience
        self._test: str | None = None
        self._catalog: Catalog | None = None
        self._wires: dict[asyncio.AbstractEventLoop, _LiveWire] = {}
        self._live: _LiveWire | None = None
        self._sequences_moved = False
        self._failure: SandboxError | None = None
        self._broken = False
        self._committed = False
        self._codecs: dict[tuple[str, str], Codec] = {}
        self._background: set[asyncio.Task[None]] = set()

    # ----------------------------------------------------------------- the life of a test

    def begin_test(self, name: str) -> None:
        """Let the statements that follow belong to the named test. Costs nothing."""
        self._test = name
        self._failure = None
        self._broken = self._committed = False

    @property
    def used(self) -> bool:
        """Whether a statement has reached the server since the last reset."""
        return self._live is not None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop the test uses the database from; None until it does."""
        return self._live.loop if self._live else None

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops on which a wire is open."""
        return list(self._wires)

    async def end_test(self) -> None:
        """Undo everything since :meth:`begin_test`, in one round trip, or replace the wire."""
        live, self._live = self._live, None
        self._test = None
        if live is not None and not await live.reset(self._patience):
            self._discard(live)

    @property
    def committed(self) -> bool:
        """Whether something of this test was really committed, so that no reset can undo it."""
        return self._committed

    def abandon_test(self) -> None:
        """End a test whose event loop is closed; its wire was closed with the loop."""
        live, self._live = self._live, None
        self._test = None
        if live is not None:
            self._discard(live)

    @property
    def failure(self) -> SandboxError | None:
        """The first error of the sandbox's own in this test, which its code may have swallowed."""
        return self._failure

    async def close(self) -> None:
        """Close the running loop's wire."""
        live = self._wires.pop(asyncio.get_running_loop(), None)
        if live is not None:
            await live.guard.aclose()

    def _discard(self, live: _LiveWire) -> None:
        self._wires.pop(live.loop, None)
        if not live.loop.is_closed():
            live.wire.terminate()
        # Positions of sequences survive the connection that moved them.
        self._sequences_moved = True

    async def wire(self) -> _LiveWire:
        """Return the running loop's wire, connecting on first use."""
        if self._broken and self._failure is not None:
            raise self._failure
        loop = asyncio.get_running_loop()
        live = self._live
        if live is not None and live.loop is loop:
            if live.wire.is_closed():
                raise self._lost()
            return live
        if live is not None:
            raise self._fail(
                SandboxLoopError(
                    f"{self._test} used the database from two event loops, the second time at "
                    f"{caller()}. Under rollback isolation a test's transaction lives on one "
                    f"connection, and a connection on one loop. Use one loop for the test and its "
                    f"fixtures (pytest-asyncio: loop_scope), or add {MARKER} to the test."
                )
            )
        live = self._wires.get(loop)
        if live is None or live.wire.is_closed():
            live = self._wires[loop] = await self._open(loop)
        if self._sequences_moved:
            await live.catalog.restore_sequences(live.wire)
            self._sequences_moved = False
        self._live = live
        return live

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _LiveWire:
        wire = await self._connect()
        try:
            if self._catalog is None:
                self._catalog = await Catalog.read(wire)
            await self._catalog.prepare_reset(wire)
            for codec in self._codecs.values():
                await codec.apply(wire)
        except BaseException:
            wire.terminate()
            raise
        guard = self._close_with_loop(wire, loop)
        await anext(guard)
        return _LiveWire(wire, loop, guard, self._catalog)

    async def _close_with_loop(
        self, wire: Wire, loop: asyncio.AbstractEventLoop
    ) -> AsyncGenerator[None]:
        """Close the wire before its loop closes.

        A loop finalises the asynchronous generators that were started on it before it closes
        (`loop.shutdown_asyncgens()`: `asyncio.run` and every test runner do so); this is the one
        moment at which a connection can be closed properly whoever owns the loop.
        """
        try:
            yield
        finally:
            self._wires.pop(loop, None)
            if self._live is not None and self._live.loop is loop:
                self._sequences_moved = True
            if not wire.is_closed():
                try:
                    await wire.close(timeout=2)
                except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    wire.terminate()

    # ----------------------------------------------------------------- transactions

    def begin(self, *, implicit: bool = False, readonly: bool = False) -> Transaction:
        """Begin a virtual transaction. Nothing is sent until its first statement."""
        if self._broken and self._failure is not None:
            raise self._failure
        return Transaction(
            test=self._test or "no test", origin=caller(), implicit=implicit, readonly=readonly
        )

    async def run(
        self, transaction: Transaction, sql: str, operation: Callable[[Wire], Awaitable[T]]
    ) -> T:
        """Run one operation of a transaction on the wire, when its turn has come.

        Raises:
            SandboxDeadlockError: the turn did not come within the bound.
            SandboxRefusedError: the statement would be a lie here.
            SandboxClosedError: the transaction belongs to a test that has ended.
        """
        if _statements.listens(sql):
            raise self._refusal(sql, "is delivered at a commit, and this test's never comes")
        live = await self.wire()
        reads = live.reads_only(sql)
        if self._test is None and not reads:
            raise SandboxRefusedError(
                f"{_shorten(sql)!r} at {caller()} ran while no test was running, probably in a "
                f"fixture of class, module, package or session scope. Its effect would vanish "
                f"with the first test. Write the rows in a function-scoped fixture."
            )
        await self._take_turn(live, transaction)
        try:
            self._still_open(transaction)
            if transaction.failed:
                raise _in_failed_transaction()
            await live.enter(transaction, reads=reads)
            try:
                result = await operation(live.wire)
            except BaseException:
                transaction.doubtful = True
                if live.wire.is_closed():
                    self._lost()
                raise
            if not live.wire.is_in_transaction():
                self._committed = True
                raise self._fail(
                    SandboxRefusedError(
                        f"{_shorten(sql)!r} at {caller()} ended the test's outer transaction: what "
                        f"the test wrote is really committed. Add {MARKER} to {self._test}."
                    ),
                    broken=True,
                )
            return result
        finally:
            live.turn.release()

    async def statement(self, sql: str, operation: Callable[[Wire], Awaitable[T]]) -> T:
        """Run one statement in a transaction of its own, as a server in autocommit would."""
        transaction = self.begin(implicit=True)
        try:
            result = await self.run(transaction, sql, operation)
        except asyncpg.ActiveSQLTransactionError as error:
            await self.rollback(transaction)
            raise self._refusal(sql, f"cannot run inside a transaction ({error})") from error
        except BaseException:
            await self.rollback(transaction)
            raise
        await self.commit(transaction)
        return result

    async def savepoint(self, transaction: Transaction, name: str) -> None:
        """Open a savepoint. Nothing is sent until its first statement."""
        await self._settle(transaction)
        transaction.frames.append(Frame(transaction, name))

    async def release(self, transaction: Transaction, name: str) -> None:
        """Merge a savepoint, and those inside it, into the frame around it."""
        await self._settle(transaction)
        index = self._find(transaction, name)
        inner, outer = transaction.frames[index:], transaction.frames[index - 1]
        del transaction.frames[index:]
        if self._live is not None:
            self._live.relabel(inner, outer)

    async def rollback_to(self, transaction: Transaction, name: str) -> None:
        """Undo a savepoint and those inside it; the savepoint itself stays open."""
        self._still_open(transaction)
        index = self._find(transaction, name)
        await self._undo(transaction, transaction.frames[index:])
        del transaction.frames[index + 1 :]
        transaction.doubtful = transaction.failed = False

    async def commit(self, transaction: Transaction) -> None:
        """End a transaction, keeping what it did.

        Raises:
            asyncpg.PostgresError: a deferred constraint is violated; the transaction has been
                rolled back, as at a real commit.
        """
        self._still_open(transaction)
        if await self._aborted(transaction):
            await self.rollback(transaction)  # what a server makes of COMMIT in a failed block
            return
        live = self._live
        if live is not None and transaction.wrote and live.catalog.check_deferred is not None:
            check = live.catalog.check_deferred
            try:
                await self.run(transaction, "SET CONSTRAINTS", lambda wire: wire.execute(check))
            except BaseException:
                await self.rollback(transaction)
                raise
        if live is not None:
            live.relabel(transaction.frames, None)
        self._end(transaction)

    async def rollback(self, transaction: Transaction) -> None:
        """End a transaction, undoing what it did.

        Raises:
            SandboxConflictError: another transaction has written on top of it.
        """
        if not transaction.open:
            return
        try:
            await self._undo(transaction, transaction.frames)
        finally:
            self._end(transaction)

    def rollback_soon(self, transaction: Transaction) -> None:
        """Roll back from code that cannot await."""
        if self._live is not None and self._live.turn.locked():
            task = self._live.loop.create_task(self.rollback(transaction))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        elif transaction.open:
            try:
                self._undo_now(transaction, transaction.frames)
            finally:
                self._end(transaction)

    # ----------------------------------------------------------------- the session

    async def set_codec(self, codec: Codec) -> None:
        """Set a codec for every virtual connection, on this wire and on those that replace it.

        SQLAlchemy sets the same codecs on each connection that its pool makes; the wire, which
        must ask the server about the type, is bothered once.
        """
        key = (codec.typename, codec.options.get("schema", "public"))
        known = self._codecs.get(key)
        if known is None or not known.same_as(codec):
            await self.statement("SELECT", codec.apply)
            self._codecs[key] = codec

    def connected(self) -> Wire:
        """Return the wire of the running test.

        Raises:
            asyncpg.InterfaceError: the test has not run a statement yet.
        """
        if self._live is None:
            message = "no statement has been run yet in this test, so nothing is connected"
            raise asyncpg.InterfaceError(message)
        return self._live.wire

    # ----------------------------------------------------------------- inside

    def _still_open(self, transaction: Transaction) -> None:
        if not transaction.open:
            raise SandboxClosedError(
                f"{transaction} was still open when its test {transaction.test} ended, and was "
                f"rolled back with it. Await or cancel what outlives the test."
            )

    def _find(self, transaction: Transaction, name: str) -> int:
        for index in range(len(transaction.frames) - 1, 0, -1):
            if transaction.frames[index].savepoint == name:
                return index
        transaction.failed = True
        message = f'savepoint "{name}" does not exist'
        raise asyncpg.InvalidSavepointSpecificationError(message)

    async def _undo(self, transaction: Transaction, frames: list[Frame]) -> None:
        live = self._live
        if live is not None and live.turn.locked():

            async def in_turn() -> None:
                async with live.turn:
                    self._undo_now(transaction, frames)

            await _uninterrupted(in_turn())
        else:
            self._undo_now(transaction, frames)

    def _undo_now(self, transaction: Transaction, frames: list[Frame]) -> None:
        if self._live is None:
            return
        conflict = self._live.undo(frames, doubtful=transaction.doubtful)
        if conflict is not None:
            raise self._fail(
                SandboxConflictError(
                    f"{transaction} was rolled back at {caller()}, but {conflict} has written "
                    f"since and is not to be undone. Savepoints cannot express this: end the "
                    f"first before the second writes, or add {MARKER} to {self._test}."
                ),
                broken=True,
            )

    def _end(self, transaction: Transaction) -> None:
        transaction.open = False
        transaction.ended.set()
        if self._live is not None:
            self._live.open.discard(transaction)

    async def _settle(self, transaction: Transaction) -> None:
        """Raise what the server would raise to anything but a rollback in a failed block."""
        self._still_open(transaction)
        if await self._aborted(transaction):
            raise _in_failed_transaction()

    async def _aborted(self, transaction: Transaction) -> bool:
        """Tell whether a failure has aborted the transaction; ask the server when in doubt."""
        if not transaction.doubtful:
            return transaction.failed
        live = await self.wire()
        await self._take_turn(live, transaction)
        try:
            return await live.aborted(transaction)
        finally:
            live.turn.release()

    async def _take_turn(self, live: _LiveWire, transaction: Transaction) -> None:
        transaction.task = asyncio.current_task()
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    await live.turn.acquire()
                    holder = live.holder_before(transaction)
                    if holder is None:
                        return
                    live.turn.release()
                    await _ended_or_orphaned(holder)
        except TimeoutError:
            holder = live.holder_before(transaction)
            what = (
                f"{holder} has uncommitted changes and was not ended"
                if holder
                else "a statement of another task is still running"
            )
            raise self._fail(
                SandboxDeadlockError(
                    f"{transaction} waited {self._patience:g} s for its turn at {caller()}: "
                    f"{what}. Under rollback isolation transactions that write take turns on one "
                    f"connection. If the first is waiting for the second, add {MARKER} to "
                    f"{self._test}."
                )
            ) from None

    def _refusal(self, sql: str, why: str) -> SandboxRefusedError:
        return SandboxRefusedError(
            f"{_shorten(sql)!r} at {caller()} {why}. Rollback isolation refuses what it cannot "
            f"honour; add {MARKER} to {self._test}."
        )

    def refuse_boundary(self, words: str) -> SandboxRefusedError:
        """Build the error for transaction control in raw SQL."""
        return self._refusal(words, "would end the outer transaction that is to be rolled back")

    def _lost(self) -> SandboxLostError:
        return self._fail(
            SandboxLostError(
                f"the server closed the connection that held the transaction of {self._test}, "
                f"noticed at {caller()}. Everything the test had written is gone. If the test "
                f"terminates backends on purpose, add {MARKER} to it."
            ),
            broken=True,
        )

    def _fail(self, error: _E, *, broken: bool = False) -> _E:
        """Remember an error; when `broken`, the test's data can no longer be trusted."""
        if self._failure is None or (broken and not self._broken):
            self._failure = error
        self._broken |= broken
        return error


_E = TypeVar("_E", bound=SandboxError)


async def _uninterrupted(step: Coroutine[Any, Any, T]) -> T:
    """Finish a step that must not stop half-way, and only then let a cancellation through."""
    task = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


def _in_failed_transaction() -> asyncpg.InFailedSQLTransactionError:
    return asyncpg.InFailedSQLTransactionError(
        "current transaction is aborted, commands ignored until end of transaction block"
    )


async def _ended_or_orphaned(holder: Transaction) -> None:
    """Wait until a transaction has ended, or the task that used it last is done."""
    waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(holder.ended.wait())}
    ended = next(iter(waits))
    if holder.task is not None:
        waits.add(holder.task)
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended.cancel()


def _shorten(sql: str) -> str:
    return textwrap.shorten(sql, 80, placeholder=" ...")


class _LiveWire:
    """A wire and the savepoints on it. Every method but `undo` and `relabel` needs the turn."""

    def __init__(
        self,
        wire: Wire,
        loop: asyncio.AbstractEventLoop,
        guard: AsyncGenerator[None],
        catalog: Catalog,
    ) -> None:
        self.wire = wire
        self.loop = loop
        self.guard = guard
        self.catalog = catalog
        self.turn = asyncio.Lock()
        self.open: set[Transaction] = set()
        self._layers: list[Layer] = []
        self._pending: list[str] = []
        self._names = 0
        self._routines: re.Pattern[str] | None = catalog.routines

    def reads_only(self, sql: str) -> bool:
        if _statements.defines_routine(sql):
            self._routines = _statements.ANY_CALL
        return _statements.reads_only(sql, self._routines)

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
                and other.task is not None
                and not other.task.done()
                and other.task is not transaction.task
            ):
                return other
        return None

    async def enter(self, transaction: Transaction, *, reads: bool) -> None:
        """Make the top layer one of the transaction's innermost frame."""
        frame = transaction.frames[-1]
        top = self._layers[-1] if self._layers else None
        if top is None or top.frame is not frame or top.foreign is not None:
            await self._distrust_top()
            script = self._pending
            self._pending = []
            if not self.wire.is_in_transaction():
                script.append("BEGIN")
            self._release_ended(script)
            self._names += 1
            layer = Layer(f"db_testing_{self._names}", frame)
            script.append(f"SAVEPOINT {layer.name}")
            if transaction.readonly:
                script.append("SET LOCAL transaction_read_only = on")
            self._layers.append(layer)
            self.open.add(transaction)
            await self._bookkeeping(";".join(script))
        if not reads:
            self._layers[-1].wrote = transaction
            if not transaction.wrote:
                transaction.wrote = True
                _lineage.set(
                    frozenset(other for other in _lineage.get() if other.open) | {transaction}
                )

    async def _bookkeeping(self, script: str) -> None:
        """Run statements of the sandbox's own, which must all succeed for the stack to be true."""
        try:
            await _uninterrupted(self.wire.execute(script))
        except asyncpg.PostgresError:
            self.wire.terminate()
            raise

    def relabel(self, frames: list[Frame], outer: Frame | None) -> None:
        """Hand the layers of frames that ended to the frame around them, or to nobody."""
        for layer in self._layers:
            if layer.frame in frames:
                layer.frame = outer

    def undo(self, frames: list[Frame], *, doubtful: bool) -> Transaction | None:
        """Schedule the return to the lowest layer in which frames wrote.

        Returns the transaction whose changes stand in the way, if one does.
        """
        own = [index for index, layer in enumerate(self._layers) if layer.frame in frames]
        lowest = next((index for index in own if self._layers[index].wrote), None)
        if doubtful and own and lowest is None and own[-1] == len(self._layers) - 1:
            lowest = own[-1]
        if lowest is None:
            self.relabel(frames, None)
            return None
        for layer in self._layers[lowest:]:
            other = layer.foreign or (layer.wrote if layer.frame not in frames else None)
            if other is not None:
                return other
        for layer in self._layers[lowest:]:
            if layer.frame is not None and layer.frame.transaction.doubtful:
                layer.frame.transaction.failed = True
        name = self._layers[lowest].name
        self._pending += [f"ROLLBACK TO {name}", f"RELEASE {name}"]
        del self._layers[lowest:]
        self.relabel(frames, None)
        return None

    async def aborted(self, transaction: Transaction) -> bool:
        """Resolve the doubt about a transaction whose layer is the top one."""
        if transaction.doubtful:
            try:
                await _uninterrupted(self.wire.execute("SELECT"))
            except asyncpg.InFailedSQLTransactionError:
                transaction.failed = True
            transaction.doubtful = False
        return transaction.failed

    async def reset(self, patience: float) -> bool:
        """Roll back, restore what a rollback does not; tell whether the wire can be used again."""
        for transaction in list(self.open):
            transaction.open = False
            transaction.ended.set()
        self.open.clear()
        if self.wire.is_closed():
            return False
        if not self.wire.is_in_transaction():
            return True
        try:
            async with asyncio.timeout(patience):
                async with self.turn:
                    await self.wire.execute(self._reset_script())
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        self._layers.clear()
        self._pending.clear()
        self._routines = self.catalog.routines
        return not self.wire.is_in_transaction()

    def _reset_script(self) -> str:
        # An aborted transaction can do nothing but return to a savepoint, and the positions of
        # sequences must be restored while their locks tell which were moved.
        back = [f"ROLLBACK TO {self._layers[0].name}"] if self._layers else []
        return ";".join([*self._pending, *back, self.catalog.RESET])

    async def _distrust_top(self) -> None:
        """Return an aborted top layer to health before another frame builds on it."""
        top = self._layers[-1] if self._layers else None
        if self._pending or top is None or top.frame is None:
            return
        transaction = top.frame.transaction
        if transaction.doubtful and await self.aborted(transaction):
            self._pending.append(f"ROLLBACK TO {top.name}")
            top.wrote = None

    def _release_ended(self, script: list[str]) -> None:
        """Release the ended layers at the top of the stack into the layer beneath."""
        name = None
        while self._layers and self._layers[-1].frame is None:
            layer = self._layers.pop()
            name = layer.name
            below = self._layers[-1] if self._layers else None
            if below is not None:
                below.foreign = layer.wrote or layer.foreign or below.foreign
        if name is not None:
            script.append(f"RELEASE {name}")
