"""The sweep: undo what tests have really committed, without a new database.

What a test has changed is told by the server's own counters (`pg_stat_get_tuples_inserted()` and
its like, a microsecond for each table), of each table and of each catalog: whoever wrote to it,
through whatever connection, and DDL as well. They are exact because each connection of ours hands
them in when the test is over (`pg_stat_force_next_flush()`), and every other one when it ends.
Where one is still open that has done something meanwhile, everything is looked at instead.

Then only what was changed is put back: rows deleted, those of the template restored, sequences set.
With the rights of a superuser, triggers and foreign keys sleep meanwhile
(`session_replication_role`); an owner without them disables triggers, and deletes all in one
statement, at the end of which foreign keys are checked. What cannot be put back is a reason to
replace the database: see `sweep.sql`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

import asyncpg

from .._server._admin import WIRE_ERRORS, connect, disconnect, first_line
from .._statements._statement_text import shorten
from .._template._removal import end_session, roll_back_prepared, stranger
from ..errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from sqlalchemy.engine import URL

    from .._server._admin import Admin

    Connection = asyncpg.Connection[asyncpg.Record]

T = TypeVar("T")
P = ParamSpec("P")

SINCE: Final = 15
"""The first major version of PostgreSQL whose counters are never late."""

LARGEST: Final = 64
"""Pages of 8 KiB up to which a table's rows are kept, to be restored; beyond, a clone is faster.

Those of large values count, which the server keeps beside the table (TOAST).
"""

MOST: Final = 2048
"""Pages of 8 KiB of which rows are kept altogether."""

GRACE: Final = 0.5
"""Seconds for a connection that is not ours to end its transaction."""

LOCK_TIMEOUT: Final = "2s"
"""How long the sweep waits for what another connection has locked."""

EXACT: Final = {
    "array_nulls": "on",
    "datestyle": "ISO",  # others name time zones by abbreviations, which may mean several
    "extra_float_digits": "1",
    "intervalstyle": "postgres",
    "xmloption": "content",
}
"""With these settings, whatever ALTER DATABASE has set, each row that is kept as text is read back
as it was."""

UNHINDERED: Final = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "quote_all_identifiers": "off",
    "statement_timeout": "0",
}
"""And with these, whatever has been set for the application's own good, the sweep can write, sees
what has been committed meanwhile, and takes the time it takes (it has bounds of its own)."""

TRANSACTION_TIMEOUT: Final = 17
"""The first major version of PostgreSQL that bounds whole transactions as well."""

PASSING: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.QueryCanceledError,
    asyncpg.InsufficientResourcesError,
    asyncpg.UndefinedTableError,
    asyncpg.NotNullViolationError,
)
"""Obstacles that lie in the moment, as a table that somebody drops just now; all others are in the
template, and so in the next clone."""

PATIENCE: Final = 60.0
"""Seconds that anybody waits for the sweep: as long as nobody does, it may take its time."""

# What is not qualified is PostgreSQL's. Functions in constraints are the application's and may need
# the path that its connections begin with, as rows are put back.
_OWN_PATH: Final = """
    SELECT pg_catalog.set_config('db_testing.path', pg_catalog.concat_ws(', ', 'pg_catalog',
        NULLIF(pg_catalog.current_setting('search_path'), '')), false);
    SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)
"""

_SLOTS: Final = "SELECT slot_name FROM pg_get_replication_slots() WHERE datoid IS NULL"

# Of what is counted there is a snapshot, as of rows: what is committed later is in neither.
_BEGIN: Final = """
    BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL stats_fetch_consistency = snapshot;
    SELECT pg_stat_get_tuples_inserted('pg_class'::regclass);
"""

_OTHER: Final = """
    SELECT true FROM pg_stat_activity WHERE datname = current_database()
      AND pid <> ALL ($1::oid[]::integer[] || pg_backend_pid()) AND usesysid IS NOT NULL
      AND coalesce(backend_type, 'client backend') = 'client backend' LIMIT 1
