"""Rollback isolation: many virtual transactions on one physical connection.

The model
=========
One *wire*, an asyncpg connection, carries the statements of every virtual connection of a test.
The first statement opens the *outer transaction*; the end of the test rolls it back. What an
application believes to be transactions are savepoints in it. :mod:`._layers` keeps their stack,
:mod:`._turns` lets transactions wait, and :mod:`._wire` brings it all to the server.

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
so it may end in any order relative to others; its cursors close with it where nothing of another
transaction is above them, and else with the test. At each commit deferred constraints are checked,
and what SET LOCAL has set is put back; neither happens when a savepoint is released. A read-only
transaction's layers are left as soon as another one runs a statement, which else could not write;
what outlasts it, such as SET, stays.

*Turns.* Any number of transactions may read side by side. One that has written holds the turn
until it ends: statements of other tasks wait for it, as a serial schedule would have it, and never
see its uncommitted rows. Three exceptions, in which the holder cannot be expected to end first:

- the statement runs in the holder's own task, or in a task started from it since (the holder is
  likely to be waiting for it);
- the task that last used the holder is done (whoever has the holder now is unknown);
- the statement's transaction first wrote when the holder had written already.

In all of them the statement overlaps the holder, and sees its rows as if they had been committed.

*What cannot be expressed* raises :class:`SandboxConflictError`:

- a rollback beneath a layer in which another transaction has written, or has a cursor open, since
  (when only fixtures are left to end, the next statement raises it, if there is one);
- a write above another's read-only layer which an open cursor, or SET, holds in place;
- a violation of a deferred constraint at a commit, while another transaction that has written is
  still open: the server checks the pending rows of both, and so does SET CONSTRAINTS, which holds
  for both;
- a commit that would put back what SET LOCAL has set, while another open transaction has set it
  since.

After the first and the last of these the test can only end. A wait for one holder, or for one
statement, that takes longer than the bound raises :class:`SandboxDeadlockError`.

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
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from .._origin import caller
from .._statements._routines import NOTHING
from .._statements._setting_statements import made_by
from ..errors import SandboxClosedError, SandboxConflictError
from . import _keeping
from ._blockers import Blockers
from ._failures import MARKER, Failures
from ._inspection import Inspection
from ._runtime import ASYNCIO
from ._transaction import NO_TEST, Transaction
from ._transaction_end import check_settings, last_step, taking_down
from ._wires import DatabaseState, Wires

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from .._isolation._escapes import Watch
    from .._statements._routines import Effect
    from .._statements._setting_statements import Made
    from ..errors import SandboxError, SandboxRefusedError
    from ._codecs import Codec, Codecs
    from ._keeping import Outcome
    from ._layers import Ground
    from ._runtime import Runtime, Wire
    from ._wire import LiveWire
    from ._wires import Connect

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds that a statement waits for one holder of the turn before the wait is a deadlock."""


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
        blockers: Callable[[int], Blockers] | None = None,
    ) -> None:
        """Open nothing yet.

        `connect` opens a wire on the running loop; `patience` is in seconds. `state` is shared with
        another sandbox on the same database; `watch` knows what to ask the server at the end of
        each test. `admit` is asked at a test's first statement, and says why the test must not use
        this sandbox. `blockers` makes what finds out for whom a server process waits; None: the
        running loop does, if there is one.
        """
        self.moved: bool | None = None
        """Whether others may have committed, or left something open; None: nobody looked."""
        self.lost = False
        """Whether this test's wire was given up, so that nothing was asked."""
        self.keep = False
        """Whether the end of this test is to commit what it did, for a person to look at."""
        self.body_is_over = False
        """Whether only fixtures of this test are left to end."""
        self.kept: Outcome | None = None
        """What came of that."""
        self.generation = 0
        """Counts the resets after which nothing that was prepared before may be used."""
        self.runtime = runtime
        self._watch = watch
        self._patience = patience
        self._epoch = 0
        """Counts the beginnings and ends of tests: what waits across one belongs to neither."""
        self._admit = admit
        self._admitted = 0
        """The epoch of the test whose first statement has been let through."""
        self._state = DatabaseState() if state is None else state
        self._wires = Wires(connect, self._state, runtime, watch)
        if blockers is None and runtime is ASYNCIO:
            blockers = functools.partial(Blockers, connect)
        self._blockers = blockers
        self._failures = Failures()
        self._inspection = Inspection(self._failures, runtime)
        self._codecs: list[Codec] = []
        """Those that have been set before, to know them again."""

    # ----------------------------------------------------------------- the life of a test

    def begin_test(self, name: str) -> None:
        """Let the statements that follow belong to the named test. Costs nothing."""
        self._epoch += 1
        self._failures.begin(name)
        self._inspection.begin()
        self.lost = self.keep = self.body_is_over = False
        self.moved = self.kept = None

    @property
    def epoch(self) -> int:
        """Counts the beginnings and ends of tests."""
        return self._epoch

    @property
    def refusal(self) -> SandboxError | None:
        """The first of what was refused to the running test."""
        return self._failures.refusal

    @property
    def used(self) -> bool:
        """Whether a statement has reached the server since the last reset."""
        return self._wires.current is not None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop the test uses the database from; None until it does."""
        live = self._wires.current
        return live.loop if live is not None else None

    @property
    def users(self) -> set[asyncio.Task[Any]]:
        """The tasks that hold a transaction of the running test."""
        live = self._wires.current
        held = {transaction.task for transaction in live.turns.open} if live is not None else set()
        return {task for task in held if isinstance(task, asyncio.Task)}

    @property
    def failure(self) -> SandboxError | None:
        """The first error of the sandbox's own in this test, which its code may have swallowed."""
        return self._failures.first

    @property
    def committed(self) -> bool:
        """Whether something of this test was really committed, so that no reset can undo it."""
        return self._failures.committed

    def forgive(self) -> None:
        """Learn that what was really committed has been undone."""
        self._failures.committed = False

    @property
    def remark(self) -> str | None:
        """What the running test, should it fail, may owe to transaction identity."""
        catalog = self._state.catalog if self.used else None
        return self._inspection.remark(catalog.identity if catalog is not None else ())

    async def end_test(self) -> None:
        """Undo everything since :meth:`begin_test`, in one round trip, or replace the wire."""
        live = self._leave_test()
        if live is None:
            return
        if self.keep:
            await self._commit_test(live)
            return
        if live.schema_changed:
            self.generation += 1
        live.answer = None
        question = self._watch.question if self._watch is not None else None
        if await live.reset(self._patience, question):
            self.moved = live.answer
        else:
            await self._part_with(live)
        self._failures.committed |= live.escaped

    async def _part_with(self, live: LiveWire) -> None:
        self._discard(live)
        if live.guard is not None:
            await live.guard.aclose()

    async def _commit_test(self, live: LiveWire) -> None:
        self.kept = await _keeping.commit(live, self._patience)
        self._failures.committed |= self.kept.committed or live.escaped
        await self._part_with(live)

    def abandon_test(self) -> None:
        """End a test whose event loop is closed; its wire was closed with the loop."""
        live = self._leave_test()
        if live is not None:
            self._discard(live)

    def _leave_test(self) -> LiveWire | None:
        live, self._wires.current = self._wires.current, None
        self._failures.test = self._failures.broken = None
        self._epoch += 1
        return live

    def _discard(self, live: LiveWire) -> None:
        self.lost = True
        self._wires.discard(live)

    async def lay(self) -> tuple[LiveWire, Ground]:
        """Remember the state that the running test has reached.

        Raises:
            SandboxDeadlockError: a statement is running for longer than the bound.
        """
        live = await self.wire()
        if self._admitted != self._epoch:
            self._check_admitted("a data layer", self._epoch)
        transaction = self.begin(implicit=True)
        await live.turns.take(transaction, self._patience, self._failures)
        try:
            return live, await live.lay(transaction.origin)
        finally:
            live.turns.give()

    async def fall_back(self, live: LiveWire, ground: Ground) -> None:
        """Undo everything since a state was remembered. What is still open then is closed.

        Raises:
            SandboxLostError: the connection is gone, or cannot be used again.
        """
        if self._wires.current is not live:
            return  # undone with its test, or lost, which was said
        if live.schema_changed:
            self.generation += 1
        try:
            undone = await live.fall_back(ground, self._patience)
        except BaseException:
            live.wire.terminate()  # nobody knows how much of it was undone
            raise
        if not undone:
            live.wire.terminate()
            raise self._failures.lost()

    # ----------------------------------------------------------------- the database beneath

    async def wire(self) -> LiveWire:
        """Return the running loop's wire, connecting on first use."""
        if self._failures.broken is not None:
            raise self._failures.note(self._failures.broken)
        loop = self.runtime.loop()
        live = self._wires.current
        if live is None:
            live = await self._wires.use(loop)
        if live.loop is not loop:
            raise self._failures.two_loops()
        if live.wire.is_closed():
            raise self._failures.lost(live.interrupted)
        return live

    def connected(self) -> Wire:
        """Return the wire of the running test.

        Raises:
            asyncpg.InterfaceError, or psycopg's: the test has not run a statement yet.
        """
        live = self._wires.current
        if live is None:
            message = "no statement has been run yet in this test, so nothing is connected"
            raise self.runtime.closed(message)
        return live.wire

    @property
    def loops(self) -> list[Any]:
        """The event loops on which a wire is open."""
        return self._wires.loops

    @property
    def processes(self) -> list[int]:
        """The server processes of the wires."""
        return self._wires.processes

    @property
    def unsettled(self) -> bool:
        """Whether the next test's first statement has yet to put back what a lost wire left."""
        return self._state.sequences_moved or bool(self._state.discarded)

    async def settle(self) -> None:
        """Put that back now."""
        await self._wires.on(self.runtime.loop())

    def forget_catalog(self) -> None:
        """Read the catalog again before the next statement: the database has been changed."""
        self._state.catalog = None

    async def close(self) -> None:
        """Close the running loop's wire."""
        await self._wires.close()

    def cut_off(self) -> None:
        """Cut every wire off: the database is about to be replaced."""
        self._wires.cut_off()

    # ----------------------------------------------------------------- statements

    def begin(
        self, *, implicit: bool = False, readonly: bool = False, codecs: Codecs | None = None
    ) -> Transaction:
        """Begin a virtual transaction. Nothing is sent until its first statement."""
        if self._failures.broken is not None:
            raise self._failures.note(self._failures.broken)
        return Transaction(
            test=self._failures.test or NO_TEST,
            origin=caller(),
            runtime=self.runtime,
            implicit=implicit,
            readonly=readonly,
            codecs={} if codecs is None else codecs,
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
        inspection = self._inspection
        inspection.check(transaction, sql)
        epoch = self._epoch
        live = await self.wire()
        test = self._failures.test
        if self._admitted != epoch and test is not None:
            self._check_admitted(sql, epoch)
        if reads is None:
            reads = live.reads_only(sql)
        if test is None and not reads:
            raise self._failures.outside_of_tests(sql)
        effect = NOTHING if reads else live.effect(sql)
        if not reads:
            made = self._made_by(sql, args, effect)
            operation = taking_down(transaction, sql, made, effect, operation)
        transaction.check_usable()
        await live.turns.take(transaction, self._patience, self._failures)
        try:
            live.turns.running = self.runtime.current()  # its transaction may be shared by threads
            if epoch != self._epoch:
                raise SandboxClosedError(
                    f"{transaction} was waiting for its turn when {transaction.test} ended. Await "
                    f"or cancel what outlives the test."
                )
            transaction.check_usable()
            inspection.check_locks(live, transaction, sql, effect)
            blockers = self._blockers_of(live)
            try:
                with blockers or contextlib.nullcontext():
                    result = await live.perform(transaction, operation, reads=reads, cursor=cursor)
            except BaseException as error:
                # Else the end of its test took the wire from it.
                damage = inspection.damage(live, sql, error) if epoch == self._epoch else None
                better = inspection.explained(error, live, transaction, sql, blockers)
                if better is None and isinstance(error, asyncpg.InternalClientError):
                    better = damage  # it has read the server's goodbye, but not yet its end
                if better is not None:
                    raise better from error
                raise
            failure = inspection.damage(live, sql) if epoch == self._epoch else None
            if failure is not None:
                raise failure
            return result
        finally:
            live.turns.running = None
            live.turns.give()

    def _made_by(self, sql: str, args: Sequence[Any], effect: Effect) -> Made:
        made = made_by(sql, args)
        if made.untold or effect.untold_settings:
            raise self._failures.refused(
                sql,
                "sets something, perhaps for its transaction only, and its text does not tell "
                "what, so that a commit could not put it back",
            )
        return made

    def _blockers_of(self, live: LiveWire) -> Blockers | None:
        if live.blockers is None and self._blockers is not None:
            live.blockers = self._blockers(live.pid)
        return live.blockers

    @contextlib.contextmanager
    def part_of_statement(self) -> Iterator[None]:
        """Let the running task be known as a part of the statement that is on the wire."""
        turns = self._wires.current.turns if self._wires.current is not None else None
        before = turns.running if turns is not None else None
        if turns is None or before is None:
            yield
            return
        turns.running = self.runtime.current()
        try:
            yield
        finally:
            turns.running = before

    def _check_admitted(self, sql: str, epoch: int) -> None:
        why = self._admit()
        if why is not None:
            raise self._failures.refused(sql, why)
        self._admitted = epoch

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

    async def set_codec(self, codecs: Codecs, codec: Codec) -> None:
        """Set a codec for the connection to which a set of codecs belongs.

        SQLAlchemy sets the same codecs on each connection that its pool makes; the wire, which
        must ask the server about the type, is bothered once.
        """
        known = next((known for known in self._codecs if known.same_as(codec)), None)
        if known is None:

            async def apply(wire: Wire) -> None:
                await codec.apply(wire)
                live.note_codec(codec)

            live = await self.wire()
            await self.statement("SELECT", apply, codecs=codecs)
            self._codecs.append(codec)
            known = codec
        codecs[known.typename, known.schema] = known

    def refuse(self, what: str, why: str) -> SandboxRefusedError:
        """Build the error for something that rollback isolation cannot honour."""
        return self._failures.refused(what, why)

    # ----------------------------------------------------------------- savepoints and ends

    def make_read_only(self, transaction: Transaction) -> None:
        """Let a transaction write no more. Nothing is sent until its next statement."""
        transaction.check_usable()
        if len(transaction.frames) > 1:
            raise self.refuse("SET TRANSACTION READ ONLY", "would last longer than its savepoint")
        transaction.readonly = True

    def release(self, transaction: Transaction, name: str) -> None:
        """Merge a savepoint, and those inside it, into the frame around it."""
        inner, outer = transaction.release(name)
        live = self._wires.current
        if live is not None:
            live.layers.relabel(inner, outer)

    def rollback_to(self, transaction: Transaction, name: str) -> None:
        """Undo a savepoint and those inside it; the savepoint itself stays open.

        Raises:
            SandboxConflictError: another transaction has written on top of it.
        """
        transaction.check_open()
        self._undo(transaction, transaction.find(name))

    async def commit(self, transaction: Transaction) -> None:
        """End a transaction, keeping what it did.

        Raises:
            the driver's error: a deferred constraint is violated; the transaction has been rolled
                back, as at a real commit.
        """
        transaction.check_open()
        if transaction.failed:
            self.rollback(transaction)  # what a server makes of COMMIT in a failed block
            return
        live = self._wires.current
        if live is None:
            return
        check_settings(live, transaction, self._failures)
        last = last_step(live, transaction) if transaction.wrote else None
        if last is not None:
            try:
                await self.run(transaction, "COMMIT", last.run, reads=last.reads)
            except BaseException as error:
                conflict = self._inspection.ambiguous(error, live, transaction)
                self.rollback(transaction)
                if conflict is not None:
                    raise conflict from error
                raise
        if not transaction.wrote:
            live.layers.leave_cursors(transaction.frames)
        live.layers.relabel(transaction.frames, None)
        live.turns.end(transaction)

    def rollback(self, transaction: Transaction) -> None:
        """End a transaction, undoing what it did, with the next statement on the wire.

        Raises:
            SandboxConflictError: another transaction has written on top of it.
        """
        if not transaction.open:
            return
        try:
            self._undo(transaction, 0)
        finally:
            live = self._wires.current
            if live is not None:
                live.turns.end(transaction)
            else:
                transaction.end()

    def _undo(self, transaction: Transaction, index: int) -> None:
        live = self._wires.current
        frames = transaction.frames[index:]
        conflict = live.layers.undo(frames) if live is not None else None
        if conflict is not None:
            error = SandboxConflictError(
                f"{transaction} was rolled back at {caller()}, but {conflict} since, which "
                f"is not to be undone. Savepoints cannot express this: end the first before "
                f"the second begins, or add {MARKER} to {self._failures.test}."
            )
            if self.body_is_over:
                # As long as nobody looks, nobody misses it: the end of the test undoes both.
                self._failures.broken = self._failures.broken or error
            else:
                raise self._failures.note(error, broken=True)
        transaction.return_to(index)
