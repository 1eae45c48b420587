"""Nothing survives a test (invariant 4)."""

from __future__ import annotations

import contextlib
import gc
import queue
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import text

from db_testing.errors import SandboxClosedError, SandboxLostError, SandboxRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from db_testing._sandbox._psycopg import VirtualConnection

    from .conftest import World

INSERT = "INSERT INTO author (name, notes) VALUES (%s, '{}') RETURNING id"
PID = "SELECT pg_backend_pid()"


def value(connection: VirtualConnection, sql: str, *args: object) -> Any:  # noqa: ANN401  # any
    """Return the first column of the first row."""
    row = connection.execute(sql, args or None).fetchone()
    assert row is not None
    return row[0]


def commits(connection: VirtualConnection) -> None:
    """Leave committed rows."""
    connection.execute(INSERT, ["a"])
    connection.execute(INSERT, ["b"])
    connection.commit()


def leaves_open(connection: VirtualConnection) -> None:
    """Leave a transaction and a savepoint open."""
    connection.execute(INSERT, ["a"])
    connection.execute("SAVEPOINT s")
    connection.execute(INSERT, ["b"])


def leaves_aborted(connection: VirtualConnection) -> None:
    """Leave a transaction that has failed."""
    connection.execute(INSERT, ["a"])
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(INSERT, ["a"])


def leaves_a_copy(connection: VirtualConnection) -> None:
    """Be interrupted in the middle of a COPY."""
    commits(connection)
    with (
        contextlib.suppress(KeyboardInterrupt),
        connection.cursor().copy("COPY author (name, notes) FROM STDIN") as copy,
    ):
        copy.write_row(["c", "{}"])
        raise KeyboardInterrupt


def restarts_identity(connection: VirtualConnection) -> None:
    """Truncate with RESTART IDENTITY, which gives a sequence new storage."""
    commits(connection)
    connection.execute("TRUNCATE author, book RESTART IDENTITY")
    commits(connection)


def drops_the_tables(connection: VirtualConnection) -> None:
    """Drop tables and their sequences after moving them."""
    commits(connection)
    connection.execute("DROP TABLE book; DROP TABLE author CASCADE")
    connection.commit()


def deallocates(connection: VirtualConnection) -> None:
    """Deallocate the statement that the reset executes."""
    commits(connection)
    connection.execute("DEALLOCATE db_testing_reset")
    connection.commit()


def sets_a_timeout(connection: VirtualConnection) -> None:
    """Leave a setting under which nothing can run for long."""
    commits(connection)
    connection.execute("SET statement_timeout = '1ms'")
    connection.commit()


def kills_its_backend(connection: VirtualConnection) -> None:
    """Lose the connection."""
    commits(connection)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(SandboxLostError, match="server closed the connection"):
        connection.execute("SELECT 1")


@pytest.mark.parametrize(
    "test",
    [
        commits,
        leaves_open,
        leaves_aborted,
        leaves_a_copy,
        restarts_identity,
        drops_the_tables,
        deallocates,
        sets_a_timeout,
        kills_its_backend,
    ],
    ids=lambda test: test.__name__,
)
def test_rows_and_ids(world: World, test: Callable[[VirtualConnection], None]) -> None:
    """However a test ended, the next finds no row, and its first ids are the template's next."""
    test(world.connect())
    connection = world.next_test()
    assert value(connection, "SELECT count(*) FROM author") == 0
    assert value(connection, INSERT, "a") == 1
    assert (
        value(connection, "INSERT INTO book (author_id, title) VALUES (1, 'b') RETURNING id") == 1
    )


@pytest.mark.parametrize(
    ("leave", "look", "expected"),
    [
        ("SET work_mem = '1MB'", "SHOW work_mem", "4MB"),
        ("SELECT set_config('work_mem', '1MB', false)", "SHOW work_mem", "4MB"),
        ("SELECT pg_advisory_lock(7)", "SELECT count(*) FROM pg_locks WHERE objid = 7", 0),
        ("CREATE TEMP TABLE t (x int)", "SELECT to_regclass('t')::text", None),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors", 0),
        (
            "PREPARE s AS SELECT 1",
            "SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE 'db_testing%'",
            0,
        ),
    ],
)
def test_the_session(world: World, leave: str, look: str, expected: object) -> None:
    """What a test leaves in the session is gone, and the session is the same."""
    connection = world.connect()
    pid = value(connection, PID)
    connection.execute(leave)
    connection.commit()
    connection.execute(INSERT, ["a"])
    connection.commit()
    connection = world.next_test()
    assert value(connection, look) == expected
    assert value(connection, PID) == pid


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SET LOCAL work_mem = '1MB'", None),
        ("SELECT set_config('work_mem', '1MB', true)", None),
        ("SELECT set_config(%s, %s, %s)", ["work_mem", "1MB", True]),
        ("SELECT set_config(%(n)s, '1MB', %(l)s)", {"l": True, "n": "work_mem"}),
    ],
)
def test_local_settings(
    connect: Callable[[], VirtualConnection],
    query: str,
    params: list[object] | dict[str, object] | None,
    *,
    keep: bool,
) -> None:
    """What a transaction sets for itself ends with it, however the name is given."""
    connection = connect()
    connection.execute(query, params)
    assert value(connection, "SHOW work_mem") == "1MB"
    connection.end(keep=keep)
    assert value(connection, "SHOW work_mem") == "4MB"


