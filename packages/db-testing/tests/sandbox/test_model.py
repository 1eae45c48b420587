"""Random programs do in the sandbox what they do on real connections.

Two families. In the first, a state machine, three sessions take steps, each on rows of its own, so
that what one sees of another's open transaction makes no difference: sessions of one task overlap
in any way, those of a task each wait for each other. It goes on over the ends of tests and back to
data layers, and cancels what runs or waits. In the second, each session is a task, all work on the
same rows, and the sandbox must have run their transactions as if one after the other: the same ones
in that order on one real connection give the same results.
"""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.engine import make_url

from db_testing._sandbox._runtime import AsyncioRuntime
from db_testing._sandbox._sandbox import Sandbox
from db_testing._sandbox._virtual import VirtualConnection
from db_testing._server._binaries import Binaries
from db_testing.errors import SandboxClosedError, SandboxConflictError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

    from db_testing._sandbox._runtime import Event, Worker

    Plain: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

T = TypeVar("T")

SESSIONS = 3
Step: TypeAlias = tuple[str, str]
"""What to do, and the row to do it to."""

STATEMENTS = {
    "insert": "INSERT INTO author (name, notes) VALUES ($1, '{}')",
    "orphan": "INSERT INTO author (name, notes, editor_id) VALUES ($1, '{}', -1)",
    "update": "UPDATE author SET notes = '[1]' WHERE name = $1",
    "adopt": "UPDATE author SET editor_id = NULL WHERE name = $1",
    "delete": "DELETE FROM author WHERE name = $1",
    "read": "SELECT count(*) FROM author WHERE name = $1",
    "fail": "SELECT 1/0 WHERE $1 <> ''",
    "misuse": "SELECT $1::int",
}
WRITES = {"insert", "update", "delete", "orphan", "adopt"}
DEFERRED = {"orphan", "adopt"}
OFTEN = ("insert", "insert", "insert", "begin", "begin", "rollback", "commit")
FRAMES = ("begin", "nested", "release", "rollback_to", "commit", "rollback")
SLEEP = "SELECT pg_sleep(100)"
ROWS = "SELECT name, notes::text FROM author ORDER BY name"
ROWS_WITH_IDS = "SELECT id, name, notes::text, editor_id FROM author ORDER BY id"

ordinary = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

machines = settings(ordinary, max_examples=40, stateful_step_count=15)


@dataclass
class Session:
    """A connection, real or virtual, and the transactions it has open."""

    connection: Any
    open: list[Any] = field(default_factory=list)

    async def do(self, action: str, row: str) -> Any:
        """Take a step; return its result or the kind of its error."""
        try:
            if action in STATEMENTS:
                return await self.connection.fetch(STATEMENTS[action], row) or "done"
            if action == "sleep":
                return await self.connection.fetch(SLEEP)
            if action == "begin" and self.open:
                return "open already"
            if action in ("begin", "nested"):
                self.open.append(self.connection.transaction())
                try:
                    await self.open[-1].start()
                except BaseException:
                    self.open.pop()
                    raise
            elif action in ("release", "rollback_to") and len(self.open) > 1:
                last = self.open.pop()
                await (last.commit() if action == "release" else last.rollback())
            elif action in ("commit", "rollback") and self.open:
                first, self.open = self.open[0], []
                await (first.commit() if action == "commit" else first.rollback())
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # In an aborted transaction the driver finds the wrong argument only if it has the
            # statement in its cache.
            return "misused" if action == "misuse" else type(error)
        return "done"


async def rows_of(connection: Any, rows: str = ROWS) -> list[tuple[Any, ...]]:
    """Return all authors."""
    return [tuple(row) for row in await connection.fetch(rows)]


@pytest.fixture
async def real(
    connect_plainly: Callable[[], Any], plain: Plain
) -> AsyncIterator[Callable[[], list[Session]]]:
    """Return a function that returns as many real sessions as there are virtual ones."""
    connections = [await connect_plainly() for _ in range(SESSIONS)]
    yield lambda: [Session(connection) for connection in connections]
    for connection in connections:
        await connection.close()


