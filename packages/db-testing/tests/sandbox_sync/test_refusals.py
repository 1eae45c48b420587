"""What rollback isolation cannot honour is refused, never faked (invariant 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import IsolationLevel

from db_testing.errors import SandboxRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from db_testing._sandbox._psycopg import VirtualConnection

    from .conftest import World

    Connect = Callable[[], VirtualConnection]

INSERT = "INSERT INTO author (name, notes) VALUES (%s, '{}')"
MARKER = r'add @pytest\.mark\.db\(isolation="commit"\) to the test'


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "END",
        "/* hi */ commit; -- there",
        "PREPARE TRANSACTION 'x'",
        "INSERT INTO author (name, notes) VALUES ('a', '{}'); COMMIT",
        "SAVEPOINT a; SELECT 1",
        "LISTEN channel",
        "VACUUM",
        "CREATE DATABASE other",
        "CREATE INDEX CONCURRENTLY i ON author (name)",
        "DO $$ BEGIN COMMIT; END $$",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET default_transaction_isolation = serializable",
    ],
)
def test_statements(world: World, connect: Connect, sql: str) -> None:
    """The error says what, where, why and the marker; the test goes on."""
    connection = connect()
    connection.autocommit = True
    connection.execute(INSERT, ["kept"])
    with pytest.raises(SandboxRefusedError, match=MARKER) as caught:
        connection.execute(sql)
    assert __file__ in str(caught.value)
    assert connection.execute("SELECT array_agg(name) FROM author").fetchone() == (["kept"],)
    assert not world.sandbox.committed


CALLS: dict[str, Callable[[Any], Any]] = {
    "tpc_begin": lambda c: c.tpc_begin("x"),
    "tpc_prepare": lambda c: c.tpc_prepare(),
    "tpc_commit": lambda c: c.tpc_commit("x"),
    "tpc_rollback": lambda c: c.tpc_rollback("x"),
    "pipeline": lambda c: c.pipeline(),
    "notifies": lambda c: c.notifies(timeout=1),
    "isolation_level": lambda c: setattr(c, "isolation_level", IsolationLevel.SERIALIZABLE),
    "set_isolation_level": lambda c: c.set_isolation_level(IsolationLevel.REPEATABLE_READ),
    "foreign_executemany": lambda c: psycopg.ClientCursor(c).executemany("SELECT %s", [[1]]),
    "foreign_savepoint": lambda c: psycopg.ClientCursor(c).execute("SAVEPOINT a"),
    "foreign_stream": lambda c: next(psycopg.Cursor(c).stream("SELECT 1")),
    "foreign_copy": lambda c: psycopg.Cursor(c).copy("COPY author TO STDOUT").__enter__(),
    "executemany": lambda c: c.cursor().executemany("COMMIT", [[]]),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(connect: Connect, name: str) -> None:
    """Nor does any call of the driver get past the sandbox."""
    connection = connect()
    connection.execute(INSERT, ["kept"])
    connection.commit()
    with pytest.raises(SandboxRefusedError, match=MARKER):
        CALLS[name](connection)
    connection.rollback()
    assert connection.execute("SELECT array_agg(name) FROM author").fetchone() == (["kept"],)


def test_two_cursors_of_one_name(connect: Connect) -> None:
    """Two connections cannot have cursors of one name open, for they share one."""
    one, other = connect(), connect()
    with one.cursor("same") as first, other.cursor("same") as second:
        first.execute("SELECT 1")
        with pytest.raises(SandboxRefusedError, match=r"the cursor 'same'.*is open in the trans"):
            second.execute("SELECT 2")
        assert first.fetchone() == (1,)


def test_a_statement_in_the_midst_of_a_copy(connect: Connect) -> None:
    """Where psycopg would wait for itself for ever, there is an error."""
    connection = connect()
    with (
        pytest.raises(psycopg.OperationalError, match="another operation"),
        connection.cursor().copy("COPY author (name, notes) FROM STDIN"),
    ):
        connection.execute("SELECT 1")
    connection.rollback()
    assert connection.execute("SELECT 1").fetchone() == (1,)
