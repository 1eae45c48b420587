"""Random programs do in the sandbox what they do on real connections.

Two families. In the first, three sessions of one task overlap in any way; each has rows of its own,
so that what one session sees of another's open transaction makes no difference. In the second, each
session is a task, all work on the same rows, and the sandbox must have run their transactions as if
one after the other: the same ones in that order on one real connection give the same results.
"""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from db_testing._binaries import Binaries
from db_testing.errors import SandboxConflictError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from db_testing._sandbox import Sandbox
    from db_testing._virtual import VirtualConnection

    Plain: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

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
FRAMES = ("begin", "nested", "release", "rollback_to", "commit", "rollback")
ROWS = "SELECT name, notes::text FROM author ORDER BY name"

ordinary = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


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


async def rows_of(connection: Any) -> list[tuple[Any, ...]]:
    """Return all authors."""
    return [tuple(row) for row in await connection.fetch(ROWS)]


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


# ------------------------------------------------------------------ one task


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


overlapping = st.lists(
    st.tuples(
        st.integers(0, SESSIONS - 1),
        st.sampled_from([*sorted(STATEMENTS.keys() - DEFERRED), *FRAMES, "begin", "insert"]),
        st.sampled_from("ab"),
    ),
    min_size=10,
    max_size=40,
)


@ordinary
@given(program=overlapping)
async def test_sessions_of_one_task(  # noqa: PLR0917  # fixtures
    program: list[tuple[int, str, str]],
    sandbox: Sandbox,
    connect: Callable[[], VirtualConnection],
    real: Callable[[], list[Session]],
    plain: Plain,
    witness: Callable[[], Any],
) -> None:
    """Overlapping sessions get production's results and rows, or the one conflict there is."""
    template = await witness()
    sandbox.begin_test("the model")
    virtual = [Session(connect()) for _ in range(SESSIONS)]
    oracle = Oracle()
    outcomes: list[Any] = []
    conflict = False
    try:
        for number, action, name in program:
            try:
                outcome = await virtual[number].do(action, f"{number}{name}")
            except SandboxConflictError:
                assert oracle.may_conflict(number, action)
                conflict = True
                break
            oracle.took(number, action, outcome)
            outcomes.append(outcome)
        # What is still open has not been committed, and cannot always be taken away.
        kept = None if conflict or any(each.open for each in virtual) else await rows_of(connect())
        assert conflict == (sandbox.failure is not None)
    finally:
        await sandbox.end_test()
    event("conflict" if conflict else "no conflict")
    assert await witness() == template
    if not conflict:
        expected = real()
        try:
            assert outcomes == [
                await expected[number].do(action, f"{number}{name}")
                for number, action, name in program
            ]
            if kept is not None:
                assert kept == await rows_of(plain)
        finally:
            await restore(expected, plain)


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


@ordinary
@given(
    programs=st.lists(transactions, min_size=1, max_size=SESSIONS),
    moments=st.lists(st.integers(0, 40), min_size=SESSIONS, max_size=SESSIONS),
)
async def test_sessions_that_are_cancelled(
    programs: list[list[tuple[list[Step], str]]],
    moments: list[int],
    sandbox: Sandbox,
    connect: Callable[[], VirtualConnection],
    witness: Callable[[], Any],
) -> None:
    """Whatever is cancelled whenever, what was committed stays, the rest goes, and work goes on."""
    template = await witness()
    sandbox.begin_test("the model")
    committed: set[str] = set()
    doubtful: set[str] = set()

    async def work(number: int, program: list[tuple[list[Step], str]]) -> None:
        for index, (steps, end) in enumerate(program):
            name = f"{number}.{index}"
            connection = connect()
            session = Session(connection)
            try:
                await session.do("begin", "")
                await session.do("insert", name)
                for action, row in steps:
                    await session.do(action, f"{number}{row}")
                if end == "commit":
                    doubtful.add(name)
                if await session.do(end, "") == "done" and end == "commit":
                    committed.add(name)
                doubtful.discard(name)
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
    names = {name for name, _ in await rows_of(connect()) if "." in name}
    event("cancelled in a commit" if doubtful else "cancelled elsewhere")
    assert names <= committed | doubtful
    last = Session(connect())
    assert [await last.do(*step) for step in [("begin", ""), ("insert", "z"), ("commit", "")]] == [
        "done"
    ] * 3
    await sandbox.end_test()
    assert await witness() == template