"""

# What ALTER SYSTEM has set, which only superusers may read.
_SETTINGS: Final = "SELECT pg_read_file('postgresql.auto.conf', 0, 1048576, true)"

_SUPERUSER: Final = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"

_LOCK: Final = "format('%s %s %s %s', l.pid, l.classid, l.objid, l.objsubid)"

# Of locks, those of a database that nothing but a session's end or itself releases.
_AROUND: Final = f"""
    SELECT a.pid, CASE WHEN l.pid IS NOT NULL THEN {_LOCK} END AS lock
    FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l
        ON l.pid = a.pid AND l.database = a.datid AND locktype = 'advisory' AND granted
    WHERE datname = current_database()
"""  # noqa: S608  # all ours

_WORKING: Final = """
    SELECT pid, application_name, query FROM pg_stat_activity
    WHERE pid = ANY ($1) AND state_change > $2
"""

# What a session of another role does is hidden from a mere owner, but not whether it has a lock.
_OTHERS: Final = f"""
    SELECT a.pid, application_name, doing, query, locks FROM pg_stat_activity AS a
    CROSS JOIN LATERAL (
        SELECT coalesce(a.state,
            CASE WHEN bool_or(locktype = 'virtualxid') THEN 'in a transaction' ELSE 'idle' END
        ) AS doing, string_agg(CASE objsubid
            WHEN 1 THEN (classid::bigint << 32 | objid::bigint)::text
            ELSE format('(%s, %s)', classid::bigint::bit(32)::int, objid::bigint::bit(32)::int)
        END, ', ') FILTER (WHERE locktype = 'advisory'
            AND l.database = a.datid AND {_LOCK} <> ALL ($2)) AS locks
        FROM pg_locks AS l WHERE l.pid = a.pid AND granted
    ) AS held
    WHERE a.pid = ANY ($1) AND (doing <> 'idle' OR locks IS NOT NULL)
