"""What stands between a test and its worker's database."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import create_async_engine

from .._sandbox._failures import MARKER
from .._sandbox._wires import DatabaseState
from .._server._admin import Patience, connect
from .._template._clones import LOCK_TIMEOUT
from .._template._kept import Kept
from ..errors import DataLayerError, DBTestingError, SandboxError, SandboxEscapeError
from ._checkouts import Checkouts
from ._closing import Closing, close_what_is_left, close_without_loop
from ._commits import Commits
from ._data_layer import DataLayers
from ._kinds import Commit, Private, Rollback, run
from ._pool import LoopPool, Pools
from ._real import RealConnection
from ._states import States
from ._tasks import generators_closed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

    from .._sandbox._runtime import Wire
    from .._sandbox._sandbox import Sandbox
    from .._server._budget import Budget
    from .._settings import IsolationName
    from .._template._kept import Keepsake
    from ._closing import Close
    from ._escapes import Watch
    from ._kinds import Kind
    from ._states import Database
    from ._sweep import Sweep
    from ._synchronous import Synchronous

    Sessions = async_sessionmaker[AsyncSession]


class Isolation:
    """One database of a worker: its engine, and the beginning and end of each test in it."""

    def __init__(
        self,
        url: URL,
        database: Database,
        *,
        watch: Watch,
        sweep: Sweep,
        budget: Budget,
        keeps_failed: bool = False,
    ) -> None:
        """Connect to nothing yet. `watch` sees what others do in the database."""
        self.url = url
        self._budget = budget
        self.kept: list[Kept] = []
        """What has become of databases that were to be kept; to be taken away by the reader."""
        self._keeps_failed = keeps_failed
        self._keepsake: Keepsake | None = None
        """What the database of the test that ends is to be kept as."""
        self._parting = threading.Lock()
        self._making = threading.Lock()
        self._expected = False
        """Whether the next test is to have a database of its own."""
        self.tests = 0
        """How many tests have used the database."""
        self.seconds = 0.0
        """How long undoing them took."""
        self.replaced: Counter[str] = Counter()
        """How often what tests had committed took a new database, by the reason."""
        self._states = States(database, cut_off=self._cut_off)
        self._watch = watch
        self._database = DatabaseState()
        self._family: str | None = None
        """The driver that the test has used, under rollback isolation."""
        self._synchronous: Synchronous | None = None
        self._rollback = Rollback(
            self._connect, self._database, watch, lambda: self._admit("asyncpg (db, db_engine)")
        )
        self._sweep = sweep
        self._pools = Pools()

        def taken() -> bool:
            return self._checkouts.taken

        self._commit = Commit(self._connect_really, taken, self._pools.connections, budget)
        self._private = Private(self._connect_really, taken, self._pools.connections, budget)
        self._kinds: dict[IsolationName, Kind] = {
            "rollback": self._rollback,
            "commit": self._commit,
            "database": self._private,
        }
        self._kind: Kind = self._rollback
        self._test: tuple[str, IsolationName] | None = None
        self._closing = Closing()
        self._waits = True
        """Whether a sweep must have ended when the end of its test has."""
        self._untouched = False
        """Whether the database has been replaced, and no fixture has come to it since."""
        self._swept: str | None = None
        """The test whose sweep is under way."""
        self._patience = Patience()
        self._leaks: list[str] = []
        self.engine: AsyncEngine = create_async_engine(
            url,
            async_creator=self.connect,
            poolclass=LoopPool,
        )
        self._checkouts = Checkouts()
        self.serve(self.engine.sync_engine)
        self._commits = Commits(url.database or "")
        self.layers = DataLayers(self, self._states, self._pools, self._rollback)

    def serve(self, engine: Engine) -> None:
        """Note that an engine, whose pool is a `LoopPool`, holds connections of this database."""
        if self._pools.add(engine):
            self._checkouts.watch(engine)

    def synchronous(self) -> Synchronous:
        """Return what synchronous code uses, made on first use.

        Raises:
            FixtureError: psycopg is not installed.
        """
        with self._making:  # threads may ask for it at the same time
            if self._synchronous is None:
                from ._synchronous import Synchronous

                made = Synchronous(
                    self.url,
                    self._database,
                    lambda: self._admit("psycopg (db_sync, db_sync_engine)"),
                    self._checkouts,
                    part=self.part,
                    budget=self._budget,
                    loop=self._sweep.admin.loop,
                )
                if self._test is not None:
                    made.begin(*self._test)
                self._synchronous = made
            return self._synchronous

    def _admit(self, family: str) -> str | None:
        """Say why a family may not be used by this test; None if it may."""
        self._family = self._family or family
        if family == self._family:
            return None
        return (
            f"goes through {family}, and the test has used {self._family} before: under rollback "
            f"isolation each has a connection with a transaction of its own, and neither can see "
            f"the other's rows"
        )

    async def connect(self) -> Any:
        """Return a new connection of the driver, virtual or real.

        Raises:
            DataLayerError: what a fixture has written for this test is gone.
        """
        if self._states.lost is not None:
            raise DataLayerError(
                f"the rows of a data layer are gone, because {self._states.lost} really committed "
                f"under rollback isolation, which is undone by a new database. Mend that test, or "
                f'add @pytest.mark.db(isolation="commit") to it.'
            )
        self.part()
        return await self._kind.connect()

    async def _connect_really(self) -> Wire:
        return await self._connect(connection_class=RealConnection)

    async def _connect(self, **options: Any) -> Wire:
        with self._budget.explained(), self._patience.lent() as patience:
            return await connect(
                self.url,
                patience=patience,
                gone=True,  # a server that a test restarts comes back
                server_settings={"lock_timeout": LOCK_TIMEOUT},
                **options,
            )

    def staying(self) -> set[str]:
        """Return what of the server somebody has made or changed while tests really committed."""
        self._sweep.look_at_settings()
        return self._sweep.staying

    @property
    def identity_dependent(self) -> tuple[str, ...]:
        """What of the schema mentions transaction identity, as far as it has been read."""
        return self._database.catalog.identity if self._database.catalog is not None else ()

    @property
    def remark(self) -> str | None:
        """What the running test, should it fail, may owe to its isolation."""
        return self._rollback.remark if self._kind is self._rollback else None

    def begin(self, test: str, kind: IsolationName) -> None:
        """Let what follows belong to a test, isolated in one way or the other.

        Raises:
            ServerError: no connection is to be had.
        """
        with self._budget.explained():
            self._begin(test, kind)

    def _begin(self, test: str, kind: IsolationName) -> None:
        self.layers.seal()
        chosen = self._kinds[kind]
        if chosen is not self._kind:
            self._change_to(chosen)
        elif chosen is not self._rollback:
            self._settle_sandboxes()
        if self._states.settle():
            self.changed()
        if self._rollback.unsettled and (chosen is not self._rollback or self._watch.stale):
            # With a factory the runner leaves the thread's current event loop alone.
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(self._rollback.settle())
        if chosen is self._rollback:
            self._watch.begin()
            if self._watch.changed:
                # What is put back after a test is from now on what fixtures have committed.
                self._settle_sandboxes()  # a reset of theirs would put back the old state
                self._watch.begin()  # they may have taken a new database
                self._rollback.forget()
                self._watch.changed = False
        self._commits.clear()
        if chosen is not self._rollback or self._keeps_failed:
            self._states.save()
        if chosen is self._commit:
            alone_with = self._processes if self._untouched else None
            self._watch.swept(learnt=self._sweep.begin(alone_with=alone_with))
        self._untouched = False
        self._checkouts.watching = True
        self._checkouts.taken = False
        self._family = None
        self._expected = False
        self._test = (test, kind)
        chosen.begin(test)
        if self._synchronous is not None:
            self._synchronous.begin(test, kind)

    def _settle_sandboxes(self) -> None:
        """End the transactions that fixtures of wider scope have begun since the last test."""
        if self._kind is self._rollback and self._rollback.used:
            self.settle()
        if self._synchronous is not None and self._synchronous.sandbox.used:
            _, spoilt, _ = self._end_synchronous()
            if spoilt:
                self._undo_commits("a fixture of wider scope")

    def _change_to(self, kind: Kind) -> None:
        if self._kind is self._rollback:
            self._settle_sandboxes()
        self._pools.exchange(self._kind, kind)
        self._kind = kind

    def part(self) -> None:
        """Give the test a database of its own, if it is to have one and has not."""
        with self._parting:
            if self._kind is self._private and self._test is not None and not self._states.parted:
                started = time.perf_counter()
                self._states.part()
                self._commits.disconnected()
                self.seconds += time.perf_counter() - started
                if self._expected:
                    self._states.prepare()

    def expect(self) -> None:
        """Have a database made for the next test, which is to have one of its own."""
        self._expected = True
        if self._kind is not self._private or self._states.parted:
            self._states.prepare()

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops, perhaps closed, from which the test has used the database."""
        return self._kind.loops

    def at_end(self, close: Close) -> None:
        """Close something on the test's event loop when the test is over."""
        self._closing.add(close)

    @property
    def users(self) -> set[asyncio.Task[Any]]:
        """The tasks that hold a transaction of the running test."""
        return self._rollback.sandbox.users

    @contextlib.contextmanager
    def others(self) -> Iterator[None]:
        """Let what is done meanwhile be a wider fixture's, and not the test's."""
        watching, self._checkouts.watching = self._checkouts.watching, False
        # What the test itself has committed until now stays its own.
        spoilt = watching and self._kind is self._rollback and self._watch.differs()
        try:
            yield
        finally:
            self._checkouts.watching = watching
            self._untouched = False
            self._sweep.spare()
            if not spoilt:
                self._watch.stale = True
                # What the test's own wire has left, lost with its loop, is no fixture's doing.
                if watching and self._kind is self._rollback and not self._rollback.unsettled:
                    self._watch.begin()

    @property
    def tested(self) -> IsolationName | None:
        """How the running test is isolated; None between two tests."""
        return None if self._test is None else self._test[1]

    def commit(self, *, really: bool) -> None:
        """Let connections that wider fixtures take commit for real, or not any more."""
        self._kind = self._commit if really else self._rollback

    @property
    def lost(self) -> bool:
        """Whether the last test's wire was given up, for whatever reason."""
        return self._rollback.sandbox.lost

    def take_leaks(self) -> list[str]:
        """Return what the last test has left behind, once."""
        leaks, self._leaks = self._leaks, []
        return leaks

    def end(
        self,
        *,
        connects: bool = False,
        keepsake: Keepsake | None = None,
        waits: bool = True,
    ) -> SandboxError | None:
        """Undo the test, and return what its isolation could not do for it.

        `connects` says whether the test has what it needs to connect by itself. If it has failed,
        `keepsake` is what its database is to be kept as. If nobody `waits` for it, a sweep may
        still be under way when this returns: see :meth:`finish`.
        """
        self._waits = waits
        test = self._test[0] if self._test is not None else "no test"
        self._test = self._closing.failure = None
        self._keepsake = keepsake
        for sandbox in self._sandboxes():
            sandbox.keep = keepsake is not None
        used, spoilt, failure = self._end_synchronous()
        try:
            if self._kind is not self._rollback:
                self._end_held()
        finally:
            used |= self._undo(test, spoilt=spoilt)
        self.tests += used
        failure = failure or self._kind.failure or self._closing.failure
        if self._kind is self._rollback:
            if keepsake is None or self._keepsake is not None:
                failure = failure or self._escaped(test, connects=connects)
        elif self._states.parted:
            self._replace(test)
        elif not used and (connects or self._commits.seen):
            # It has connected by itself, perhaps in another process.
            started = time.perf_counter()
            self._undo_commits(test)
            self.seconds += time.perf_counter() - started
            self.tests += 1
        if self._keepsake is not None and used:
            why = self._outcome or "the event loop that its rows lived on is closed"
            self.kept.append(Kept(test, None, why))
        self._keepsake = None
        for sandbox in self._sandboxes():
            sandbox.keep, sandbox.kept = False, None  # fixtures of wider scope may be next
        self._waits = True
        if waits:
            self._rest()
        return failure

    def _end_held(self) -> None:
        """Undo what the test has read by connections that a fixture of wider scope holds."""
        self._rollback.sandbox.keep = False
        for loop in self._rollback.loops:
            if loop.is_closed():
                self._rollback.abandon()
            else:
                run(loop, self._rollback.undo([]))

    def _rest(self) -> None:
        """Let what fixtures of wider scope do be rolled back, and so refused where they write.

        They serve tests of more than one isolation: it must not depend on which came last.
        """
        if self._kind is not self._rollback:
            self._change_to(self._rollback)
        if self._synchronous is not None:
            self._synchronous.rest()

    def finish(self) -> list[tuple[str, str]]:
        """Wait for a sweep that is under way; return what its test has left behind, and the test.

        The server sweeps while pytest is busy between two tests of one class or module.
        """
        test, self._swept = self._swept, None
        if test is None:
            return []
        started = time.perf_counter()
        left = self._finish(test)
        self.seconds += time.perf_counter() - started
        return [(test, what) for what in left]

    def _finish(self, test: str) -> list[str]:
        swept = self._sweep.finish()
        if swept.reason is not None:
            self.replaced[swept.reason] += 1
            self._replace(test)
        return swept.left

    def _sandboxes(self) -> list[Sandbox]:
        synchronous = [self._synchronous.sandbox] if self._synchronous is not None else []
        return [self._rollback.sandbox, *synchronous]

    def body_is_over(self) -> None:
        """Learn that only fixtures of the test are left to end."""
        for sandbox in self._sandboxes():
            sandbox.body_is_over = True

    @property
    def troubles(self) -> list[SandboxError]:
        """What the sandbox could not do for the test, whether or not that has made it fail."""
        sandboxes = self._sandboxes()
        found = [error for each in sandboxes for error in (each.failure, each.refusal)]
        return [error for error in found if error is not None]

    @property
    def _outcome(self) -> str | None:
        """What is to be said of a sandbox that was to be committed."""
        remarks = [each.kept.remark for each in self._sandboxes() if each.kept is not None]
        return next(filter(None, remarks), None)

    @property
    def _processes(self) -> list[int]:
        """The server's processes that are ours, and have nothing to hand in."""
        ours = [*self._commit.processes, *self._watch.processes]
        for sandbox in self._sandboxes():
            ours += sandbox.processes
        if self._synchronous is not None:
            ours += self._synchronous.processes
        return ours

    def _sweep_up(self, test: str) -> None:
        """Undo what a test has really committed, by a sweep or else by a new database."""
        self._sweep.start(self._processes)
        if self._waits:
            self._leaks += self._finish(test)
        else:
            self._swept = test

    def _end_synchronous(self) -> tuple[bool, bool, SandboxError | None]:
        """Undo what synchronous code did: whether it did anything, spoilt the database, failed."""
        if self._synchronous is None:
            return False, False, None
        started = time.perf_counter()
        used, spoilt = self._synchronous.end()
        self.seconds += time.perf_counter() - started
        return used, spoilt, self._synchronous.failure

    def has_escaped(self, *, connects: bool) -> bool:
        """Tell whether a test in the sandbox, which still is, has really committed by others."""
        if self._kind is not self._rollback or not (connects or self._commits.seen):
            return False  # what the sandbox has locked may be long in the way of looking
        return not self._watch.is_cut_off() and self._watch.differs_as_far_as_seen()

    def _escaped(self, test: str, *, connects: bool) -> SandboxError | None:
        """Look whether a connection that is not the sandbox's has done what cannot be undone."""
        sandbox, lines = self._rollback.sandbox, self._commits.seen
        if sandbox.moved is False and not lines:
            return None
        if sandbox.moved is None and not (connects or lines or sandbox.lost):
            return None
        if sandbox.lost and self._watch.is_cut_off():
            return None  # it went when the test was over, and is started again before the next
        if not (lines or self._watch.moved()):
            return None
        what, left = self._watch.look(ours=[*self._database.discarded, *sandbox.processes])
        self._leaks += left
        if what is None:
            if self._watch.sequences_moved:
                self._database.sequences_moved = True
            return None
        by = f"the commit at {lines[0]}" if lines else "a connection that is not the sandbox's"
        lost = "" if self._watch.pristine else " What wider fixtures had committed is gone with it."
        self._replace(test)
        return SandboxEscapeError(
            f"{test} has really committed {what}, by {by}: no rollback can undo that, so "
            f"the database was replaced by a new clone.{lost} Use db_engine instead, or db_bind "
            f"for an engine of the application's own; or add {MARKER} to the test."
        )

    async def _collect(self) -> None:
        self._leaks += self._checkouts.end()

    def settle(self) -> None:
        """Undo what fixtures of wider scope did as they ended, perhaps on another event loop."""
        self._rest()
        if not (self._kind.used or self._closing or self._checkouts.any):
            self._checkouts.watching = False
            return  # as nearly always
        self._undo("a fixture of wider scope")

    def _undo(self, test: str, *, spoilt: bool = False) -> bool:
        """Undo what has happened since the last time; tell whether the database was used."""
        closing = [*self._closing.take(), self._collect]
        kind = self._kind
        if not kind.used:
            if self._checkouts.any:
                close_without_loop(closing)
            self._checkouts.watching = False
            kind.abandon()
            if spoilt:
                self._undo_commits(test)
            return False
        self._checkouts.taken = False
        started = time.perf_counter()
        known = kind.loops
        loops = [loop for loop in known if not loop.is_closed()]
        if asyncio._get_running_loop() in loops:  # noqa: SLF001  # None where none runs
            message = "a database test ended while its event loop was running"
            raise DBTestingError(message)
        if len(loops) < len(known):
            closing = [functools.partial(close_what_is_left, close) for close in closing]
        # What the test was given lives on its own loop, which waits now, and on which it may have
        # connections still; that of a thread may run.
        held = self._checkouts.loops
        loops.sort(key=lambda loop: (loop.is_running(), loop not in held))
        with contextlib.ExitStack() as steps:  # each is taken, also where one before it fails
            steps.callback(self._undone, kind, test, spoilt=spoilt)
            if not loops:
                steps.callback(close_without_loop, closing)
            if len(loops) < len(known):
                steps.callback(kind.abandon)
            for loop in reversed(loops):
                mine = closing if loop is loops[0] else []
                steps.callback(run, loop, self._undo_here(kind, mine))
        self.seconds += time.perf_counter() - started
        return True

    def _undone(self, kind: Kind, test: str, *, spoilt: bool) -> None:
        # What listeners do to a new connection, such as SET, has been undone with the test.
        self._pools.forget_of_listeners()
        if kind is self._commit or spoilt or kind.spoilt:
            self._undo_commits(test)

    async def _undo_here(self, kind: Kind, closing: list[Close]) -> None:
        await generators_closed()
        await kind.undo(closing)

    def _undo_commits(self, test: str) -> None:
        if self._kind is self._commit and self._keepsake is None:
            self._sweep_up(test)
        else:
            self._replace(test)
        for sandbox in self._sandboxes():
            sandbox.forgive()

    def _replace(self, test: str) -> None:
        """Undo what a test has really committed, or keep it where that is wanted."""
        keepsake, self._keepsake = self._keepsake, None
        if keepsake is not None:
            why = self._states.keep(keepsake)
            database = keepsake.database if why is None else None
            self.kept.append(Kept(test, database, why or self._outcome))
        if self._states.renew(test):
            self.changed()
            self._untouched = True
        else:
            self._watch.stale = True
            self._commits.disconnected()

    async def disconnect(self) -> None:
        """Close what is connected on the running loop: the database is about to be replaced."""
        self._pools.forget()
        await self._commit.close_here()
        await self._private.close_here()
        await self._rollback.close_here()

    def _cut_off(self) -> None:
        self._watch.close()
        self._sweep.close()
        self._pools.forget()
        self._commit.cut_off()
        self._private.cut_off()
        self._rollback.disconnect()
        if self._synchronous is not None:
            self._synchronous.disconnect()

    def changed(self) -> None:
        """Learn that the database is another, or has other rows to begin with."""
        self._rollback.forget()
        self._sweep.close()
        self._watch.renewed()
        self._commits.disconnected()

    def close(self) -> None:
        """Close the connections whose event loops still live."""
        self._commits.close()
        self._checkouts.close()
        self._rollback.disconnect()
        if self._synchronous is not None:
            self._synchronous.disconnect()
        self._watch.close()
        self._sweep.close()
