"""Which objects and statements depend on transaction identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from db_testing._statements import _transaction_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    Plain = asyncpg.Connection[asyncpg.Record]

FUNCTION = "CREATE FUNCTION f() RETURNS {0} LANGUAGE {1}"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"{FUNCTION.format('bigint', 'sql')} AS 'SELECT txid_current()'", "function f()"),
        (
            f"{FUNCTION.format('xid8', 'sql')} RETURN pg_current_xact_id()",
            "function f()",
        ),
        (
            f"{FUNCTION.format('trigger', 'plpgsql')} AS $$BEGIN RETURN OLD.xmin; END$$",
            "function f()",
        ),
        ("CREATE VIEW v AS SELECT XMIN FROM author", "view v"),
        ("CREATE MATERIALIZED VIEW v AS SELECT pg_current_snapshot()", "view v"),
        (
            "CREATE RULE r AS ON DELETE TO author DO ALSO SELECT txid_current()",
            "rule r on author",
        ),
        (
            (
                "CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
                "CREATE TRIGGER w AFTER UPDATE ON author FOR EACH ROW"
                " WHEN (txid_current() > 0) EXECUTE FUNCTION t()"
            ),
            "trigger w on author",
        ),
        (
            "CREATE POLICY p ON author USING (pg_current_xact_id() IS NOT NULL)",
            "policy p on author",
        ),
        (
            'ALTER TABLE author ADD "By" xid8 DEFAULT pg_current_xact_id()',
            'default of author."By"',
        ),
        (
            "CREATE DOMAIN d AS int CONSTRAINT c CHECK (txid_current() > VALUE)",
            "constraint c",
        ),
        (
            (
                "ALTER TABLE author ADD s pg_snapshot;"
                "CREATE INDEX i ON author ((pg_snapshot_xmin(s)::text))"
            ),
            "index i",
        ),
    ],
)
async def test_objects(plain: Plain, sql: str, expected: str) -> None:
    """An object whose definition mentions it is named."""
    transaction = plain.transaction()
    await transaction.start()
    await plain.execute(sql)
    assert await _transaction_identity.read(plain) == (expected,)
    await transaction.rollback()


async def test_nothing(plain: Plain) -> None:
    """The server's own objects, and definitions that mention nothing of it, are not named."""
    transaction = plain.transaction()
    await transaction.start()
    await plain.execute("CREATE VIEW v AS SELECT 1 AS axmin, now()")
    assert await _transaction_identity.read(plain) == ()
    await transaction.rollback()


async def test_locked_table(plain: Plain, connect_plainly: Callable[[], Any]) -> None:
    """A table that somebody has locked is not waited for."""
    other: Plain = await connect_plainly()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("LOCK TABLE author IN ACCESS EXCLUSIVE MODE")
    await plain.execute("SET lock_timeout = '50ms'")
    assert await _transaction_identity.read(plain) == ()
    await transaction.rollback()
    await other.close()


async def test_extensions(plain: Plain) -> None:
    """What belongs to an extension is not named."""
    transaction = plain.transaction()
    await transaction.start()
    await plain.execute("CREATE VIEW v AS SELECT txid_current()")
    await plain.execute("ALTER EXTENSION plpgsql ADD VIEW v")
    assert await _transaction_identity.read(plain) == ()
    await transaction.rollback()


@pytest.mark.parametrize(
    ("sql", "mentions"),
    [
        ("SELECT xmin FROM t", True),
        ("SELECT t.XMIN::text FROM t", True),
        ("SELECT txid_status($1)", True),
        ("DO $$ BEGIN PERFORM pg_current_xact_id_if_assigned(); END $$", True),
        ("SELECT xmax FROM t", True),
        ("INSERT INTO t VALUES (1) RETURNING (xmax = 0)", False),
        ("INSERT INTO t VALUES (1) RETURNING (t.xmax)=0", False),
        ("SELECT backend_xmin, xminimum FROM t", False),
    ],
)
def test_statements(sql: str, *, mentions: bool) -> None:
    """A statement that mentions it is noticed; `xmax = 0` is as in production."""
    assert _transaction_identity.mentioned(sql) == mentions