@pytest.fixture(autouse=True)
def unchanged(test_database_url: str) -> Iterator[None]:
    """Prove that after all programs the database is byte for byte what it was, ids included."""
    url = make_url(test_database_url).set(drivername="postgresql")
    command = [
        str(Binaries.find().folder / "pg_dump"),
        "--restrict-key=test",  # otherwise it is random
        "--dbname",
        url.render_as_string(hide_password=False),
    ]

    def dump() -> bytes:
        return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout

    before = dump()
    yield
    assert dump() == before


async def restore(sessions: list[Session], plain: Plain) -> None:
    """Undo what real sessions have committed."""
    for session in sessions:
        await session.do("rollback", "")
    await plain.execute("DELETE FROM author; SELECT setval('author_id_seq', 1, false)")


# ------------------------------------------------------------------ a state machine


class Oracle:
    """Who has written, in which order: whether savepoints could express a rollback.

    Nobody minds to lose what an aborted savepoint holds: it can only be undone.
    """

    def __init__(self) -> None:
        self.log: list[tuple[int, int]] = []
        """Of each write that stands its session and the depth of its savepoint; 0: committed."""
        self.depth = [0] * SESSIONS
        self.marks: list[list[int]] = [[] for _ in range(SESSIONS)]
        """The depths of the transactions that a session has open."""
        self.failed = [False] * SESSIONS

    def may_conflict(self, session: int, action: str) -> bool:
        """Tell whether another session has written since what a step undoes."""
        depth = self._undone_by(session, action)
        own = [i for i, (who, at) in enumerate(self.log) if who == session and at >= depth]
        return bool(own) and any(
            who != session and not (self.failed[who] and at >= self.depth[who])
            for who, at in self.log[own[0] :]
        )

    def _undone_by(self, session: int, action: str) -> int:
        """Return the lowest depth at which a step undoes writes."""
        if action == "rollback" or (action == "commit" and self.failed[session]):
            return 1
        if action == "rollback_to" and len(self.marks[session]) > 1:
            return self.marks[session][-1]
        return 1000

    def took(self, session: int, action: str, outcome: object) -> None:
        """Follow a step."""
        marks = self.marks[session]
        depth = self._undone_by(session, action)
        self.log = [(who, at) for who, at in self.log if who != session or at < depth]
        if isinstance(outcome, type):
            if action == "release":
                marks.pop()
            self.failed[session] = bool(self.depth[session])
        elif action in WRITES:
            self.log.append((session, self.depth[session]))
        elif action == "nested" or (action == "begin" and not marks):
            self.depth[session] += 1
            marks.append(self.depth[session])
        elif action == "release" and len(marks) > 1:
            last = marks.pop()
            self._move(session, last, last - 1)
            self.depth[session] = last - 1
        elif action == "rollback_to" and len(marks) > 1:
            self.depth[session] = marks.pop()  # the savepoint itself stays
            self.failed[session] = False
        elif action in ("commit", "rollback") and marks:
            self._move(session, 1, 0)
            self.depth[session] = 0
            self.failed[session] = False
            marks.clear()

    def _move(self, session: int, lowest: int, to: int) -> None:
        self.log = [(who, to if who == session and at >= lowest else at) for who, at in self.log]


CANCELLED = "cancelled"


class Observed(AsyncioRuntime):
    """Tasks of which it can be seen that they wait for another's transaction."""

    def __init__(self) -> None:
        self.awaited: dict[asyncio.Task[Any] | None, asyncio.Event] = {}
        self.changed = asyncio.Event()

    def waits(self, task: asyncio.Task[Any]) -> bool:
        """Tell whether a task waits for a transaction that is still open."""
        return task in self.awaited and not self.awaited[task].is_set()

    async def ended_or_orphaned(self, ended: Event, worker: Worker | None, seconds: float) -> None:
        """Note who waits."""
        assert isinstance(ended, asyncio.Event)
        me = self.current()
        self.awaited[me] = ended
        self.changed.set()
        try:
            await super().ended_or_orphaned(ended, worker, seconds)
        finally:
            del self.awaited[me]


