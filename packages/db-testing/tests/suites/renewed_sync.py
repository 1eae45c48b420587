"""Each first test changes its connections; each second one, on the same session, finds them new."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest
from models import Item
from psycopg.types.string import TextLoader
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

KEPT: list[Any] = []
PROCESSES: list[set[int]] = []
COUNT = select(func.count()).select_from(Item)
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
SETTINGS = "SELECT name, setting FROM pg_settings WHERE source = 'session'"


@contextlib.contextmanager
def driver(engine: Engine) -> Iterator[psycopg.Connection[Any]]:
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        yield raw
        raw.rollback()


def is_new(engine: Engine) -> None:
    heard: list[psycopg.Notify] = []
    with driver(engine) as connection:
        connection.add_notify_handler(heard.append)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert not connection.autocommit
        assert connection.isolation_level is None
        assert connection.execute("SELECT 1::integer").fetchone() == (1,)
        assert connection.execute(SETTINGS).fetchall() == []
        assert connection.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
        assert connection.execute("SELECT pg_listening_channels()").fetchall() == []
        assert connection.execute(LOCKS).fetchone() == (0,)
        assert connection.execute("SELECT to_regclass('pg_temp.mine')").fetchone() == (None,)
        PROCESSES.append({connection.info.backend_pid})
    assert heard == []


def test_client_state(db_sync_engine: Engine) -> None:
    with driver(db_sync_engine) as connection:
        connection.adapters.register_loader("int4", TextLoader)
        assert connection.execute("SELECT 1::integer").fetchone() == ("1",)
        connection.rollback()
        connection.add_notice_handler(KEPT.append)
        connection.autocommit = True
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        PROCESSES.append({connection.info.backend_pid})


def test_after_client_state(db_sync_engine: Engine) -> None:
    is_new(db_sync_engine)
    with driver(db_sync_engine) as connection:
        connection.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
    assert KEPT == []


def test_session_state(db_sync_engine: Engine) -> None:
    with driver(db_sync_engine) as connection:
        connection.autocommit = True
        connection.execute("SET work_mem = '1MB'")
        connection.execute("SELECT pg_advisory_lock(1)")
        connection.execute("CREATE TEMPORARY TABLE mine ()")
        connection.execute("LISTEN news")
        connection.execute("NOTIFY news")
        connection.execute("PREPARE mine AS SELECT 1")
        for _ in range(10):
            connection.execute("SELECT 2", prepare=True)
        PROCESSES.append({connection.info.backend_pid})


def test_after_session_state(db_sync_engine: Engine) -> None:
    is_new(db_sync_engine)


def test_used_after_its_test(db_sync_engine: Engine) -> None:
    with driver(db_sync_engine) as connection:
        connection.execute("SELECT 1")
        KEPT.append(connection)
        PROCESSES.append({connection.info.backend_pid})


def test_after_used(db_sync_engine: Engine) -> None:
    stale = KEPT.pop()
    assert stale.closed
    with pytest.raises(psycopg.OperationalError, match="closed"):
        stale.execute("SELECT 1")
    is_new(db_sync_engine)


def test_many(db_sync_engine: Engine) -> None:
    def insert(number: int) -> None:
        with Session(db_sync_engine) as session:
            session.add(Item(name=str(number)))
            session.flush()
            together.wait(10)
            session.commit()

    together = Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(insert, range(8)))
    with Session(db_sync_engine) as session:
        assert session.scalar(COUNT) == 8
        ours = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        KEPT.append(set(session.scalars(ours)))


def test_after_many(db_sync_engine: Engine) -> None:
    """Some connections are kept, and not all."""
    before = KEPT.pop()
    with Session(db_sync_engine) as session:
        assert session.scalar(COUNT) == 0
        ours = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        assert len(set(session.scalars(ours)) & before) < len(before)
        session.add(item := Item(name="a"))
        session.commit()
        assert item.id == 1


def test_terminated(db_sync_engine: Engine) -> None:
    with driver(db_sync_engine) as connection:
        KEPT.append(connection.info.backend_pid)


@pytest.mark.usefixtures("_ended_between_tests")
def test_after_terminated(db_sync_engine: Engine) -> None:
    with Session(db_sync_engine) as session:
        assert session.scalar(COUNT) == 0


@pytest.fixture
def _ended_between_tests(test_database_url: str) -> None:
    """As a server does that restarts."""
    url = test_database_url.replace("+asyncpg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", [KEPT.pop()])


def test_sessions_were_used_again() -> None:
    """Each second test had the session of the first."""
    assert len(PROCESSES) == 6
    assert PROCESSES[0::2] == PROCESSES[1::2]
