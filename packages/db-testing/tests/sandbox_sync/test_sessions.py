"""SQLAlchemy's sessions, connections and transactions, several at a time, on one wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, InternalError

from db_testing.errors import SandboxConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session, sessionmaker

    from db_testing._sandbox._psycopg import VirtualConnection

    Connect = Callable[[], VirtualConnection]

INSERT = text("INSERT INTO author (name, notes) VALUES (:name, '{}')")
ORPHAN = text("INSERT INTO author (name, notes, editor_id) VALUES (:name, '{}', -1)")
NAMES = text("SELECT name FROM author ORDER BY name")


def names(session: Session) -> list[str]:
    """Return the names of all authors."""
    return list(session.scalars(NAMES))


def test_sessions_see_what_others_commit(sessions: sessionmaker[Session]) -> None:
    """What one session commits another sees; what it rolls back nobody does."""
    with sessions.begin() as one:
        one.execute(INSERT, {"name": "kept"})
    with sessions() as one, sessions() as other:
        one.execute(INSERT, {"name": "lost"})
        one.rollback()
        assert names(other) == ["kept"]
        assert names(one) == ["kept"]


def test_nested_savepoints(sessions: sessionmaker[Session]) -> None:
    """Each level of `begin_nested` is undone alone, whatever is inside it with it."""
    with sessions.begin() as session:
        session.execute(INSERT, {"name": "outer"})
        with session.begin_nested():
            session.execute(INSERT, {"name": "first"})
            second = session.begin_nested()
            session.execute(INSERT, {"name": "second"})
            with session.begin_nested():
                session.execute(INSERT, {"name": "third"})
            assert names(session) == ["first", "outer", "second", "third"]
            second.rollback()
            session.execute(INSERT, {"name": "after"})
    with sessions() as session:
        assert names(session) == ["after", "first", "outer"]


def test_an_error_poisons_only_its_own_transaction(sessions: sessionmaker[Session]) -> None:
    """A session whose statement failed is aborted, and another is not."""
    with sessions() as one, sessions() as other:
        one.execute(INSERT, {"name": "a"})
        one.commit()
        with pytest.raises(IntegrityError):
            one.execute(INSERT, {"name": "a"})
        other.execute(INSERT, {"name": "b"})
        other.commit()
        with pytest.raises(InternalError) as caught:
            one.execute(NAMES)
        assert isinstance(caught.value.orig, psycopg.errors.InFailedSqlTransaction)
        one.rollback()
        assert names(one) == ["a", "b"]


def test_deferred_constraints_are_checked_at_the_commit(sessions: sessionmaker[Session]) -> None:
    """A violation is raised by the commit, which then has kept nothing."""
    with sessions() as session:
        session.execute(ORPHAN, {"name": "a"})
        with pytest.raises(IntegrityError) as caught:
            session.commit()
        assert isinstance(caught.value.orig, psycopg.errors.ForeignKeyViolation)
        session.rollback()
        assert names(session) == []


def test_autocommit(engine: Engine) -> None:
    """Each statement is a transaction of its own, and an error undoes one of them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(INSERT, {"name": "a"})
        with pytest.raises(IntegrityError):
            connection.execute(INSERT, {"name": "a"})
        connection.execute(INSERT, {"name": "b"})
        connection.rollback()
    with engine.connect() as connection:
        assert list(connection.scalars(NAMES)) == ["a", "b"]


def test_two_phase_and_many_parameters(engine: Engine) -> None:
    """`executemany`, `RETURNING` and server-side cursors are the driver's own."""
    with engine.begin() as connection:
        connection.execute(INSERT, [{"name": f"{number:03}"} for number in range(250)])
        streamed = connection.execution_options(stream_results=True).execute(NAMES)
        assert len(list(streamed)) == 250
        assert connection.scalar(text("SELECT max(id) FROM author")) == 250


def test_a_rollback_beneath_anothers_write(connect: Connect) -> None:
    """What savepoints cannot express is a conflict, and says who with whom."""
    one, other = connect(), connect()
    one.execute("INSERT INTO author (name, notes) VALUES ('a', '{}')")
    other.execute("INSERT INTO author (name, notes) VALUES ('b', '{}')")
    with pytest.raises(SandboxConflictError, match=r"has written since.*isolation=\"commit\""):
        one.rollback()
    other.close()


def test_a_read_only_transaction(connect: Connect) -> None:
    """A read-only transaction cannot write, and the next one can."""
    connection = connect()
    connection.read_only = True
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM author")
    connection.rollback()
    connection.read_only = False
    connection.execute("DELETE FROM author")