class Actor:
    """A task that takes the steps it is given, one after the other, whatever becomes of them."""

    def __init__(self) -> None:
        self._steps: asyncio.Queue[tuple[Awaitable[Any], asyncio.Future[Any]]] = asyncio.Queue()
        self.task = asyncio.create_task(self._live())

    def give(self, step: Awaitable[Any]) -> asyncio.Future[Any]:
        """Have it take a step; return the future result, or kind of error."""
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._steps.put_nowait((step, result))
        return result

    async def _live(self) -> None:
        while True:
            step, result = await self._steps.get()
            try:
                result.set_result(await step)
            except asyncio.CancelledError:
                self.task.uncancel()
                result.set_result(CANCELLED)
            except (SandboxConflictError, SandboxClosedError) as error:
                result.set_result(type(error))
            except Exception as error:  # noqa: BLE001  # whoever awaits the result raises it
                result.set_exception(error)


@dataclass
class World:
    """What programs run on, and what their steps are compared with."""

    runner: asyncio.Runner
    connect_plainly: Callable[[], Any]
    left_sql: str
    sleepers_sql: str
    plain: Any = None
    real: list[Session] = field(default_factory=list)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the event loop of all programs, for no longer than a minute."""
        return self.runner.run(asyncio.wait_for(work, 60))

    async def open(self) -> None:
        """Connect."""
        self.plain = await self.connect_plainly()
        self.real = [Session(await self.connect_plainly()) for _ in range(SESSIONS)]

    async def close(self) -> None:
        """Disconnect."""
        for session in self.real:
            await session.connection.close()
        await self.plain.close()

    async def witness(self) -> dict[str, Any]:
        """Return what is in the database, and who has locked it."""
        return dict(await self.plain.fetchrow(self.left_sql))

    async def asleep_or(self, ready: Callable[[], bool]) -> bool:
        """Wait until a statement sleeps or something else is so; tell whether it sleeps."""
        while not ready():
            if await self._asleep():
                return True
        return False

    async def awake(self) -> None:
        """Wait until the server has ended what was cancelled before."""
        while await self._asleep():
            pass

    async def _asleep(self) -> bool:
        return bool(await self.plain.fetchval(self.sleepers_sql))


@dataclass
class Replay:
    """The steps of a test, as real connections take them."""

    world: World
    states: list[tuple[list[Any], Any]] = field(default_factory=list)
    """What the database held when layers were laid."""

    async def take(self, number: int, action: str, row: str) -> Any:
        """Take a step; return its outcome."""
        plain, session = self.world.plain, self.world.real[number]
        if action == "rows":
            return await rows_of(plain, ROWS_WITH_IDS)
        if action == "lay":
            positions = await plain.fetchrow("SELECT last_value, is_called FROM author_id_seq")
            self.states.append((await plain.fetch("SELECT * FROM author"), positions))
            return "done"
        if action == "fall back":
            for other in self.world.real:
                await other.do("rollback", "")
            rows, positions = self.states.pop()
            await plain.execute("DELETE FROM author")
            await plain.copy_records_to_table("author", records=rows)
            await plain.execute("SELECT setval('author_id_seq', $1, $2)", *positions)
            return "done"
        if action == "sleep":
            await self.world.awake()
        step = asyncio.create_task(session.do(action, row))
        if action == "sleep" and await self.world.asleep_or(step.done):
            step.cancel()
        try:
            return await step
        except asyncio.CancelledError:
            return CANCELLED


class Programs(RuleBasedStateMachine):
    """Sessions in a sandbox; at the end of each test real ones do the same."""

    world: World
    one_task: bool

    def __init__(self) -> None:
        super().__init__()
        self.runtime = Observed()
        self.sandbox = Sandbox(self.world.connect_plainly, patience=5, runtime=self.runtime)
        self.pending: dict[int, tuple[str, str, asyncio.Future[Any]]] = {}
        """Steps of sessions that have been begun, and are not done as far as is known."""
        self.finished: list[int] = []
        """Whose steps were done since, in this order."""
        self.conflict = False
        self.sessions: list[Session | None] = [None] * SESSIONS
        self.world.run(self._start())

    # ------------------------------------------------------------ rules

    @rule(
        steps=st.lists(
            st.tuples(
                st.integers(0, SESSIONS - 1),
                st.sampled_from([*sorted(STATEMENTS), *FRAMES, *OFTEN, "cancel"]),
                st.sampled_from("abc"),
            ),
            min_size=10,
            max_size=25,
        )
    )
    def take(self, steps: list[tuple[int, str, str]]) -> None:
        """Let sessions take steps, each when the one before is done or waits for another.

        What is cancelled is a statement at the server, or the session's wait for another.
        """
        for number, action, row in steps:
            if self.conflict:
                break
            if action == "cancel":
                self.world.run(self._cancel(number))
            elif number not in self.pending and not (self.one_task and action in DEFERRED):
                # A violation of one is found at another's commit, where they overlap.
                self.world.run(self._take(number, action, f"{number}{row}"))

    @rule(end=st.sampled_from(["commit", "rollback"]))
    def look(self, end: str) -> None:
        """End all transactions that are open, and look at all rows."""
        while self._open and not self.conflict:
            number = min(self._open - self.pending.keys())
            self.world.run(self._take(number, end, ""))
        if not self.conflict:
            self.world.run(self._look())

    @precondition(lambda self: self.quiet and self.grounds < 2)
    @rule()
    def lay(self) -> None:
        """Begin a data layer."""
        self.world.run(self._lay())

    @precondition(lambda self: self.grounds and not self.pending and not self.conflict)
    @rule()
    def fall_back(self) -> None:
        """Leave the innermost data layer."""
        self.world.run(self._fall_back())

    @rule()
    def next_test(self) -> None:
        """End the test wherever it is, and begin another."""
        self.world.run(self._end_test())
        self.world.run(self._begin_test())

    def teardown(self) -> None:
        """End the last test."""
        self.world.run(self._stop())

    @property
    def quiet(self) -> bool:
        """Whether nobody has a transaction open."""
        return not self._open and not self.pending and not self.conflict

    @property
    def _open(self) -> set[int]:
        """Whose transactions are open."""
        return {number for number, session in enumerate(self.sessions) if session and session.open}

    @property
    def grounds(self) -> int:
        """How many data layers there are."""
        return len(self._grounds)

    # ------------------------------------------------------------ how they work

    async def _start(self) -> None:
        self.template = await self.world.witness()
        actors = 1 if self.one_task else SESSIONS
        self._actors = [Actor() for _ in range(actors)]
        await self._begin_test()

    async def _stop(self) -> None:
        try:
            await self._end_test()
        finally:
            for actor in self._actors:
                actor.task.cancel()
            await self.sandbox.close()

    async def _begin_test(self) -> None:
        self.sandbox.begin_test("the model")
        self.log: list[tuple[int, str, str, Any]] = []
        """The steps of the test in the order in which they were done, and their outcomes."""
        self._grounds: list[Any] = []
        self._oracle = Oracle()
        self._renew()

    def _renew(self) -> None:
        """Connect anew where a transaction was open; other connections last for many tests."""
        for number, session in enumerate(self.sessions):
            if session is None or session.open or number in self.pending:
                self.sessions[number] = Session(VirtualConnection(self.sandbox))

    def _actor(self, number: int) -> Actor:
        return self._actors[number % len(self._actors)]

    async def _take(self, number: int, action: str, row: str) -> None:
        self._begin_step(number, action, row)
        await self._settle()

    def _begin_step(self, number: int, action: str, row: str) -> None:
        session = self.sessions[number]
        assert session is not None
        result = self._actor(number).give(session.do(action, row))
        self.pending[number] = (action, row, result)

        def done(_: object) -> None:
            if number in self.pending and self.pending[number][2] is result:
                self.finished.append(number)
                self.runtime.changed.set()

        result.add_done_callback(done)

    async def _settle(self) -> None:
        """Wait until each step that was begun is done, or waits for an open transaction."""
        while True:
            self.runtime.changed.clear()
            for number in self.finished:
                self._took(number)
            self.finished.clear()
            if all(self.runtime.waits(self._actor(number).task) for number in self.pending):
                return
            await self.runtime.changed.wait()

    def _took(self, number: int) -> None:
        action, row, result = self.pending.pop(number)
        outcome = result.result()
        if outcome is SandboxConflictError:
            assert self.one_task  # else they have taken turns
            assert self._oracle.may_conflict(number, action)
            event("a conflict")
            self.conflict = True
            return
        if self.one_task:
            self._oracle.took(
                number, action, asyncio.CancelledError if outcome == CANCELLED else outcome
            )
        self.log.append((number, action, row, outcome))

    async def _cancel(self, number: int) -> None:
        task = self._actor(number).task
        if number not in self.pending:
            await self.world.awake()
            self._begin_step(number, "sleep", "")
            result = self.pending[number][2]
            if await self.world.asleep_or(lambda: result.done() or self.runtime.waits(task)):
                event("a statement was cancelled")
                task.cancel()
                await self._settle()
                return
        if self.runtime.waits(task):
            event("a wait was cancelled")
            result = self.pending[number][2]
            task.cancel()
            del self.pending[number]  # it never ran
            assert await result == CANCELLED
        await self._settle()

    async def _look(self) -> None:
        rows = await rows_of(VirtualConnection(self.sandbox), ROWS_WITH_IDS)
        self.log.append((0, "rows", "", rows))

    async def _lay(self) -> None:
        event("a data layer")
        self._grounds.append(await self.sandbox.lay())
        self._oracle = Oracle()
        self.log.append((0, "lay", "", "done"))

    async def _fall_back(self) -> None:
        await self.sandbox.fall_back(*self._grounds.pop())
        self._oracle = Oracle()
        self.log.append((0, "fall back", "", "done"))
        self._renew()

    async def _end_test(self) -> None:
        """Compare what was done with what real connections do, and what is left with nothing."""
        if self.quiet:
            await self._look()
        assert self.conflict == (self.sandbox.failure is not None)
        await self.sandbox.end_test()
        for _, _, result in self.pending.values():
            event("a test ended while a statement waited")
            assert await result is SandboxClosedError
        self._renew()
        self.pending.clear()
        self.finished.clear()
        self.conflict = False
        assert await self.world.witness() == self.template
        replay = Replay(self.world)
        try:
            for number, action, row, outcome in self.log:
                assert (action, await replay.take(number, action, row)) == (action, outcome)
        finally:
            await restore(self.world.real, self.world.plain)


@pytest.mark.timeout(600)  # of which a failure may take half to be made smaller
@pytest.mark.parametrize("one_task", [True, False], ids=["one task", "a task each"])
def test_sessions(
    connect_plainly: Callable[[], Any],
    left_sql: str,
    sleepers_sql: str,
    one_task: bool,  # noqa: FBT001  # a parameter of pytest's
) -> None:
    """Sessions get production's results and rows, or the one conflict there is."""
    with asyncio.Runner() as runner:
        world = World(runner, connect_plainly, left_sql, sleepers_sql)
        world.run(world.open())
        try:
            programs = type("Programs", (Programs,), {"world": world, "one_task": one_task})
            run_state_machine_as_test(programs, settings=machines)
        finally:
            world.run(world.close())


