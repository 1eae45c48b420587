"""`db_queries`: how many statements a test sends, whatever undoes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest
from asyncpg.prepared_stmt import PreparedStatement

from db_testing import _listening
from db_testing._listening import listening
from db_testing._virtual import VirtualConnection
from db_testing._virtual_statement import VirtualStatement

if TYPE_CHECKING:
    from db_testing._listening import Sent

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
def test_every_statement_counts_once(suite: Suite, isolation: str) -> None:
    """By SQLAlchemy and by asyncpg itself; what steers transactions, and undoes tests, does not.

    Too many are listed with the line of each.
    """
    pytester = suite("counted", mode="auto")
    result = pytester.runpytest(f"--db-isolation={isolation}", "-p", "no:randomly")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*db_queries: 3 statements were sent, where at most 1 were to be:",
            "*  1. test_counted.py:*: SELECT 0",
            "*  2. surplus: test_counted.py:*: SELECT 1",
            "*  3. surplus: test_counted.py:*: SELECT 2",
        ]
    )


@ISOLATIONS
def test_every_statement_of_psycopg_counts_once(suite: Suite, isolation: str) -> None:
    """By SQLAlchemy, by every kind of cursor, and by COPY."""
    pytester = suite("counted_sync", mode="auto")
    result = pytester.runpytest(f"--db-isolation={isolation}", "-p", "no:randomly")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*  1. surplus: test_counted_sync.py:*: SELECT 1"])


def test_nobody_listens_unless_asked_to() -> None:
    """Beside the fixture and the report the drivers' methods are their own, and cost nothing."""
    before = [dict(vars(owner)) for owner in HEARD]
    assert not _listening._replaced
    heard: list[Sent] = []
    with listening(heard.append), listening(heard.append):
        assert [dict(vars(owner)) for owner in HEARD] != before
    assert [dict(vars(owner)) for owner in HEARD] == before
