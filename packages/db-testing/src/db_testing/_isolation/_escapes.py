"""What connections that are not the sandbox's have committed in a worker's database.

The server tells in passing, with the reset, whether anything was committed anywhere in the cluster
(`pg_last_committed_xact()`, which needs `track_commit_timestamp`), and whether a connection is
left in a transaction in this database. Only then is looked here: the transaction may have been
autovacuum's, another worker's or that of a fixture. What counts is whether the database differs
from what it was when the test began.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from .._server import _fitness
from .._server._admin import WIRE_ERRORS, Patience, connect, disconnect, first_line, is_lost
from .._statements._catalog import tells_positions
from .._statements._statement_text import shorten
from .._template import _uses
from .._template._removal import end_session, stranger
from ..errors import ServerError
from ._original import Original
from ._picture import Picture

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.engine import URL

    from .._server._admin import Admin
    from .._statements._catalog import Known

    Connection = asyncpg.Connection[asyncpg.Record]

GRACE: Final = 0.1
"""Seconds for which a transaction must do nothing to count as left open."""

PATIENCE: Final = 5.0
"""Seconds within which each statement of a look must have ended."""

COUNTS_AT_ONCE: Final = 15
"""The first major version of PostgreSQL whose statistics are never late."""

NO_COUNT: Final = -1
"""No number of sessions; an older server, which counts late, says 0 of a database that is new."""

# To look at all sessions of the server takes longer than the rest of a reset; even to make the plan
# of such a look ready takes a sixth of it. So where none but ours are connected, no more is asked
# at first than whether somebody has come.
_COME: Final = "SELECT WHERE {committed} OR pg_stat_get_db_sessions({database}) <> $2"
_MOVED: Final = """
    SELECT WHERE {committed} OR EXISTS (
        SELECT FROM pg_stat_get_activity(NULL) AS other
        WHERE other.datid = {database} AND {other}
          AND other.state LIKE 'idle in transaction%')
"""
_NOT_THIS: Final = "other.pid <> pg_backend_pid()"
_NOT_OURS: Final = "other.pid <> ALL (string_to_array($2, ',')::int[])"
# Processes are given as text: about a type of arrays asyncpg asks the server first, for 10 ms.
_OTHERS: Final = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datid = {database} AND pid <> ALL (string_to_array($1, ',')::int[])
            AND backend_type = 'client backend')
"""
_COMMITTED: Final = "coalesce((pg_last_committed_xact()).xid, '0'::xid) <> $1"
_IDLE: Final = """
    SELECT pid, application_name, xact_start, state_change, query
    FROM pg_stat_activity
    WHERE datid = {database} AND pid <> ALL (string_to_array($1, ',')::int[])
        AND state LIKE 'idle in transaction%'
"""