# ------------------------------------------------------------------ many tasks

transactions = st.lists(
    st.tuples(
        st.lists(
            st.tuples(
                st.sampled_from(
                    [*sorted(STATEMENTS), "insert", "nested", "release", "rollback_to"]
                ),
                st.sampled_from("abc"),
            ),
            max_size=6,
        ),
        st.sampled_from(["commit", "commit", "rollback"]),
    ),
    max_size=3,
)


@ordinary
@given(programs=st.lists(transactions, min_size=2, max_size=SESSIONS), data=st.data())
async def test_sessions_of_many_tasks(  # noqa: PLR0917  # fixtures
    programs: list[list[tuple[list[Step], str]]],
    data: st.DataObject,
    sandbox: Sandbox,
    connect: Callable[[], VirtualConnection],
    real: Callable[[], list[Session]],
    plain: Plain,
    witness: Callable[[], Any],
) -> None:
    """Tasks that write take turns: what they did is what some serial order of them does."""
    template = await witness()
    sandbox.begin_test("the model")
    pauses = data.draw(st.lists(st.integers(0, 3), min_size=7, max_size=7), label="pauses")
    ended: list[tuple[list[Step], str, list[Any]]] = []

    async def work(number: int, program: list[tuple[list[Step], str]]) -> None:
        session = Session(connect())
        for steps, end in program:
            await session.do("begin", "")
            outcomes = []
            for index, (action, name) in enumerate(steps):
                for _ in range(pauses[(number + index) % len(pauses)]):
                    await asyncio.sleep(0)
                if action == "read":
                    continue  # it sees what other transactions have committed before it wrote
                outcomes.append(await session.do(action, name))
            ending = asyncio.ensure_future(session.do(end, ""))
            outcomes.append(await ending)
            ended.append((steps, end, outcomes))

    async with asyncio.TaskGroup() as group:
        for number, program in enumerate(programs):
            group.create_task(work(number, program))
    kept = await rows_of(connect())
    assert sandbox.failure is None
    await sandbox.end_test()
    expected = real()
    try:
        for steps, end, outcomes in ended:
            await expected[0].do("begin", "")
            actual = [await expected[0].do(*step) for step in steps if step[0] != "read"]
            actual.append(await expected[0].do(end, ""))
            assert outcomes == actual
        assert kept == await rows_of(plain)
    finally:
        await restore(expected, plain)
    assert await witness() == template


