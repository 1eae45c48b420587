"""Servers that speak PostgreSQL's protocol, and lack what db-testing needs: one error, no hang.

A real PostgreSQL is made to lack it. What CockroachDB does to advisory locks, and PGlite's socket
to connections, it does here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import struct
import threading
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from db_testing import _settings
from db_testing._plugin._worker import Worker
from db_testing._server import _admin, _server
from db_testing._server._admin import Admin
from db_testing._server._cluster import SOCKET_NAME
from db_testing._template import _claims, _clones
from db_testing.errors import ServerError, UnfitServerError
from db_testing.schema import Schema

from .test_loss import INI, SUITES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Embedded

STARTS = struct.pack("!i", 196608)
"""What follows the length in the message that begins a session."""


class Pooler:
    """Leads each connection to one database, whatever it asks for, or takes one at a time only."""

    def __init__(self, embedded: Embedded, *, alone: bool) -> None:
        self._socket = str(embedded.cluster.socket_folder / SOCKET_NAME)
        self._alone = alone
        self._open = 0
        self._loop = asyncio.new_event_loop()

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Run it in a thread, and return its URL."""
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            port = server.sockets[0].getsockname()[1]
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.run_until_complete(self._end(server))
            self._loop.close()

    @staticmethod
    async def _end(server: asyncio.Server) -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._alone and self._open:
            writer.close()
            return
        self._open += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            length = struct.unpack("!i", await reader.readexactly(4))[0]
            words = (await reader.readexactly(length - 4))[4:].rstrip(b"\0").split(b"\0")
            asked = dict(zip(words[::2], words[1::2], strict=True)) | {b"database": b"postgres"}
            start = STARTS + b"".join(b"%s\0%s\0" % each for each in asked.items()) + b"\0"
            upstream = await asyncio.open_unix_connection(self._socket)
            upstream[1].write(struct.pack("!i", len(start) + 4) + start)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, upstream[1]))
                both.create_task(self._pass(upstream[0], writer))
        self._open -= 1

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()


@pytest.fixture
def schema() -> Schema:
    """Return a schema of one table."""
    metadata = MetaData()
    Table("thing", metadata, Column("id", Integer, primary_key=True))
    return Schema.from_metadata(metadata)


def worker_of(server: str) -> Worker:
    """Return a worker whose first test has begun."""
    worker = Worker(
        _settings.Settings(
            server=server,
            isolation="rollback",
            schema=None,
            session_options=None,
            bind=(),
            leaks="report",
            project="p",
            run="r",
            worker="main",
        )
    )
    worker.begin("test_it", "rollback")
    return worker


def refusal(server: str, schema: Schema) -> str:
    """Return what a worker says of a server that it cannot use."""
    worker = worker_of(server)
    try:
        with pytest.raises(UnfitServerError) as caught:
            worker.application(schema)
    finally:
        worker.close()
    message = str(caught.value)
    assert "It calls itself 'PostgreSQL" in message
    assert "Let --db-server lead to such a server, past any pooler" in message
    return message


def left(embedded: Embedded) -> object:
    """Count what there should be nothing of: databases of ours, and tables beside them."""
    return embedded.query(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname ~ '^dbt')"
        " + (SELECT count(*) FROM pg_class WHERE relname IN ('thing', 'item'))"
    )


def test_database_that_is_another(embedded: Embedded, schema: Schema) -> None:
    """Nothing is written where the URL leads: the schema would be made in somebody's database."""
    embedded.acquire()
    with Pooler(embedded, alone=False).running() as url:
        message = refusal(url, schema)
    assert "the server leads to the database postgres who asks for dbt_building_" in message
    assert left(embedded) == 0


def test_template_that_was_there_before(embedded: Embedded, schema: Schema) -> None:
    """No test is led to another database either, where the schema need not be made any more."""
    embedded.acquire()
    past_it = worker_of(_server.address(embedded.cluster).render_as_string())
    past_it.application(schema)
    past_it.close()
    template = left(embedded)
    with Pooler(embedded, alone=False).running() as url:
        worker = worker_of(url)
        try:
            with pytest.raises(UnfitServerError) as caught:
                worker.application(schema)
            with pytest.raises(UnfitServerError):  # nor does the next test begin there
                worker.begin("test_next", "rollback")
        finally:
            worker.close()
    message = str(caught.value)
    assert re.search(r"leads to the database postgres who asks for dbt_p_\w+_main", message)
    assert left(embedded) == template