"""  # noqa: S608  # all ours


class Swept(NamedTuple):
    """What came of a sweep."""

    reason: str | None
    """Why the database must be replaced; None if it is as it was."""
    left: list[str]
    """Connections that were ended in the middle of something, and prepared transactions."""


@dataclass(eq=False)
class Sweep:
    """One worker's database, swept from a connection of its own."""

    admin: Admin
    url: URL
    staying: set[str] = field(default_factory=set)
    """Of the whole server, what was made or changed while it watched: roles, slots, settings."""
    _connection: Connection | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    """The connection's own, which runs in the thread that asks: to wake another takes longer."""
    _moment: Sequence[Any] = ()
    """The database's oid, the first transaction of a test's, those known not to be, the time."""
    _task: asyncio.Task[Swept] | None = None
    """The sweep that is under way."""
    _why_not: str | None = None
    """Why nothing can be learnt of the database."""
    _for_now: bool = False
    """Whether that may be otherwise with the next one."""
    _come: bool = False
    """Whether somebody had come to the database before the test that it was made for."""
    _spared: list[str] = field(default_factory=list)
    """Advisory locks that no test has taken."""
    _known: set[int] = field(default_factory=set)
    """Sessions that no test has begun, or that have been named."""
    _slots: set[str] = field(default_factory=set)
    """The replication slots of no database that are known."""
    _superuser: bool = False
    _settings: set[str] | None = None
    """The lines that ALTER SYSTEM has written, as far as they are known."""
    _staying: set[int] = field(default_factory=set)
    """The sessions that have been named, and that this user may not end."""

    # ----------------------------------------------------------------- from synchronous code

    def begin(self, *, alone_with: Collection[int] | None = None) -> bool:
        """Learn the state to which tests are undone, unless it is known; tell whether it did.

        In a database that has just been made nobody is to have been but the server processes that
        it is `alone_with`: who else comes is what an earlier test has left behind.
        """
        if self._connection is not None or self._why_not is not None:
            return False
        self._loop = asyncio.new_event_loop()
        self._connection = self._wait_for(self._learn, alone_with)
        self.look_at_settings()
        return True

    def look_at_settings(self) -> None:
        """Note what ALTER SYSTEM has set since the last time; no database counts that."""
        if not self._superuser:
            return
        with contextlib.suppress(ServerError, *WIRE_ERRORS):  # it is looked at again
            written = self.admin.run(self.admin.connection.fetchval, _SETTINGS)
            before, self._settings = self._settings, set((written or "").splitlines())
            if before is not None:
                changed = before ^ self._settings
                self.staying |= {f"setting {line.partition(' ')[0]}" for line in changed}

    def spare(self) -> None:
        """Let nobody be ended or named for what is there now: it is no test's."""
        connection = self._connection
        if connection is not None and not connection.is_closed() and self._task is None:
            # One that has just been cut off, as where the test has got a database of its own, does
            # not know it yet. There is nothing to be swept with it then.
            with contextlib.suppress(*WIRE_ERRORS):
                self._wait_for(self._look_around, connection)

    def start(self, ours: Collection[int]) -> None:
        """Let the server begin to undo what has been committed since the last time.

        `ours` are server processes whose counters are known, and which do nothing.
        """
        if self._connection is None or self._connection.is_closed():
            return
        assert self._loop is not None  # noqa: S101  # it is the connection's
        self._task = self._loop.create_task(self._run(self._connection, list(ours)))
        self._loop.call_soon(self._loop.stop)  # after a turn, in which the task asks the server
        self._drive(self._loop.run_forever)

    def finish(self) -> Swept:
        """Wait for what :meth:`start` began."""
        task, self._task = self._task, None
        if task is None:
            # Not there, it was closed when a data layer inside the test replaced the database.
            lost = self._connection is not None
            why_not = "the sweep's connection was lost" if lost else "a data layer in the test"
            return Swept(self._why_not or why_not, [])
        assert self._loop is not None  # noqa: S101  # it is the task's
        # Not a timeout of the task's own: that would run while nobody drives the loop.
        bound = self._loop.call_later(PATIENCE, task.cancel)
        try:
            return self._drive(self._loop.run_until_complete, task)
        except asyncio.CancelledError:
            return Swept(f"the sweep took longer than {PATIENCE:g} s", [])
        finally:
            bound.cancel()

    def close(self) -> None:
        """Disconnect, and forget the state."""
        connection, self._connection = self._connection, None
        self._task = None
        if self._for_now:
            self._why_not, self._for_now = None, False
        if self._loop is None:
            return
        for interrupted in asyncio.all_tasks(self._loop):
            interrupted.cancel()
        if connection is not None:
            self._wait_for(disconnect, connection)
        self._loop.close()
        self._loop = None

    def _wait_for(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        assert self._loop is not None  # noqa: S101  # from begin() to close()
        return self._drive(self._loop.run_until_complete, _bounded(work(*args)))

    def _drive(self, run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if asyncio._get_running_loop() is None:  # noqa: SLF001  # the public one raises
            return run(*args, **kwargs)
        with ThreadPoolExecutor(1) as thread:  # beneath a loop that runs no other one can
            return thread.submit(run, *args, **kwargs).result()

    # ----------------------------------------------------------------- on its loop

    async def _learn(self, alone_with: Collection[int] | None) -> Connection | None:
        version = self.admin.server_version
        if version < SINCE:
            self._why_not = f"PostgreSQL {version} counts too late for a sweep"
            return None
        bound = {"transaction_timeout": "0"} if version >= TRANSACTION_TIMEOUT else {}
        connection = await connect(
            self.url,
            server_settings={
                "application_name": "db-testing (sweep)",
                "lock_timeout": LOCK_TIMEOUT,
                **EXACT,
                **UNHINDERED,
                **bound,
            },
        )
        try:
            await connection.execute(_OWN_PATH)
            self._superuser = await connection.fetchval(_SUPERUSER)
            if self._superuser:  # others might do so too, where one has granted them that
                await connection.execute("SET session_replication_role = replica")
            # In one transaction, whose own doing is told from that of others.
            await connection.execute(f"{_BEGIN} {_statements()}")
            # Who has gone has handed in what there is to count; who comes now is a test's.
            come = alone_with is not None and await connection.fetchval(_OTHER, alone_with)
            if come and not self._come:  # else one that comes whenever it is cut off
                self._come = True
                return await self._leave(
                    connection, "somebody was connected before the test had begun"
                )
            learnt = await connection.fetchrow(
                "SELECT * FROM pg_temp.db_testing_learn($1, $2)", LARGEST, MOST
            )
            await connection.execute("COMMIT")
            assert learnt is not None  # noqa: S101  # a function without a set returns one row
            *self._moment, touched = learnt
            if alone_with is not None and touched is not None:
                return await self._leave(
                    connection, f"somebody wrote to {touched} before the test had begun"
                )
            self._come = bool(come)
            self._slots = {row[0] for row in await connection.fetch(_SLOTS)}
            await self._look_around(connection)
        except asyncpg.PostgresError as error:
            # No plpgsql, no right to temporary tables, counters that are off.
            connection.terminate()
            self._why_not = f"no sweep could be prepared ({error})"
            self._for_now = isinstance(error, PASSING)
            return None
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _leave(self, connection: Connection, why: str) -> Connection | None:
        await disconnect(connection)
        self._why_not, self._for_now = why, True
        return None

    async def _look_around(self, connection: Connection) -> None:
        around = await connection.fetch(_AROUND)
        self._spared = [row["lock"] for row in around if row["lock"] is not None]
        self._known = {row["pid"] for row in around}
        self._staying &= self._known  # others may get the number of one that has gone

    async def _run(self, connection: Connection, ours: list[int]) -> Swept:
        left: list[str] = []
        try:
            answer = await self._sweep(connection, ours, thorough=False)
            if answer["others"]:
                others = answer["others"]
                left += await self._end(connection, others)
                over = await connection.fetchval("SELECT clock_timestamp()")
                answer = await self._sweep(connection, ours, thorough=True)
                left += await self._working(connection, others, over)
            if answer["prepared"]:
                await roll_back_prepared(connection, answer["prepared"])
                left += [
                    f"the prepared transaction {name!r} was rolled back"
                    for name in answer["prepared"]
                ]
                answer = await self._sweep(connection, ours, thorough=True)
            if answer["grown"]:
                await connection.execute(f"VACUUM {answer['grown']}")
        except WIRE_ERRORS as error:
            # A lock that is not released, a right that is missing, a key that was in the way.
            return Swept(f"the sweep failed ({error})", left)
        return Swept(answer["reason"], left)

    async def _sweep(self, connection: Connection, ours: list[int], *, thorough: bool) -> Any:
        answer: Any = await connection.fetchrow(
            "SELECT * FROM pg_temp.db_testing_sweep($1, $2, $3, $4, $5, $6)",
            ours,
            thorough,
            *self._moment,
        )
        self._moment = self._moment[0], *(answer[name] for name in ("first", "known", "at"))
        slots = set(answer["slots"] or ()) - self._slots
        self._slots |= slots
        self.staying |= {f"role {name}" for name in answer["roles"] or ()}
        self.staying |= {f"replication slot {name}" for name in slots}
        return answer

    async def _end(self, connection: Connection, others: list[int]) -> list[str]:
        """End what other connections do, after a moment in which they may end it themselves."""
        deadline = time.monotonic() + GRACE
        others = [pid for pid in others if pid not in self._staying]
        while busy := await connection.fetch(_OTHERS, others, self._spared):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.01)  # the server has no event to wait for
        said = []
        for row in busy:
            try:
                await end_session(connection, row["pid"])
                end = "its process was ended"
            except asyncpg.InsufficientPrivilegeError as error:
                self._staying.add(row["pid"])
                end = f"its process could not be ended ({first_line(error)})"
            who = stranger(row, "db_engine's")
            lock = f" with the advisory lock {row['locks']}" if row["locks"] else ""
            said.append(f"{who} was left {row['doing']}{lock}, in {shorten(row['query'])!r}; {end}")
        return said

    async def _working(self, connection: Connection, others: list[int], over: Any) -> list[str]:
        """Name the sessions that a test has begun and that work on when it is over.

        They are not ended: they may be of a fixture of wider scope, which has connected late.
        """
        new = [pid for pid in others if pid not in self._known]
        said = []
        for row in await connection.fetch(_WORKING, new, over):
            self._known.add(row["pid"])
            who = stranger(row, "db_engine's")
            said.append(
                f"{who} works on, in {shorten(row['query'])!r}; the tests that follow see what it "
                f"commits"
            )
        return said


async def _bounded(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(PATIENCE):
        return await work


def _statements() -> str:
    return importlib.resources.files(__package__).joinpath("sweep.sql").read_text(encoding="utf-8")
