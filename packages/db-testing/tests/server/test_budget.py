"""The connections of a server, shared out: what is kept, who waits, and what the error says."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from sqlalchemy.engine import URL

from db_testing._isolation import _isolation
from db_testing._isolation._checkouts import Checkouts
from db_testing._isolation._synchronous import Synchronous
from db_testing._sandbox._wires import DatabaseState
from db_testing._server import _admin, _server
from db_testing._server._admin import Admin, Patience, connect, disconnect, libpq_url
from db_testing._server._budget import MOST, OWN, Budget, Limit, lowest_limit
from db_testing.errors import ServerError

from .test_loss import INI, SUITES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .conftest import Embedded

ALLOWED = 12


@pytest.fixture
def limited(embedded: Embedded) -> URL:
    """Return the URL of a server, with a user who may have few connections."""
    embedded.acquire()
    embedded.query(f"CREATE ROLE few LOGIN CREATEDB CONNECTION LIMIT {ALLOWED}")
    return _server.address(embedded.cluster).set(username="few")


@pytest.fixture
def admin(limited: URL) -> Iterator[Admin]:
    """Return a session of that user."""
    admin = Admin(limited)
    yield admin
    admin.close()


@pytest.fixture
def taken(admin: Admin) -> Iterator[list[Any]]:
    """Take every connection that is left."""

    async def take() -> list[Any]:
        return [await connect(admin.url) for _ in range(ALLOWED - 1)]

    connections = admin.run(take)
    yield connections

    async def close() -> None:
        for connection in connections:
            await disconnect(connection)

    admin.run(close)


@pytest.mark.parametrize(
    ("processes", "databases", "spare"),
    [(1, 1, MOST), (20, 1, MOST), (32, 1, 200 // 32 - OWN), (8, 4, 200 // 32 - OWN), (60, 1, 0)],
)
def test_share(processes: int, databases: int, spare: int) -> None:
    """What is kept in all processes together, and what they need, is less than is allowed."""
    limit = Limit("max_connections", allows=200, has=0, processes=processes)
    assert limit.spare(databases) == spare
    assert processes * databases * (spare + OWN) <= 200 or spare == 0


def test_processes_are_counted(admin: Admin) -> None:
    """Each process that comes makes the share smaller; the limit of the role counts."""
    assert Budget(admin, lambda: 1).spare == MOST
    other = Admin(admin.url)
    try:
        assert Budget(admin, lambda: 1).spare == ALLOWED // 2 - OWN
    finally:
        other.close()


def test_processes_of_other_roles_are_counted(embedded: Embedded, admin: Admin) -> None:
    """A server has one limit for all: teams with roles of their own share what it allows."""
    before = admin.run(lowest_limit, admin).processes
    others = [embedded.connect() for _ in range(2)]
    assert others
    assert admin.run(lowest_limit, admin).processes == before + 2


def test_server_that_is_gone(embedded: Embedded, admin: Admin) -> None:
    """Nothing is kept of what is lost."""
    budget = Budget(admin, lambda: 1)
    embedded.stack.enter_context(contextlib.suppress(ServerError))  # as the fixture closes it
    embedded.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few'")
    assert budget.spare == 0


def test_connection_that_becomes_free_is_waited_for(
    admin: Admin, taken: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others come and go: the server is asked again."""
    refused = threading.Event()
    really: Callable[..., Awaitable[object]] = asyncpg.connect

    async def noticed(**options: object) -> object:
        try:
            return await really(**options)
        except asyncpg.TooManyConnectionsError:
            refused.set()
            raise

    monkeypatch.setattr(asyncpg, "connect", noticed)

    async def meanwhile() -> None:
        waiting = asyncio.ensure_future(connect(admin.url))
        await asyncio.to_thread(refused.wait, _admin.PATIENCE)
        await disconnect(taken[0])
        await disconnect(await waiting)

    admin.run(meanwhile)
    assert refused.is_set()