@dataclass(eq=False)
class Watch:
    """One worker's database, seen from a connection of its own."""

    admin: Admin
    url: URL
    template: tuple[str, int] | None = None
    """The name and the number of that of which the database is a clone, until the first look."""
    tracks: bool = False
    """Whether the server tells of commits."""
    stale: bool = True
    """Whether something that is not a test's may have happened since the last look."""
    pristine: bool = True
    """Whether the database is as it was cloned, and no fixture has committed anything."""
    changed: bool = False
    """Whether fixtures have committed something since this was last set to false."""
    sequences_moved: bool = False
    """Whether the last look found positions of sequences that are not those of the beginning."""
    _renewed: bool = True
    _behind: bool = False
    """Whether tests have committed since the last look, and a sweep has undone it."""
    _swept: int = 0
    """The first transaction after the last such sweep."""
    _connection: Connection | None = None
    _database: int = 0
    _last: int | None = None
    """The last transaction committed in the cluster that has been looked into."""
    _picture: Picture | None = None
    _original: Original | None = None
    """What the clone was at the beginning, if nobody has been connected before."""
    _alone: int = NO_COUNT
    """How many sessions the database has had, if only ours are left of them."""
    _ours: set[int] = field(default_factory=set)
    """The server processes of connections that ask, and of the one that looks."""
    _patience: Patience = field(default_factory=Patience)
    _idle: set[tuple[int, Any]] = field(default_factory=set)
    """Transactions of wider fixtures: process and beginning."""

    # ----------------------------------------------------------------- for the sandbox's wire

    async def prepare(self, wire: Connection) -> None:
        """Prepare both questions on a connection that will ask one with each reset."""
        if self._connection is None:  # a fixture of wider scope asks before the first test begins
            await self._learn(wire)
        await wire.execute(
            f"PREPARE db_testing_come (xid, bigint) AS {self._asking(_COME)};"
            f"PREPARE db_testing_moved (xid) AS {self._asking(_MOVED, other=_NOT_THIS)}"
        )
        await self._count(wire)

    async def known(self, wire: Connection) -> Known | None:
        """Return what need not be read on a connection, as nobody else has come before it."""
        original = self._original
        # A server that does not tell positions by oid leaves out those that this user may not read.
        if original is None or not tells_positions(wire) or not await self._is_first(wire):
            return None
        return original.known

    async def _sessions(self, connection: Connection) -> int:
        """Return how many sessions have been in the database, if the server counts at once."""
        if connection.get_server_version().major < COUNTS_AT_ONCE:
            return NO_COUNT
        sessions: int = await connection.fetchval(
            f"SELECT pg_stat_get_db_sessions({self._database})"
        )
        return sessions

    async def _is_first(self, connection: Connection) -> bool:
        """Tell whether no session but ours has ever been in the database."""
        ours = {connection.get_server_pid(), *self._ours}
        return await self._sessions(connection) == len(ours)

    async def _count(self, connection: Connection) -> None:
        """Note how many sessions there have been, if nobody else is connected."""
        self._ours.add(connection.get_server_pid())
        self._alone = NO_COUNT
        # In this order nobody can come in between.
        sessions = await self._sessions(connection)
        if sessions != NO_COUNT and not await connection.fetchval(
            _OTHERS.format(database=self._database), _listed(self._ours)
        ):
            self._alone = sessions

    @property
    def question(self) -> str:
        """Return the statement whose status is `SELECT 0` when nothing has moved.

        Another status may mean that somebody has come, and nothing else: :meth:`moved` knows more.
        """
        if self._alone == NO_COUNT:
            return f"EXECUTE db_testing_moved('{self._last or 0}')"
        return f"EXECUTE db_testing_come('{self._last or 0}', {self._alone})"

    def _asking(self, question: str, other: str = "") -> str:
        committed = _COMMITTED if self.tracks else "$1::xid IS NULL"
        return question.format(committed=committed, database=self._database, other=other)

    # ----------------------------------------------------------------- from synchronous code

    def renewed(self) -> None:
        """Learn that the database has been replaced by a clone."""
        self._renewed = self.stale = self.pristine = True
        self._alone = NO_COUNT
        self.template = self._original = None

    def swept(self, *, learnt: bool) -> None:
        """Learn that a test may commit, which is undone; it may have taken new relations."""
        self._behind = True
        if learnt:
            self._renewed = self.stale = True

    def begin(self) -> None:
        """Look at the database before a test, if something else may have happened to it."""
        if self.stale:
            self.admin.run(self._begin)
            self.stale = False
        elif self._behind:
            self.admin.run(self._catch_up)
        self._behind = False

    def moved(self) -> bool:
        """Tell whether anything was committed anywhere in the cluster, or is left open here.

        A server without `track_commit_timestamp` tells of what is left open only. If not, whoever
        has come is known from now on.
        """
        return self.admin.run(self._moved_or_come)

    def is_cut_off(self) -> bool:
        """Tell whether the server has gone, of which nothing can be learnt until it is back."""
        return self._connection is not None and self.admin.run(is_lost, self._connection)

    def differs(self) -> bool:
        """Tell whether anything was committed in this database since the beginning."""
        return self.admin.run(self._moved) and self.admin.run(self._difference) is not None

    def differs_as_far_as_seen(self) -> bool:
        """Tell the same while a test, which may have locked what is looked at, goes on."""
        last = self._last
        try:
            return self.admin.run(self._moved) and self.admin.run(self._change) is not None
        except (ServerError, *WIRE_ERRORS):
            return False
        finally:
            self._last = last  # it is looked at again when the test is over

    def look(self, *, ours: Collection[int] = ()) -> tuple[str | None, list[str]]:
        """Say what was committed in this database, and what was left open, and end the latter.

        `ours` are server processes that do not count.
        """
        return self.admin.run(self._look, ours)

    @property
    def processes(self) -> list[int]:
        """The server process of the connection that looks."""
        return [] if self._connection is None else [self._connection.get_server_pid()]

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.admin.run(disconnect, connection)

    # ----------------------------------------------------------------- on the admin's thread

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            with self._patience.lent() as patience:
                connection = await connect(
                    self.url,
                    patience=patience,
                    gone=self._connection is not None,
                    command_timeout=PATIENCE,
                    server_settings={
                        "application_name": "db-testing (watch)",
                        "lock_timeout": f"{PATIENCE / 2:g}s",
                    },
                )
            try:
                # The template may have been made past a pooler that is in the way now.
                await _fitness.check_place(connection, self.url.database)
                await self._learn(connection)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection

    async def _learn(self, connection: Connection) -> None:
        self._database = await connection.fetchval(
            "SELECT oid FROM pg_database WHERE datname = current_database()"
        )
        self.tracks = await connection.fetchval("SHOW track_commit_timestamp") == "on"

    async def _begin(self) -> None:
        connection = await self._connected()
        renewed = self._renewed
        if not renewed and self.tracks and not await self._moved():
            return
        picture = await self._first_picture(connection)  # which may commit a note
        last = await self._last_commit(connection)
        if picture is not None and not await self._is_first(connection):
            picture = self._original = None
        if picture is None:
            picture = await Picture.take(connection)
        if renewed or self._picture is None:
            self.changed = True  # a fixture may have asked, and then committed, before
        else:
            if self._behind:
                self._swept = await self._next_transaction(connection)
            if self._picture.difference(picture, swept=self._swept) is not None or (
                self._picture.sequences != picture.sequences
            ):
                self.pristine, self.changed = False, True
        self._renewed = False
        self._last, self._picture, self._swept = last, picture, 0
        self._idle = set(await self._idle_now(connection))
        await self._count(connection)

    async def _first_picture(self, connection: Connection) -> Picture | None:
        """Return the picture of a clone that nobody has touched; it is its template's."""
        template, self.template = self.template, None
        if template is None or not template[1] or not await self._is_first(connection):
            return None
        (name, number), admin = template, self.admin.connection
        key = await Original.key(connection, number)  # one that has been built anew has another
        original = Original.noted((await _uses.noted(admin, name)).get("original"), key)
        if original is None:
            original = await Original.look(connection)
            await _uses.note(admin, name, original=original.note(key))
        self._original = await original.here(connection)
        return self._original.picture

    async def _catch_up(self) -> None:
        """Let what a sweep has written be as it was."""
        connection = await self._connected()
        self._last = await self._last_commit(connection)
        self._swept = await self._next_transaction(connection)
        await self._count(connection)

    async def _next_transaction(self, connection: Connection) -> int:
        number: int = await connection.fetchval(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint % 4294967296"
        )
        return number

    async def _moved(self) -> bool:
        connection = await self._connected()
        # The sandbox's wire may be in a transaction, as it is while a test runs.
        ours = _listed({*self._ours, connection.get_server_pid()})
        question = self._asking(_MOVED, other=_NOT_OURS)
        return bool(await connection.fetch(question, self._last or 0, ours))

    async def _moved_or_come(self) -> bool:
        moved = await self._moved()
        if not moved:
            await self._count(await self._connected())
        return moved

    async def _last_commit(self, connection: Connection) -> int | None:
        if not self.tracks:
            return None
        last = await connection.fetchval("SELECT xid::text FROM pg_last_committed_xact()")
        return None if last is None else int(last)

    async def _idle_now(
        self, connection: Connection, ours: Collection[int] = ()
    ) -> dict[tuple[int, Any], asyncpg.Record]:
        rows = await connection.fetch(_IDLE.format(database=self._database), _listed(ours))
        return {(row["pid"], row["xact_start"]): row for row in rows}

    async def _look(self, ours: Collection[int]) -> tuple[str | None, list[str]]:
        connection = await self._connected()
        left = await self._end_idle(connection, ours)
        await self._count(connection)
        return await self._difference(), left

    async def _difference(self) -> str | None:
        try:
            return await self._change()
        except asyncpg.LockNotAvailableError as error:
            return f"something unknown, since it is still locked ({error}),"

    async def _change(self) -> str | None:
        connection = await self._connected()
        last = await self._last_commit(connection)
        picture = await Picture.take(connection)
        assert self._picture is not None  # noqa: S101  # begin() has come before
        what = self._picture.difference(picture, swept=self._swept)
        self.sequences_moved = self._picture.sequences != picture.sequences
        if what is None:
            self._last = last
        return what

    async def _end_idle(self, connection: Connection, ours: Collection[int]) -> list[str]:
        """End the transactions that others have left open, and say what they were."""
        found = await self._idle_now(connection, ours)
        if found.keys() <= self._idle:
            return []
        await asyncio.sleep(GRACE)  # one that goes on is in use by a fixture
        said = []
        for key, row in (await self._idle_now(connection, ours)).items():
            if key in self._idle or row != found.get(key):
                continue
            try:
                await end_session(connection, row["pid"])
                end = "its process was ended"
            except (asyncpg.InsufficientPrivilegeError, TimeoutError) as error:
                end = f"its process could not be ended ({first_line(error)})"
            who, query = stranger(row, "the sandbox's"), shorten(row["query"])
            said.append(f"{who} was left in a transaction after {query!r}; {end}")
        return said


def _listed(processes: Collection[int]) -> str:
    return ",".join(map(str, processes))
