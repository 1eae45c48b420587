"""Tests before and after one that has a database of its own."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from models import Item
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

MINE = "SELECT oid FROM pg_database WHERE datname = current_database()"
BESIDE = """
    SELECT oid FROM pg_database
    WHERE datname = regexp_replace(current_database(), '_[^_]*$', '_main') || '{purpose}'
"""
OID = Path("oid of the spare")


def kill() -> None:
    Path("killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def record() -> Callable[[int], None]:
    def write(oid: int) -> None:
        OID.write_text(str(oid))

    return write


@pytest.fixture
def made_before() -> int:
    return int(OID.read_text())


async def beside(connection: AsyncConnection, purpose: str) -> int | None:
    """Return what there is beside this process's database."""
    found: int | None = await connection.scalar(text(BESIDE.format(purpose=purpose)))
    return found


async def spare(connection: AsyncConnection) -> int:
    async with asyncio.timeout(30):
        while (found := await beside(connection, "spare")) is None:  # noqa: ASYNC110  # no handle
            await asyncio.sleep(0.01)
    return found


async def test_before(db_connection: AsyncConnection, record: Callable[[int], None]) -> None:
    record(await spare(db_connection))


@pytest.mark.db(isolation="database")
async def test_own(db_connection: AsyncConnection, made_before: int) -> None:
    assert await db_connection.scalar(text(MINE)) == made_before
    await spare(db_connection)  # of the next test


@pytest.mark.db(isolation="database")
async def test_own_again(db_connection: AsyncConnection, made_before: int) -> None:
    assert await db_connection.scalar(text(MINE)) != made_before
    assert await beside(db_connection, "own") is not None


async def test_after(db_connection: AsyncConnection) -> None:
    async with asyncio.timeout(30):
        # What is done in the background is done in turn.
        while await beside(db_connection, "used") is not None:  # noqa: ASYNC110  # no handle
            await asyncio.sleep(0.01)
    assert await beside(db_connection, "spare") is None
    assert await beside(db_connection, "own") is None


async def test_killed(db_connection: AsyncConnection) -> None:
    await spare(db_connection)
    kill()


@pytest.mark.db(isolation="database")
async def test_killed_in_its_own(db_connection: AsyncConnection) -> None:
    await db_connection.execute(text("CREATE TABLE other AS SELECT 1 AS one"))
    kill()


@pytest.fixture(scope="module")
async def layer(
    db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]],
) -> AsyncIterator[None]:
    async with db_layer() as session:
        session.add(Item(name="layer"))
        yield


async def test_before_a_layer(db_connection: AsyncConnection) -> None:
    await spare(db_connection)  # without the layer


@pytest.mark.db(isolation="database")
async def test_above_a_layer(layer: None, db: AsyncSession) -> None:
    assert list(await db.scalars(select(Item.name))) == ["layer"]


@pytest.fixture(scope="module")
def wider() -> str:
    return "wider"


@pytest.mark.db(isolation="commit")
async def test_wider_is_not_there_yet(db: AsyncSession) -> None:
    db.add(Item(name="committed"))
    await db.commit()


@pytest.mark.db(isolation="database")
async def test_wider_fixture_in_its_own(db: AsyncSession, request: pytest.FixtureRequest) -> None:
    assert list(await db.scalars(select(Item.name))) == []
    assert request.getfixturevalue("wider") == "wider"