def test_server_on_which_nothing_becomes_free(
    admin: Admin, taken: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first connection of a process is one error, with the server's own words."""
    assert len(taken) == ALLOWED - 1
    monkeypatch.setattr(_admin, "PATIENCE", 0.2)
    with pytest.raises(ServerError) as caught:
        Admin(admin.url)
    assert 'was to be had for 0.2 s: too many connections for role "few"' in str(caught.value)


def synchronous(admin: Admin, budget: Budget) -> Synchronous:
    """Return what stands before psycopg, as under commit isolation."""
    made = Synchronous(
        admin.url,
        DatabaseState(),
        lambda: None,
        Checkouts(),
        part=lambda: None,
        budget=budget,
        loop=admin.loop,
    )
    made.begin("a test", "commit")
    return made


def test_psycopg_waits_as_well(admin: Admin, taken: list[Any]) -> None:
    """All that it learns is a text; so the server is asked whether it is full, and that is told."""

    class Freed(Budget):
        asked = 0

        def exhausted(self) -> ServerError | None:
            found = super().exhausted()
            if found is not None and not self.asked:
                self._admin.run(disconnect, taken[0])
            self.asked += found is not None
            return found

    budget = Freed(admin, lambda: 1)
    engine = synchronous(admin, budget)
    with engine.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    assert budget.asked > 0
    engine.end()
    engine.disconnect()


@pytest.mark.parametrize("twice", range(2))
def test_psycopg_on_a_full_server(
    admin: Admin, taken: list[Any], monkeypatch: pytest.MonkeyPatch, twice: int
) -> None:
    """The error says how many are allowed, by what, and which databases they lead to."""
    assert len(taken) == ALLOWED - 1
    monkeypatch.setattr(_admin, "PATIENCE", 0.1)
    engine = synchronous(admin, Budget(admin, lambda: 1))
    with pytest.raises(ServerError) as caught:
        engine.connect(engine.engine.dialect)
    assert f"allows {ALLOWED} (the CONNECTION LIMIT of the role few)" in str(caught.value)
    assert f"{ALLOWED} are taken: {ALLOWED} in postgres" in str(caught.value)
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    engine.disconnect()


GREEDY = """
    import asyncio
    import pytest
    import sqlalchemy as sa
    from db_testing._server import _admin

    OURS = sa.text("SELECT count(*) FROM pg_stat_activity WHERE usename = 'few'")

    @pytest.mark.parametrize("number", range(2))
    async def test_few_are_kept(db, db_engine, number):
        before = (await db.execute(OURS)).scalar_one()
        assert before <= {most}
        several = [await db_engine.connect() for _ in range({allowed} - before)]
        for connection in several:
            await connection.execute(sa.text("SELECT 1"))
            await connection.close()

    async def test_more_than_there_are(db_engine, monkeypatch):
        several = []
        try:
            for _ in range({allowed}):
                several.append(await db_engine.connect())
        finally:
            for connection in several:
                await connection.close()
"""


def test_test_that_takes_all(
    limited: URL, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has opened is closed again but for the share; too many are an error, no hang."""
    pytester.makeini(INI)
    pytester.makepyfile(models=(SUITES / "models.py").read_text())
    pytester.makeconftest((SUITES / "app_conftest.py").read_text())
    # The test's own connection, and those that are kept; nothing is watched under commit isolation.
    pytester.makepyfile(GREEDY.format(allowed=ALLOWED, most=MOST + OWN))
    monkeypatch.setattr(_admin, "PATIENCE", 0.2)
    result = pytester.runpytest_inprocess(
        f"--db-server={limited.render_as_string()}", "--db-isolation=commit", "-p", "no:randomly"
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [f"*no connection is to be had: * allows {ALLOWED} (the CONNECTION LIMIT of the role few)*"]
    )


FULL = """
    import psycopg
    import pytest

    TAKEN = []

    async def test_rolled_back(db):
        pass

    def test_others_take_all():
        with pytest.raises(psycopg.OperationalError):
            while True:
                TAKEN.append(psycopg.connect("{url}"))

    @pytest.mark.db(isolation="commit")
    async def test_begins_on_a_full_server(db):
        pass

    def test_others_give_them_back():
        for connection in TAKEN:
            connection.close()

    @pytest.mark.db(isolation="commit")
    async def test_begins_when_there_is_room(db):
        pass
"""


def test_server_that_is_full_as_a_test_begins(
    limited: URL, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails, is told who has the connections, and leaves the tests that follow alone."""
    pytester.makeini(INI)
    pytester.makepyfile(models=(SUITES / "models.py").read_text())
    pytester.makeconftest((SUITES / "app_conftest.py").read_text())
    pytester.makepyfile(FULL.format(url=libpq_url(limited)))
    monkeypatch.setattr(_admin, "PATIENCE", 0.2)
    result = pytester.runpytest_inprocess(
        f"--db-server={limited.render_as_string()}", "-p", "no:randomly"
    )
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(
        [f"*no connection is to be had: * allows {ALLOWED} (the CONNECTION LIMIT of the role few)*"]
    )


async def test_connections_that_are_opened_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for a server that is full, or starts again; not the first of them alone."""
    waited = []

    async def connect(_: URL, *, patience: float, **__: object) -> object:
        waited.append(patience)
        await asyncio.sleep(0)  # the others begin
        return object()

    monkeypatch.setattr(_isolation, "connect", connect)
    isolation = object.__new__(_isolation.Isolation)
    isolation.url, isolation._patience = URL.create("postgresql"), Patience()
    isolation._budget = object.__new__(Budget)  # nothing is asked of it
    await asyncio.gather(*(isolation._connect() for _ in range(3)))
    assert waited == [_admin.PATIENCE] * 3
