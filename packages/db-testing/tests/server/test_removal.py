"""A database can be replaced whatever a test has left in it or attached to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from db_testing._server import _cluster
from db_testing._server._admin import Admin, connect, disconnect
from db_testing._template import _removal
from db_testing.errors import ServerError

if TYPE_CHECKING:
    from .conftest import Embedded

NAME = "dbt_p_01234567_r_main"
SLOT = "SELECT pg_create_logical_replication_slot('news', 'pgoutput')"
SUBSCRIPTION = (
    "CREATE SUBSCRIPTION news CONNECTION 'host=/nowhere' PUBLICATION news"
    " WITH (connect = false, slot_name = 'news', enabled = false)"
)
LEFT = f"""
    SELECT (SELECT count(*) FROM pg_database WHERE datname = '{NAME}')
         + (SELECT count(*) FROM pg_prepared_xacts) + (SELECT count(*) FROM pg_subscription)
         + (SELECT count(*) FROM pg_replication_slots)
"""


@pytest.fixture
def admin(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> Admin:
    """Connect to a server of which a test may ask for anything, and make a database."""
    more = {"wal_level": "logical", "max_wal_senders": "4", "max_prepared_transactions": "4"}
    for option, value in more.items():
        monkeypatch.setitem(_cluster.OPTIONS, option, value)
    embedded.acquire()
    admin = embedded.connect()
    admin.run(admin.connection.execute, f'CREATE DATABASE "{NAME}"')
    return admin


async def inside(admin: Admin, *statements: str) -> None:
    """Run statements in the database, each by itself."""
    connection = await connect(admin.url.set(database=NAME))
    for statement in statements:
        await connection.execute(statement)
    await disconnect(connection)


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(
            [
                "CREATE TABLE a (b int)",
                "BEGIN; INSERT INTO a VALUES (1); PREPARE TRANSACTION 'it''s'",
            ],
            id="prepared transaction",
        ),
        pytest.param(["CREATE PUBLICATION news FOR ALL TABLES", SLOT], id="slot"),
        pytest.param([SUBSCRIPTION], id="subscription"),
        pytest.param([f'ALTER DATABASE "{NAME}" IS_TEMPLATE true'], id="template"),
        pytest.param([f'ALTER DATABASE "{NAME}" CONNECTION LIMIT 0'], id="limit"),
    ],
)
@pytest.mark.parametrize("renamed", [False, True])
def test_nothing_is_left_of_it(admin: Admin, statements: list[str], *, renamed: bool) -> None:
    """What holds a database without being connected to it is dropped with it."""
    admin.run(inside, admin, *statements)
    name = NAME
    if renamed:
        name = "dbt_p_01234567_r_mainused"
        assert admin.run(_removal.retire, admin, NAME, name)
    admin.run(_removal.drop, admin, name)
    assert admin.run(admin.connection.fetchval, LEFT.replace(NAME, name)) == 0


def test_streaming_slot(admin: Admin) -> None:
    """A slot from which somebody reads just now does not keep a database."""
    admin.run(inside, admin, "CREATE PUBLICATION news FOR ALL TABLES", SLOT)

    async def stream() -> asyncio.Task[object]:
        loop = asyncio.get_running_loop()
        connection = await connect(
            admin.url.set(database=NAME), server_settings={"replication": "database"}
        )
        options = "(proto_version '1', publication_names 'news')"
        reading: asyncio.Task[object] = loop.create_task(
            connection.execute(f"START_REPLICATION SLOT news LOGICAL 0/0 {options}")
        )
        active = "SELECT active FROM pg_replication_slots"
        async with asyncio.timeout(30):
            while not await admin.connection.fetchval(active):  # noqa: ASYNC110  # no handle
                await asyncio.sleep(0.01)
        return reading

    async def end(reading: asyncio.Task[object]) -> None:
        done, _ = await asyncio.wait({reading}, timeout=30)
        assert done
        assert reading.exception() is not None

    reading = admin.run(stream)
    admin.run(_removal.drop, admin, NAME)
    assert admin.run(admin.connection.fetchval, LEFT) == 0
    admin.run(end, reading)


def test_database_that_stays_is_open(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that could not be replaced is that of the tests that follow."""

    async def refuse(*_: object) -> None:
        message = "somebody stays"
        raise ServerError(message)

    monkeypatch.setattr(_removal, "vacate", refuse)
    with pytest.raises(ServerError, match="somebody stays"):
        admin.run(_removal.retire, admin, NAME, "dbt_p_01234567_r_mainused")
    admin.run(inside, admin, "SELECT 1")


def test_database_that_is_gone(admin: Admin) -> None:
    """A test may have dropped its database itself."""
    admin.run(_removal.drop, admin, NAME)
    assert not admin.run(_removal.retire, admin, NAME, "dbt_p_01234567_r_mainused")
    admin.run(_removal.drop, admin, NAME)


def test_who_does_not_go(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that come again and again are waited for with a bound, and named."""
    monkeypatch.setattr(_removal, "PATIENCE", 0.0)

    async def come_again() -> None:
        # Its process has not ended yet when its successor is there.
        settings = {"application_name": "me"}
        session = await connect(admin.url.set(database=NAME), server_settings=settings)
        try:
            await _removal.vacate(admin.connection, NAME)
        finally:
            session.terminate()

    with pytest.raises(ServerError, match=rf"{NAME} .* still in use by process \d+ \(me\)"):
        admin.run(come_again)


def test_who_may_not_be_ended(admin: Admin) -> None:
    """Another role's session is named, with what the server says."""

    async def refused() -> None:
        await admin.connection.execute("CREATE ROLE small LOGIN CREATEDB")
        small = await connect(admin.url.set(username="small"))
        great = await connect(admin.url.set(database=NAME))
        try:
            await _removal.vacate(small, NAME)
        finally:
            await disconnect(small)
            await disconnect(great)

    with pytest.raises(ServerError, match=r"another role's session .* permission denied"):
        admin.run(refused)


def test_sessions_end_at_once(admin: Admin) -> None:
    """The wait is over with the last session, and not after 100 ms, when the server looks."""

    async def times() -> list[float]:
        loop, taken = asyncio.get_running_loop(), []
        for _ in range(5):
            session = await connect(admin.url.set(database=NAME))
            began = loop.time()
            await _removal.vacate(admin.connection, NAME)
            taken.append(loop.time() - began)
            session.terminate()
        return taken

    assert min(admin.run(times)) < 0.09