def test_one_connection_only(embedded: Embedded, schema: Schema) -> None:
    """The second one is not waited for: whoever has just answered is ready."""
    embedded.acquire()
    with Pooler(embedded, alone=True).running() as url:
        message = refusal(url, schema)
    assert "no connection to it is to be had (connection was closed in the middle" in message
    assert left(embedded) == 0


def test_locks_that_nobody_holds(embedded: Embedded, schema: Schema) -> None:
    """Where each lock is granted and none held, nobody's database is dropped as a dead one's."""
    embedded.acquire()
    for statement in (
        "CREATE SCHEMA shadow",
        "CREATE FUNCTION shadow.pg_try_advisory_lock(bigint) RETURNS bool RETURN true",
        "CREATE ROLE mine LOGIN SUPERUSER",
        "ALTER ROLE mine SET search_path = shadow, pg_catalog, public",
    ):
        embedded.query(statement)
    others = "dbt_others_01234567_run_main"
    embedded.query(f"CREATE DATABASE {others}")
    url = _server.address(embedded.cluster).set(username="mine").render_as_string()
    assert "has granted an advisory lock, and holds none" in refusal(url, schema)
    embedded.query(f"DROP DATABASE {others}")  # it is there
    assert "has granted an advisory lock, and holds none" in refusal(url, schema)
    assert left(embedded) == 0


def test_function_that_is_not_there(embedded: Embedded, schema: Schema) -> None:
    """The first statement that a server refuses is named with the reason."""
    embedded.acquire()
    embedded.query("CREATE ROLE few LOGIN CREATEDB")
    embedded.query("REVOKE EXECUTE ON FUNCTION pg_try_advisory_lock(bigint) FROM PUBLIC")
    url = _server.address(embedded.cluster).set(username="few").render_as_string()
    message = refusal(url, schema)
    assert "cannot do what db-testing asks of it (InsufficientPrivilegeError: permission" in message
    assert left(embedded) == 0


def test_old_server_is_called_by_its_name(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version alone may be another product's idea of compatibility."""
    embedded.acquire()
    monkeypatch.setattr("db_testing._server._admin.OLDEST", 99)
    with pytest.raises(ServerError, match=r"needs 99 or later\. It calls itself 'PostgreSQL \d"):
        Admin(_server.address(embedded.cluster))


def test_run_ends_with_one_error(embedded: Embedded, pytester: pytest.Pytester) -> None:
    """Tests that follow are not tried one by one."""
    embedded.acquire()
    pytester.makeini(INI)
    pytester.makepyfile(
        models=(SUITES / "models.py").read_text(),
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(5))
        async def test_it(db, number):
            pass
        """,
    )
    pytester.makeconftest((SUITES / "app_conftest.py").read_text())
    with Pooler(embedded, alone=False).running() as url:
        result = pytester.runpytest_inprocess(f"--db-server={url}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["db-testing: the server leads to the database postgres who asks*"])
    assert left(embedded) == 0


def test_two_that_reap_at_the_same_time(embedded: Embedded) -> None:
    """A database is dropped once: who comes second finds that the first has its lock."""
    embedded.acquire()
    dead = "dbt_dead_01234567_run_main"
    embedded.query(f"CREATE DATABASE {dead}")
    one, other = embedded.connect(), embedded.connect()
    one.run(_claims.take, one.connection, dead)
    assert _clones.reap(other) == []
    one.run(_claims.give, one.connection, dead)
    assert _clones.reap(other) == [dead]


class Refusing(asyncpg.Connection):
    """Knows no level of that setting."""

    async def execute(self, query: str, *args: object, **options: float | None) -> str:
        """Ask for another one."""
        query = query.replace("= local", "= 'unknown'")
        return str(await super().execute(query, *args, **options))


def test_server_that_does_not_know_of_synchronous_commits(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have that setting without its levels; what they are is told by what comes later."""
    embedded.acquire()
    connect = functools.partial(_admin.connect, connection_class=Refusing)
    monkeypatch.setattr(_admin, "connect", connect)
    assert embedded.query("SELECT 1") == 1
