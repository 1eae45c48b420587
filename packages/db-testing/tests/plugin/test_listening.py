"""Which statements a test sends is heard, whatever undoes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest
from asyncpg.prepared_stmt import PreparedStatement

from db_testing._isolation import _listening
from db_testing._isolation._listening import listening
from db_testing._sandbox._virtual import VirtualConnection
from db_testing._sandbox._virtual_statement import VirtualStatement

if TYPE_CHECKING:
    from db_testing._isolation._listening import Sent

    from .conftest import Suite

HEARD = (
    asyncpg.Connection,
    PreparedStatement,
    VirtualConnection,
    VirtualStatement,
    psycopg.Cursor,
    psycopg.ServerCursor,
)
"""What tells of statements while somebody listens."""

ISOLATIONS = pytest.mark.parametrize("isolation", ["rollback", "commit", "database"])


@ISOLATIONS
def test_every_statement_is_heard_once(suite: Suite, isolation: str) -> None:
    """By SQLAlchemy and by asyncpg itself; not what steers transactions, nor what undoes tests."""
    suite("counted", mode="auto").runpytest(f"--db-isolation={isolation}").assert_outcomes(passed=5)


@ISOLATIONS
def test_every_statement_of_psycopg_is_heard_once(suite: Suite, isolation: str) -> None:
    """By SQLAlchemy, by every kind of cursor, and by COPY."""
    pytester = suite("counted_sync", mode="auto")
    pytester.runpytest(f"--db-isolation={isolation}").assert_outcomes(passed=3)


def test_nobody_listens_unless_asked_to() -> None:
    """Beside a report the drivers' methods are their own, and cost nothing."""
    before = [dict(vars(owner)) for owner in HEARD]
    assert not _listening._replaced
    heard: list[Sent] = []
    with listening(heard.append), listening(heard.append):
        assert [dict(vars(owner)) for owner in HEARD] != before
    assert [dict(vars(owner)) for owner in HEARD] == before


NAMED = """
    import pytest

    async def test_asyncpg(db_asyncpg):
        assert await db_asyncpg.fetchval(timeout=5, query="SELECT 1") == 1
        async with db_asyncpg.transaction():
            assert [row[0] async for row in db_asyncpg.cursor(timeout=5, query="SELECT 2")] == [2]
        with pytest.raises(TypeError):
            await db_asyncpg.fetchval()
        with pytest.raises(Exception) as raised:
            await db_asyncpg.execute(query=5)
        assert "_isolation/_listening" not in str(raised.traceback[-1].path)

    def test_psycopg(db_sync_engine):
        with db_sync_engine.connect() as connection:
            cursor = connection.connection.cursor()
            assert cursor.execute(params=[3], query="SELECT %s::int").fetchone() == (3,)
            with pytest.raises(Exception) as raised:
                cursor.execute(params=[3], query=object())
            assert "_isolation/_listening" not in str(raised.traceback[-1].path)
            assert "text_of" not in str(raised.traceback[-1])
"""


def test_arguments_by_name(suite: Suite) -> None:
    """In whatever order they are given, the statement is heard, and calls end as unheard."""
    pytester = suite(mode="auto")
    pytester.makepyfile(test_it=NAMED)
    pytester.runpytest().assert_outcomes(passed=2)
    pytester.runpytest("--db-report=report.json").assert_outcomes(passed=2)
    queries = json.loads((pytester.path / "report.json").read_text())["queries"]
    assert {each["sql"] for each in queries.values()} == {"SELECT 1", "SELECT 2", "SELECT %s::int"}