@dataclass
class Work:
    """A transaction that has written, and what its steps did until it was cancelled, if it was."""

    name: str
    steps: list[Step]
    end: str
    outcomes: list[Any] = field(default_factory=list)

    async def compare(self, real: Session, *, kept: bool) -> None:
        """Let a real session do the same, and commit where a cancelled commit had come first."""
        await real.do("begin", "")
        await real.do("insert", self.name)
        for step, outcome in zip([*self.steps, (self.end, "")], self.outcomes, strict=False):
            assert await real.do(*step) == outcome
        if len(self.outcomes) == len(self.steps) and self.end == "commit":
            event("cancelled in a commit")
            await real.do("commit" if kept else "rollback", "")
        elif len(self.outcomes) <= len(self.steps):
            event("cancelled before its end")
            await real.do("rollback", "")


@ordinary
@given(
    programs=st.lists(transactions, min_size=1, max_size=SESSIONS),
    moments=st.lists(st.integers(0, 40), min_size=SESSIONS, max_size=SESSIONS),
)
async def test_sessions_that_are_cancelled(  # noqa: PLR0917  # fixtures
    programs: list[list[tuple[list[Step], str]]],
    moments: list[int],
    sandbox: Sandbox,
    connect: Callable[[], VirtualConnection],
    real: Callable[[], list[Session]],
    plain: Plain,
    witness: Callable[[], Any],
) -> None:
    """Whatever is cancelled whenever, what was committed stays, the rest goes, and work goes on."""
    template = await witness()
    sandbox.begin_test("the model")
    done: list[Work] = []
    """In the order in which they had the turn."""

    async def work(number: int, program: list[tuple[list[Step], str]]) -> None:
        for index, (steps, end) in enumerate(program):
            mine = Work(f"{number}.{index}", [step for step in steps if step[0] != "read"], end)
            connection = connect()
            session = Session(connection)
            try:
                await session.do("begin", "")
                await session.do("insert", mine.name)
                done.append(mine)
                for step in [*mine.steps, (end, "")]:
                    mine.outcomes.append(await session.do(*step))
            finally:
                await connection.close()

    tasks = [asyncio.create_task(work(*item)) for item in enumerate(programs)]
    for task, moment in zip(tasks, moments, strict=False):
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert result is None or isinstance(result, asyncio.CancelledError)
    assert sandbox.failure is None
    last = Session(connect())
    kept = await rows_of(last.connection)
    assert [await last.do(*step) for step in [("begin", ""), ("insert", "z"), ("commit", "")]] == [
        "done"
    ] * 3
    await sandbox.end_test()
    names = {name for name, _ in kept}
    expected = real()
    try:
        for each in done:
            await each.compare(expected[0], kept=each.name in names)
        assert kept == await rows_of(plain)
    finally:
        await restore(expected, plain)
    assert await witness() == template
