"""Rollback isolation: many virtual transactions on one physical connection.

The model
=========
One *wire*, an asyncpg connection, carries the statements of every virtual connection of a test.
The first statement opens the *outer transaction*; the end of the test rolls it back. What an
application believes to be transactions are savepoints in it. :mod:`._wire` keeps their stack.

*Layers.* The server's savepoints form a stack. Each layer belongs to the transaction that took it
(more exactly to one of its frames: the transaction itself, or a SAVEPOINT of the application).
Before a statement runs, the top layer must belong to the innermost frame of its transaction, and
hold no commit of another; else a layer is taken: that of an ended transaction, if nothing was
written in it, or a new one. So an error never reaches below the layer of the statement that raised
it, and a transaction that never runs a statement never costs a savepoint.

*Errors.* After a failure it is known at once whether the server has aborted the layer: it said so,
or it is asked (after a cancellation, or an error of the driver's own). The transaction then refuses
statements until a rollback, without bothering the server; before another transaction builds on the
layer, it is rolled back.

*Ends.* Commit gives up a transaction's layers without a word to the server: they are released
together with the next savepoint, in one round trip. Rollback returns, with the next statement, to
the lowest layer in which the transaction wrote. A transaction that only read has nothing to undo,
so it may end in any order relative to others. At each commit deferred constraints are checked, and
what SET LOCAL has set is put back; neither happens when a savepoint is released. A read-only
transaction's layers are left as soon as another one runs a statement, which else could not write.

*Turns.* Any number of transactions may read side by side. One that has written holds the turn
until it ends: statements of other tasks wait for it, as a serial schedule would have it, and never
see its uncommitted rows. Three exceptions, in which the holder cannot be expected to end first:

- the statement runs in the holder's own task, or in a task started from it since (the holder is
  likely to be waiting for it);
- the task that last used the holder is done (whoever has the holder now is unknown);
- the statement's transaction first wrote when the holder had written already.

In all of them the statement overlaps the holder, and sees its rows as if they had been committed.

*What cannot be expressed* raises :class:`SandboxConflictError`:

- a rollback beneath a layer in which another transaction has written, or has a cursor open, since;
- a write above another's read-only layer which an open cursor holds in place;
- a violation of a deferred constraint at a commit, while another transaction that has written is
  still open: the server checks the pending rows of both.

After the first of these the test can only end. A wait for one holder, or for one statement, that
takes longer than the bound raises :class:`SandboxDeadlockError`.

Waits among transactions cannot form a cycle. Suppose one, and take of its members the one that
first wrote last: it waits for a member that had written before and is still open, which the third
exception forbids; and one that has not written is waited for by nobody. A wait that never ends is
therefore the program's own, such as a task that holds the turn and waits for another task that
wants it; the bound ends it.

*Tests.* What waits for its turn, or for the connection, when its test ends never runs. What is
running then is given a moment; after that the wire is cut off, and the server process ended before
the next test's first statement, since it may hold locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import textwrap
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg
import greenlet  # type: ignore[import-untyped]

from . import _statements, _transaction_identity
from ._blockers import Blockers
from ._catalog import Catalog
from ._runtime import (
    ASYNCIO,
    BROKEN_BLOCK,
    CONSTRAINT_VIOLATION,
    INSIDE_TRANSACTION,
    LOCK_NOT_AVAILABLE,
    NO_SAVEPOINT,
    NO_TRANSACTION,
    READ_ONLY,
    UNSAFE_NEW_ENUM_VALUE,
    Lock,
    Loop,
    Runtime,
    sqlstate,
)
from ._wire import Codec, Codecs, Frame, Ground, LiveWire, Transaction, Wire
from .errors import (
    SandboxBlockedError,
    SandboxClosedError,
    SandboxConflictError,
    SandboxDeadlockError,
    SandboxError,
    SandboxLoopError,
    SandboxLostError,
    SandboxRefusedError,
)

if TYPE_CHECKING:
    from types import FrameType

    from ._escapes import Watch

__all__ = ["MARKER", "PATIENCE", "Sandbox", "Wire", "caller"]

T = TypeVar("T")
Connect: TypeAlias = Callable[[], Awaitable[Wire]]

PATIENCE: Final = 10.0
"""Seconds that a statement waits for one holder of the turn before the wait is a deadlock."""

MARKER: Final = '@pytest.mark.db(isolation="commit")'

_NO_TEST: Final = "no test"
"""The test of transactions that begin outside of any."""

_LIBRARY_FOLDERS: Final = (
    str(Path(__file__).parent),
    str(Path(asyncio.__file__).parent.parent),
    "<",
)


_TASK_STEP: Final = asyncio.Handle._run.__code__  # noqa: SLF001
"""What calls a task: beneath it is the event loop, and whoever happens to run that."""


@functools.cache
def _is_library(filename: str) -> bool:
    return filename.startswith(_LIBRARY_FOLDERS) or any(
        folder in filename for folder in ("site-packages", "dist-packages")
    )


def caller() -> str:
    """Name the line of the program that is running, outside the libraries: `file:line`."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # inspect.stack() reads sources
    within = greenlet.getcurrent()
    while frame is not None and frame.f_code is not _TASK_STEP:
        if not _is_library(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
        if frame is None and within.parent is not None:
            # SQLAlchemy's asynchronous engine runs its synchronous code, and events, in greenlets.
            within = within.parent
            frame = within.gr_frame
    return _waiting_line() or "an unknown line"


def _waiting_line() -> str | None:
    """Name the line that waits for a task in which only libraries run.

    SQLAlchemy ends `async with session.begin()` in such a task, shielded from cancellation. Until
    Python 3.14 asyncio does not say who waits for a task, but the futures that connect them do.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    awaited: set[object] = {task}
    for callback, _ in getattr(task, "_callbacks", None) or ():
        cells = getattr(callback, "__closure__", None) or ()
        awaited |= {cell.cell_contents for cell in cells if asyncio.isfuture(cell.cell_contents)}
    for other in asyncio.all_tasks() if task is not None else ():
        if getattr(other, "_fut_waiter", None) in awaited:
            line = None
            step: Any = other.get_coro()
            while (frame := getattr(step, "cr_frame", None)) is not None:
                if not _is_library(frame.f_code.co_filename):
                    line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                step = step.cr_await
            return line
    return None


@dataclass(eq=False, slots=True)
class DatabaseState:
    """What is to be known of a database by every sandbox on it."""

    catalog: Catalog | None = None
    sequences_moved: bool = False
    """Whether the position of some sequence is not the template's."""
    discarded: list[int] = field(default_factory=list)
    """Server processes of wires that were cut off, which may still hold locks."""


class Sandbox:
    """The concurrency control of one worker's database under rollback isolation."""

    def __init__(
        self,
        connect: Connect,
        *,
        patience: float = PATIENCE,
        runtime: Runtime = ASYNCIO,
        state: DatabaseState | None = None,
        watch: Watch | None = None,
        admit: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Open nothing yet.

        `connect` opens a wire on the running loop; `patience` is in seconds. `state` is shared with
        another sandbox on the same database; `watch` knows what to ask the server at the end of
        each test. `admit` is asked at a test's first statement, and says why the test must not use
        this sandbox.
        """
        self.moved: bool | None = None
        """Whether others were seen to commit, or to leave something open; None: nobody looked."""
        self.lost = False
        """Whether this test's wire was given up, so that nothing was asked."""
        self._watch = watch
        self.generation = 0
        """Counts the resets after which nothing that was prepared before may be used."""
        self._connect = connect
        self._patience = patience
        self._test: str | None = None
        self._epoch = 0
        """Counts the beginnings and ends of tests: what waits across one belongs to neither."""
        self._runtime = runtime
        self._state = DatabaseState() if state is None else state
        self._admit = admit
        self._admitted = 0
        """The epoch of the test whose first statement has been let through."""
        self._wires: dict[Loop, LiveWire] = {}
        self._doors: weakref.WeakKeyDictionary[Loop, Lock] = weakref.WeakKeyDictionary()
        self._live: LiveWire | None = None
        self._failure: SandboxError | None = None
        self._broken = False
        self._committed = False
        self._codecs: list[Codec] = []
        """Those that have been set before, to know them again."""
        self._identity: list[str] = []
        """This test's statements that mention transaction identity."""

    # ----------------------------------------------------------------- the life of a test

    def begin_test(self, name: str) -> None:
        """Let the statements that follow belong to the named test. Costs nothing."""
        self._test = name
        self._epoch += 1
        self._failure = None
        self._broken = self._committed = self.lost = False
        self._identity = []
        self.moved = None

    @property
    def used(self) -> bool:
        """Whether a statement has reached the server since the last reset."""
        return self._live is not None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop the test uses the database from; None until it does."""
        return self._live.loop if self._live else None

    @property
    def loops(self) -> list[Any]:
        """The event loops on which a wire is open."""
        return list(self._wires)

    @property
    def processes(self) -> list[int]:
        """The server processes of the wires."""
        return [live.pid for live in self._wires.values()]

    async def end_test(self) -> None:
        """Undo everything since :meth:`begin_test`, in one round trip, or replace the wire."""
        live = self._leave_test()
        if live is None:
            return
        if live.schema_changed:
            self.generation += 1
        live.answer = None
        question = self._watch.question if self._watch is not None else None
        if await live.reset(self._patience, question):
            self.moved = live.answer
        else:
            self._discard(live)
            if live.guard is not None:
                await live.guard.aclose()
        self._committed |= live.escaped

    @property
    def committed(self) -> bool:
        """Whether something of this test was really committed, so that no reset can undo it."""
        return self._committed

    @property
    def unsettled(self) -> bool:
        """Whether the next test's first statement has yet to put back what a lost wire left."""
        return self._state.sequences_moved or bool(self._state.discarded)

    async def settle(self) -> None:
        """Put that back now."""
        await self._wire_of(self._runtime.loop())

    def abandon_test(self) -> None:
        """End a test whose event loop is closed; its wire was closed with the loop."""
        live = self._leave_test()
        if live is not None:
            self._discard(live)

    def _leave_test(self) -> LiveWire | None:
        live, self._live = self._live, None
        self._test = None
        self._epoch += 1
        return live

    async def lay(self) -> tuple[LiveWire, Ground]:
        """Remember the state that the running test has reached.

        Raises:
            SandboxDeadlockError: a statement is running for longer than the bound.
        """
        live = await self.wire()
        if self._admitted != self._epoch:
            self._check_admitted("a data layer", self._epoch)
        transaction = self.begin(implicit=True)
        await self._take_turn(live, transaction)
        try:
            return live, await live.lay(transaction.origin)
        finally:
            live.turn.release()

    async def fall_back(self, live: LiveWire, ground: Ground) -> None:
        """Undo everything since a state was remembered. What is still open then is closed.

        Raises:
            SandboxLostError: the connection is gone, or cannot be used again.
        """
        if self._live is not live:
            return  # undone with its test, or lost, which was said
        if live.schema_changed:
            self.generation += 1
        if not await live.fall_back(ground, self._patience):
            live.wire.terminate()
            raise self._lost()

    def forget_catalog(self) -> None:
        """Read the catalog again before the next statement: the database has been changed."""
        self._state.catalog = None

    @property
    def failure(self) -> SandboxError | None:
        """The first error of the sandbox's own in this test, which its code may have swallowed."""
        return self._failure

    @property
    def remark(self) -> str | None:
        """What the running test, should it fail, may owe to transaction identity."""
        catalog = self._state.catalog if self.used else None
        objects = catalog.identity if catalog is not None else ()
        return _transaction_identity.remark(objects, self._identity, MARKER)

    async def close(self) -> None:
        """Close the running loop's wire."""
        live = self._wires.pop(self._runtime.loop(), None)
        if live is not None and live.guard is not None:
            await live.guard.aclose()
        elif live is not None:
            await live.close()

    def cut_off(self) -> None:
        """Cut every wire off: the database is about to be replaced."""
        for live in self._wires.values():
            if not live.loop.is_closed():
                live.wire.terminate()
        self._wires.clear()
        self._state.discarded.clear()
        self._state.sequences_moved = False

    def restore_sequences(self) -> None:
        """Put every sequence back before the next statement of a test."""
        self._state.sequences_moved = True

    @property
    def discarded(self) -> list[int]:
        """The server processes of wires that were given up, and may not have noticed yet."""
        return list(self._state.discarded)

    @property
    def users(self) -> set[asyncio.Task[Any]]:
        """The tasks that hold a transaction of the running test."""
        held = {transaction.task for transaction in self._live.open} if self._live else set()
        return {task for task in held if isinstance(task, asyncio.Task)}

    def _discard(self, live: LiveWire) -> None:
        self.lost = True
        if self._wires.get(live.loop) is live:
            del self._wires[live.loop]
        if self._live is live:
            self._live = None
        self._state.discarded.append(live.pid)
        if not live.loop.is_closed():
            live.wire.terminate()
        # Positions of sequences survive the connection that moved them.
        self._state.sequences_moved = True

    async def wire(self) -> LiveWire:
        """Return the running loop's wire, connecting on first use."""
        if self._broken and self._failure is not None:
            raise self._failure
        loop = self._runtime.loop()
        if self._live is None:
            async with self._doors.setdefault(loop, self._runtime.lock()):
                if self._live is None:
                    found = await self._wire_of(loop)
                    if self._live is None:  # else the loop of another thread was faster
                        self._live = found
        live = self._live
        if live.loop is not loop:
            raise self._fail(
                SandboxLoopError(
                    f"{self._test} used the database from two event loops, the second time at "
                    f"{caller()}. Under rollback isolation a test's transaction lives on one "
                    f"connection, and a connection on one loop. Starlette's TestClient has a loop "
                    f"of its own, each time: in an `async def` test use httpx.AsyncClient("
                    f"transport=ASGITransport(app)), in a plain test a single `with "
                    f"TestClient(app)` and nothing else that uses the database. Fixtures share "
                    f"the test's loop by pytest-asyncio's loop_scope. Or add {MARKER} to the test."
                )
            )
        if live.wire.is_closed():
            raise self._lost()
        return live

    async def _wire_of(self, loop: Loop) -> LiveWire:
        live = self._wires.get(loop)
        if live is None or live.wire.is_closed():
            live = self._wires[loop] = await self._open()
        elif live.catalog is not self._state.catalog:
            if self._state.catalog is None:
                self._state.catalog = await Catalog.read(live.wire)
            await live.adopt_catalog(self._state.catalog)
        if self._state.discarded:
            await self._end_discarded(live.wire)
        if self._state.sequences_moved:
            await live.catalog.restore_sequences(live.wire)
            self._state.sequences_moved = False
        return live

    async def _open(self) -> LiveWire:
        wire = await self._connect()
        try:
            if self._state.discarded:
                await self._end_discarded(wire)
            if self._state.catalog is None:
                self._state.catalog = await Catalog.read(wire)
            await self._state.catalog.prepare_reset(wire)
            if self._watch is not None:
                await self._watch.prepare(wire)
        except BaseException:
            wire.terminate()
            raise
        live = LiveWire(wire, self._state.catalog, self._runtime)
        if self._runtime.loops_end:
            live.guard = self._close_with_loop(live)
            await anext(live.guard)
        return live

    async def _end_discarded(self, wire: Wire) -> None:
        await wire.execute(_END_PROCESSES, self._state.discarded)
        self._state.discarded = []

    async def _close_with_loop(self, live: LiveWire) -> AsyncGenerator[None]:
        """Close the wire before its loop closes.

        A loop finalises the asynchronous generators that were started on it before it closes
        (`loop.shutdown_asyncgens()`: `asyncio.run` and every test runner do so); this is the one
        moment at which a connection can be closed properly whoever owns the loop.
        """
        try:
            yield
        finally:
            if self._wires.get(live.loop) is live:
                del self._wires[live.loop]
            if self._live is live:
                self._state.sequences_moved = True
            await live.close()

    # ----------------------------------------------------------------- transactions

    def begin(
        self, *, implicit: bool = False, readonly: bool = False, codecs: Codecs | None = None
    ) -> Transaction:
        """Begin a virtual transaction. Nothing is sent until its first statement."""
        if self._broken and self._failure is not None:
            raise self._failure
        return Transaction(
            test=self._test or _NO_TEST,
            origin=caller(),
            implicit=implicit,
            readonly=readonly,
            codecs={} if codecs is None else codecs,
            ended=self._runtime.event(),
            worker=self._runtime.worker,
        )

    async def run(
        self,
        transaction: Transaction,
        sql: str,
        operation: Callable[[Wire], Awaitable[T]],
        *,
        args: Sequence[Any] = (),
        reads: bool | None = None,
        cursor: bool = False,
    ) -> T:
        """Run one operation of a transaction on the wire, when its turn has come.

        `reads` says whether it changes nothing, where its text does not tell.

        Raises:
            SandboxDeadlockError: the turn did not come within the bound.
            SandboxRefusedError: the statement would be a lie here.
            SandboxClosedError: the transaction belongs to a test that has ended.
        """
        self._check_statement(transaction, sql)
        epoch = self._epoch
        live = await self.wire()
        if self._admitted != epoch and self._test is not None:
            self._check_admitted(sql, epoch)
        if reads is None:
            reads = live.reads_only(sql)
        if self._test is None and not reads:
            raise SandboxRefusedError(
                f"{_shorten(sql)!r} at {caller()} ran while no test was running, probably in a "
                f"fixture of class, module, package or session scope. Its effect would vanish "
                f"with the first test. Write rows for many tests inside `async with db_layer() as "
                f"session`, and others in a function-scoped fixture."
            )
        settings = _statements.local_settings(sql, args)
        settings |= live.catalog.routines.effect(sql).settings
        if not transaction.local_settings.keys() >= settings:
            operation = self._noting(transaction, settings, operation)
        transaction.endings |= _statements.endings(sql)
        self._check_usable(transaction)
        await self._take_turn(live, transaction)
        try:
            if epoch != self._epoch:
                raise SandboxClosedError(
                    f"{transaction} was waiting for its turn when {transaction.test} ended. Await "
                    f"or cancel what outlives the test."
                )
            self._check_usable(transaction)
            self._check_locks(live, transaction, sql)
            blockers = Blockers(self._connect, live.pid)
            live.running = transaction.task
            try:
                with blockers.watching() if self._runtime is ASYNCIO else contextlib.nullcontext():
                    result = await live.perform(transaction, operation, reads=reads, cursor=cursor)
            except BaseException as error:
                self._inspect(live, epoch, sql)
                better = self._blocked(error, blockers, transaction, sql) or self._explained(
                    error, live, transaction, sql
                )
                if better is not None:
                    raise better from error
                raise
            failure = self._inspect(live, epoch, sql)
            if failure is not None:
                raise failure
            return result
        finally:
            live.running = None
            live.turn.release()

    def _check_admitted(self, sql: str, epoch: int) -> None:
        why = self._admit()
        if why is not None:
            raise self.refuse(sql, why)
        self._admitted = epoch

    def _check_statement(self, transaction: Transaction, sql: str) -> None:
        """Refuse what would be a lie here, or what the server would refuse outside a block."""
        why = _statements.refusal(sql)
        if why is not None:
            raise self.refuse(sql, why)
        if _transaction_identity.mentioned(sql):
            self._identity.append(f"{_shorten(sql)!r} at {caller()}")
        if transaction.implicit and any(kind == "cursor" for kind, _ in _statements.endings(sql)):
            raise self._runtime.error(
                NO_TRANSACTION, "DECLARE CURSOR can only be used in transaction blocks"
            )

    def _check_locks(self, live: LiveWire, transaction: Transaction, sql: str) -> None:
        """Refuse to tell what is locked while others may hold locks: a session sees not its own."""
        if _statements.asks_for_locks(sql) and (others := live.writers_besides(transaction)):
            raise self.refuse(sql, f"cannot see the locks of {others[0]}, on the same connection")

    def _noting(
        self,
        transaction: Transaction,
        settings: frozenset[str],
        operation: Callable[[Wire], Awaitable[T]],
    ) -> Callable[[Wire], Awaitable[T]]:
        """Note the values of settings before an operation that sets them for its transaction."""

        async def noting(wire: Wire) -> T:
            rows = await wire.fetch(
                "SELECT name, current_setting(name, true) FROM unnest($1::text[]) AS name",
                list(settings - transaction.local_settings.keys()),
            )
            transaction.local_settings |= {row["name"]: row["current_setting"] for row in rows}
            return await operation(wire)

        return noting

    def _inspect(self, live: LiveWire, epoch: int, sql: str) -> SandboxError | None:
        """Notice that an operation has cost the test its connection or its outer transaction."""
        if epoch != self._epoch:
            return None  # the wire was taken from a statement that outlived its test
        if live.wire.is_closed() and not live.escaped:
            return self._lost()
        if not live.escaped:
            return None
        self._committed = True
        return self._fail(
            SandboxRefusedError(
                f"{_shorten(sql)!r} at {caller()} ended the test's outer transaction: what the "
                f"test wrote is really committed. Add {MARKER} to {self._test}."
            ),
            broken=True,
        )

    def _blocked(
        self, error: BaseException, blockers: Blockers, transaction: Transaction, sql: str
    ) -> SandboxBlockedError | None:
        """Name both sides where a connection that is not the sandbox's held a lock for too long."""
        if sqlstate(error) != LOCK_NOT_AVAILABLE or not blockers.names:
            return None
        return self._fail(
            SandboxBlockedError(
                f"{_shorten(sql)!r} at {caller()}, in {transaction}, waited in vain for a lock "
                f"({error}) that a connection which is not the sandbox's held: "
                f"{', '.join(blockers.names)}. End its transaction first, use db_engine for both, "
                f"or add {MARKER} to {self._test}."
            )
        )

    def _explained(
        self, error: BaseException, live: LiveWire, transaction: Transaction, sql: str
    ) -> SandboxError | None:
        """Return a better error where the server's is due to the sandbox, not to the program."""
        if sqlstate(error) == READ_ONLY and not transaction.readonly:
            reader = live.readonly_besides(transaction)
            if reader is not None:
                return self._fail(
                    SandboxConflictError(
                        f"{transaction} could not write at {caller()}, because {reader} is "
                        f"read-only and has an open cursor. End the cursor's transaction first, "
                        f"or add {MARKER} to {self._test}."
                    )
                )
        if sqlstate(error) in INSIDE_TRANSACTION and (
            transaction.implicit or _statements.sets_isolation(sql)
        ):
            return self.refuse(sql, f"cannot run inside another transaction ({error})")
        if sqlstate(error) == UNSAFE_NEW_ENUM_VALUE:
            return self.refuse(sql, f"needs a value that is never committed ({error})")
        return None

    async def statement(
        self,
        sql: str,
        operation: Callable[[Wire], Awaitable[T]],
        *,
        args: Sequence[Any] = (),
        codecs: Codecs | None = None,
    ) -> T:
        """Run one statement in a transaction of its own, as a server in autocommit would."""
        try:
            return await self._autocommit(sql, operation, args, codecs)
        except asyncpg.InvalidCachedStatementError:
            # It has forgotten the plan; outside a transaction the driver would prepare it anew.
            return await self._autocommit(sql, operation, args, codecs)

    async def _autocommit(
        self,
        sql: str,
        operation: Callable[[Wire], Awaitable[T]],
        args: Sequence[Any],
        codecs: Codecs | None,
    ) -> T:
        transaction = self.begin(implicit=True, codecs=codecs)
        try:
            result = await self.run(transaction, sql, operation, args=args)
        except BaseException:
            self.rollback(transaction)
            raise
        await self.commit(transaction)
        return result

    def savepoint(self, transaction: Transaction, name: str) -> None:
        """Open a savepoint. Nothing is sent until its first statement."""
        self._check_usable(transaction)
        transaction.frames.append(Frame(transaction, name))

    def release(self, transaction: Transaction, name: str) -> None:
        """Merge a savepoint, and those inside it, into the frame around it."""
        self._check_usable(transaction)
        index = self._find(transaction, name)
        inner, outer = transaction.frames[index:], transaction.frames[index - 1]
        del transaction.frames[index:]
        if self._live is not None:
            self._live.relabel(inner, outer)

    def rollback_to(self, transaction: Transaction, name: str) -> None:
        """Undo a savepoint and those inside it; the savepoint itself stays open.

        Raises:
            SandboxConflictError: another transaction has written on top of it.
        """
        self._check_open(transaction)
        index = self._find(transaction, name)
        self._undo(transaction, transaction.frames[index:])
        del transaction.frames[index + 1 :]
        transaction.failed = False

    async def commit(self, transaction: Transaction) -> None:
        """End a transaction, keeping what it did.

        Raises:
            the driver's error: a deferred constraint is violated; the transaction has been rolled
                back, as at a real commit.
        """
        self._check_open(transaction)
        if transaction.failed:
            self.rollback(transaction)  # what a server makes of COMMIT in a failed block
            return
        live = self._live
        if live is not None and transaction.wrote:
            last = live.before_commit(transaction)
            if last is not None:
                try:
                    await self.run(transaction, "COMMIT", last.run, reads=last.reads)
                except BaseException as error:
                    conflict = self._ambiguous(error, live, transaction)
                    self.rollback(transaction)
                    if conflict is not None:
                        raise conflict from error
                    raise
        if live is not None:
            live.relabel(transaction.frames, None)
            live.end(transaction)

    def rollback(self, transaction: Transaction) -> None:
        """End a transaction, undoing what it did, with the next statement on the wire.

        Raises:
            SandboxConflictError: another transaction has written on top of it.
        """
        if not transaction.open:
            return
        try:
            self._undo(transaction, transaction.frames)
        finally:
            transaction.open = False
            transaction.ended.set()
            if self._live is not None:
                self._live.end(transaction)

    # ----------------------------------------------------------------- the session

    async def set_codec(self, codecs: Codecs, codec: Codec) -> None:
        """Set a codec for the connection to which a set of codecs belongs.

        SQLAlchemy sets the same codecs on each connection that its pool makes; the wire, which
        must ask the server about the type, is bothered once.
        """
        known = next((known for known in self._codecs if known.same_as(codec)), None)
        if known is None:
            await self.statement("SELECT", codec.apply, codecs=codecs)
            self._codecs.append(codec)
            known = codec
        codecs[known.typename, known.schema] = known

    def connected(self) -> Wire:
        """Return the wire of the running test.

        Raises:
            asyncpg.InterfaceError, or psycopg's: the test has not run a statement yet.
        """
        if self._live is None:
            message = "no statement has been run yet in this test, so nothing is connected"
            raise self._runtime.closed(message)
        return self._live.wire

    # ----------------------------------------------------------------- inside

    def _check_open(self, transaction: Transaction) -> None:
        if not transaction.open:
            if transaction.test is _NO_TEST:
                raise SandboxClosedError(
                    f"{transaction} began while no test was running, probably in a fixture of "
                    f"class, module, package or session scope, and was rolled back with the first "
                    f"test that ended since. Begin it in a function-scoped fixture."
                )
            raise SandboxClosedError(
                f"{transaction} was still open when its test {transaction.test} ended, or a data "
                f"layer in it, and was rolled back with it. Await or cancel what outlives the test."
            )

    def _check_usable(self, transaction: Transaction) -> None:
        """Raise what the server would raise to anything but a rollback in a failed block."""
        self._check_open(transaction)
        if transaction.failed:
            raise self._runtime.error(
                BROKEN_BLOCK,
                "current transaction is aborted, commands ignored until end of transaction block",
            )

    def _find(self, transaction: Transaction, name: str) -> int:
        for index in range(len(transaction.frames) - 1, 0, -1):
            if transaction.frames[index].savepoint == name:
                return index
        transaction.failed = True
        message = f'savepoint "{name}" does not exist'
        raise self._runtime.error(NO_SAVEPOINT, message)

    def _undo(self, transaction: Transaction, frames: list[Frame]) -> None:
        conflict = self._live.undo(frames) if self._live is not None else None
        if conflict is not None:
            raise self._fail(
                SandboxConflictError(
                    f"{transaction} was rolled back at {caller()}, but {conflict} since, which "
                    f"is not to be undone. Savepoints cannot express this: end the first before "
                    f"the second begins, or add {MARKER} to {self._test}."
                ),
                broken=True,
            )

    def _ambiguous(
        self, error: BaseException, live: LiveWire, transaction: Transaction
    ) -> SandboxConflictError | None:
        """Tell a violation at a commit from one that an overlapping transaction may have caused."""
        others = live.writers_besides(transaction)
        if not sqlstate(error).startswith(CONSTRAINT_VIOLATION) or not others:
            return None
        return self._fail(
            SandboxConflictError(
                f"a deferred constraint was violated when {transaction} was committed at "
                f"{caller()} ({error}), and the violation may be of {others[0]}, which is still "
                f"open. Commit one before the other writes, or add {MARKER} to {self._test}."
            )
        )

    async def _take_turn(self, live: LiveWire, transaction: Transaction) -> None:
        transaction.task = self._runtime.current()
        if live.running is not None and live.running is transaction.task:
            raise self._fail(
                SandboxDeadlockError(
                    f"{transaction} was to run at {caller()} within another statement of the same "
                    f"{self._runtime.worker}, such as a COPY whose source or target uses the "
                    f"database. Under rollback isolation all connections are one, which runs one "
                    f"statement at a time. Read the rows before the COPY begins, or add {MARKER} "
                    f"to {self._test}."
                )
            )
        while True:
            holder = live.holder_before(transaction)
            try:
                if holder is not None:
                    await self._runtime.ended_or_orphaned(holder.ended, holder.task, self._patience)
                    continue
                await self._runtime.acquire(live.turn, self._patience)
            except TimeoutError:
                raise self._deadlock(transaction, holder) from None
            if live.holder_before(transaction) is None:
                return
            live.turn.release()

    def _deadlock(
        self, transaction: Transaction, holder: Transaction | None
    ) -> SandboxDeadlockError:
        what = (
            f"{holder} has uncommitted changes and was not ended"
            if holder
            else f"a statement of another {self._runtime.worker} is still running"
        )
        return self._fail(
            SandboxDeadlockError(
                f"{transaction} waited {self._patience:g} s for its turn at {caller()}: {what}. "
                f"Under rollback isolation transactions that write take turns on one connection. "
                f"If the first is waiting for the second, add {MARKER} to {self._test}."
            )
        )

    def refuse(self, what: str, why: str) -> SandboxRefusedError:
        """Build the error for something that rollback isolation cannot honour."""
        return SandboxRefusedError(
            f"{_shorten(what)!r} at {caller()} {why}. Rollback isolation refuses what it cannot "
            f"honour; add {MARKER} to {self._test}."
        )

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

_END_PROCESSES: Final = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE pid = ANY ($1) AND datname = current_database() AND usename = current_user
"""


def _shorten(sql: str) -> str:
    return textwrap.shorten(sql, 80, placeholder=" ...")