def test_currval_and_lastval(world: World) -> None:
    """What a session remembers of its sequences is forgotten."""
    commits(world.connect())
    connection = world.next_test()
    for sql in ("SELECT lastval()", "SELECT currval('author_id_seq')"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute(sql)
        connection.rollback()


def test_one_round_trip(world: World, tmp_path: Any) -> None:  # noqa: ANN401  # a path
    """An ordinary test is undone in one message, and an unused sandbox sends none."""
    connection = world.connect()
    commits(connection)
    trace = tmp_path / "trace"
    with trace.open("w+b") as file:
        connection.pgconn.trace(file.fileno())
        world.end()
        world.begin("unused")
        world.end()
        world.begin("the next test")
        world.connect().pgconn.untrace()
    lines = trace.read_text().splitlines()
    assert len([line for line in lines if "\tF\t" in line]) == 1
    assert [line for line in lines if "ReadyForQuery" in line][-1].endswith(" I")


def test_transactions_of_the_test_before(world: World) -> None:
    """A transaction that outlives its test is refused with both named, and closing it is quiet."""
    connection = world.connect()
    connection.execute(INSERT, ["a"])
    world.next_test()
    with pytest.raises(SandboxClosedError, match=r"was still open when its test the test ended"):
        connection.execute("SELECT 1")
    connection.rollback()
    assert value(connection, INSERT, "b") == 1


def test_a_pooled_connection_is_used_by_the_next_test(world: World, engine: Engine) -> None:
    """An engine and its pool live on."""
    for _ in range(3):
        with engine.begin() as connection:
            assert connection.scalar(text(INSERT.replace("%s", "'a'"))) == 1
        world.next_test()
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]  # as QueuePool has it


def test_a_lost_session_is_collected(world: World, engine: Engine) -> None:
    """A connection that was never closed goes quietly, whenever that is noticed."""
    connection = engine.connect()
    connection.execute(text(INSERT.replace("%s", "'a'")))
    connection.__dict__["itself"] = connection
    world.next_test()
    del connection
    gc.collect()
    with engine.begin() as other:
        assert other.scalar(text(INSERT.replace("%s", "'a'"))) == 1


def test_no_test_is_running(world: World) -> None:
    """A wider fixture may read, and is told where to write."""
    world.end()
    connection = world.connect()
    assert value(connection, "SELECT count(*) FROM author") == 0
    with pytest.raises(SandboxRefusedError, match="ran while no test was running"):
        connection.execute(INSERT, ["a"])
    world.begin("the next test")


def test_a_statement_that_outlives_its_test(world: World, until_asleep: Callable[[], None]) -> None:
    """A thread that is still in a statement is given a moment, and then cut off."""
    outcome: queue.Queue[BaseException | None] = queue.Queue()

    def sleep() -> None:
        connection = world.connect()
        try:
            connection.execute(INSERT, ["a"])
            connection.execute("SELECT pg_sleep(100)")
        except psycopg.OperationalError as error:
            outcome.put(error)
        else:
            outcome.put(None)

    thread = world.run(sleep)
    until_asleep()
    connection = world.next_test()
    assert value(connection, INSERT, "a") == 1
    assert isinstance(outcome.get(timeout=10), psycopg.OperationalError)
    thread.join(10)
    assert not thread.is_alive()


def test_a_statement_that_waits_when_its_test_ends(world: World) -> None:
    """A thread that waits for its turn when the test ends never runs its statement."""
    holder = world.connect()
    asked: queue.Queue[BaseException | None] = queue.Queue()

    def wait() -> None:
        connection = world.connect()
        asked.put(None)
        try:
            connection.execute(INSERT, ["b"])
        except SandboxClosedError as error:
            asked.put(error)

    holder.execute(INSERT, ["a"])
    thread = world.run(wait)
    asked.get(timeout=10)
    connection = world.next_test()
    thread.join(10)
    assert not thread.is_alive()
    assert value(connection, "SELECT count(*) FROM author") == 0
    del holder
