"""A sandbox of threads for each test, on the worker's database, and a witness of what it left."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, LiteralString, cast

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import QueuePool

from db_testing._sandbox._psycopg import VirtualConnection
from db_testing._sandbox._psycopg_wire import PsycopgWire
from db_testing._sandbox._sandbox import Sandbox
from db_testing._sandbox._threads import Step, Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session

    from db_testing._sandbox._runtime import Wire


class World:
    """A sandbox, and the threads that use it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.threads = Threads()

        async def connect() -> Wire:
            return cast("Wire", await Step(lambda: PsycopgWire(options)))

        self.sandbox = Sandbox(connect, patience=5, runtime=self.threads)

    def begin(self, name: str) -> None:
        """Begin a test."""
        self.sandbox.begin_test(name)

    def end(self) -> None:
        """End the test."""
        self.threads.drive(self.sandbox.end_test())

    def connect(self) -> VirtualConnection:
        """Return a virtual connection."""
        return VirtualConnection(self.sandbox, self.threads)

    def next_test(self) -> VirtualConnection:
        """End the test, begin the next, and return a connection in it."""
        self.end()
        self.begin("the next test")
        return self.connect()

    def run(self, work: Callable[[], object], name: str = "other") -> threading.Thread:
        """Start a thread, which inherits nothing from this one."""
        thread = threading.Thread(target=work, name=name)
        thread.start()
        return thread


@pytest.fixture
def options(test_database_url: str) -> dict[str, Any]:
    """Return the arguments with which psycopg reaches the worker's database."""
    _, options = PGDialect_psycopg().create_connect_args(make_url(test_database_url))
    return dict(options) | {"options": "-c lock_timeout=5s"}


@pytest.fixture
def plain(options: dict[str, Any]) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection that knows nothing of any sandbox."""
    with psycopg.connect(**options, autocommit=True) as connection:
        yield connection


@pytest.fixture
def until_asleep(plain: psycopg.Connection[Any], sleepers_sql: LiteralString) -> Callable[[], None]:
    """Return a function that waits until a statement of another connection is in `pg_sleep`."""

    def wait() -> None:
        deadline = time.monotonic() + 10
        while plain.execute(sleepers_sql).fetchone() == (0,):  # the event is the server's
            assert time.monotonic() < deadline

    return wait


@pytest.fixture
def witness(
    plain: psycopg.Connection[Any], left_sql: LiteralString
) -> Callable[[], dict[str, Any]]:
    """Return a function that returns what is in the database, and who has locked it."""
    return lambda: plain.cursor(row_factory=dict_row).execute(left_sql).fetchone() or {}


@pytest.fixture
def world(options: dict[str, Any], witness: Callable[[], dict[str, Any]]) -> Iterator[World]:
    """Return a sandbox in which a test has begun; prove afterwards that nothing was left."""
    before = witness()
    world = World(options)
    world.begin("the test")
    yield world
    # Where the wire was lost, sequences are put back by the first statement of the next test.
    world.next_test().execute("SELECT 1")
    world.end()
    deadline = time.monotonic() + 5
    # A process of the server's ends, and its locks with it, a moment after its connection.
    while (after := witness()) != before and time.monotonic() < deadline:
        pass
    world.threads.drive(world.sandbox.close())
    assert after == before


@pytest.fixture
def connect(world: World) -> Callable[[], VirtualConnection]:
    """Return a factory of virtual connections."""
    return world.connect


@pytest.fixture
def engine(world: World, test_database_url: str) -> Engine:
    """Return an engine on the sandbox, made as the plugin makes its own."""
    return create_engine(
        make_url(test_database_url).set(drivername="postgresql+psycopg"),
        creator=world.connect,
        poolclass=QueuePool,
        pool_size=0,
    )


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    """Return a factory of sessions."""
    return sessionmaker(engine, expire_on_commit=False)
