"""Which statements a test sends is heard, whatever undoes it."""

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
