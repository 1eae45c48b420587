"""Turns: threads wait for each other as tasks do (invariant 1)."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import text

from db_testing.errors import SandboxDeadlockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Engine

    from db_testing._sandbox._psycopg import VirtualConnection

    from .conftest import World

INSERT = "INSERT INTO author (name, notes) VALUES (%s, '{}')"
NAMES = "SELECT array_agg(name ORDER BY name) FROM author"


def here(offset: int = 0) -> str:
    """Return the place of the line that calls, as an error names it."""
    frame = inspect.stack()[1]
    return f"{frame.filename}:{frame.lineno + offset}"


def names(connection: VirtualConnection) -> Any:  # noqa: ANN401  # a list or None
    """Return the names of all authors."""
    row = connection.execute(NAMES).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Return a pool of threads, which know nothing of what started them."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def waits(thread_waits: threading.Event, call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call that says that it is about to be made."""

    def announced() -> Any:  # noqa: ANN401  # what the call returns
        thread_waits.set()
        return call()

    return announced


@pytest.mark.parametrize("keep", [True, False])
def test_a_writer_is_waited_for(world: World, pool: ThreadPoolExecutor, *, keep: bool) -> None:
    """Another thread sees a transaction's rows when it is committed, and never when not."""
    one, other = world.connect(), world.connect()
    asked = threading.Event()
    one.execute(INSERT, ["a"])
    reader = pool.submit(waits(asked, lambda: names(other)))
    asked.wait(10)
    one.execute(INSERT, ["b"])
    assert not reader.done()
    one.end(keep=keep)
    assert reader.result(10) == (["a", "b"] if keep else None)
    other.close()


def test_threads_that_race(world: World, pool: ThreadPoolExecutor, engine: Engine) -> None:
    """Read-modify-write in many threads loses nothing, for writers take turns."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO author (name, notes) VALUES ('n', '0')"))
    gate = threading.Barrier(8)

    def add() -> None:
        gate.wait(10)
        for _ in range(10):
            with engine.begin() as connection:
                connection.execute(text("SELECT 1 FROM author FOR UPDATE"))
                value = connection.scalar(text("SELECT notes::text::int FROM author"))
                connection.execute(text("UPDATE author SET notes = :n"), {"n": f"{value + 1}"})

    for added in [pool.submit(add) for _ in range(8)]:
        added.result(30)
    assert world.connect().execute("SELECT notes FROM author").fetchone() == (80,)


def test_readers_do_not_wait_for_each_other(world: World, pool: ThreadPoolExecutor) -> None:
    """Transactions that only read are open side by side in several threads."""
    gate = threading.Barrier(3)

    def read() -> Any:  # noqa: ANN401  # a row
        connection = world.connect()
        connection.execute("SELECT 1")
        gate.wait(10)
        row = connection.execute("SELECT 2").fetchone()
        connection.close()
        return row

    assert [read.result(10) for read in [pool.submit(read) for _ in range(3)]] == [(2,)] * 3


def test_threads_of_the_writer(world: World) -> None:
    """A thread that a writer waits for, and that has its context, sees what it wrote."""

    async def read_in_a_thread() -> Any:  # noqa: ANN401  # a list
        return await asyncio.to_thread(lambda: names(world.connect()))

    one = world.connect()
    one.execute(INSERT, ["a"])
    assert asyncio.run(read_in_a_thread()) == ["a"]
    one.rollback()


def test_the_thread_of_the_writer_has_ended(world: World) -> None:
    """A writer whose thread has ended is waited for by nobody."""
    connection = world.connect()
    world.run(lambda: connection.execute(INSERT, ["a"])).join(10)
    assert names(world.connect()) == ["a"]
    connection.commit()


def test_the_work_of_the_writer_is_done(world: World, pool: ThreadPoolExecutor) -> None:
    """A thread of a pool lives on; that its work is done, its context tells."""
    connection = world.connect()
    empty = contextvars.Context()
    pool.submit(empty.run, lambda: connection.execute(INSERT, ["a"]).close()).result(10)
    reader = pool.submit(lambda: names(world.connect()))
    assert not reader.done()
    del empty
    assert reader.result(4) == ["a"]
    connection.commit()


def test_deadlock(options: dict[str, Any], pool: ThreadPoolExecutor) -> None:
    """A wait that cannot end is an error that names both threads and where they began."""
    from .conftest import World  # noqa: PLC0415  # a world of less patience

    world = World(options)
    world.sandbox._patience = 0.2
    world.begin("the test")
    places = []

    def wait() -> None:
        threading.current_thread().name = "second"
        places.append(here(1))
        world.connect().execute(INSERT, ["b"])

    try:
        places.append(here(1))
        world.connect().execute(INSERT, ["a"])
        with pytest.raises(SandboxDeadlockError) as caught:
            pool.submit(wait).result(10)
        assert str(caught.value) == (
            f"the transaction begun at {places[1]} in thread 'second' waited 0.2 s for its turn at "
            f"{places[1]}: the transaction begun at {places[0]} in thread 'MainThread' has "
            f"uncommitted changes and was not ended. Under rollback isolation transactions that "
            f"write take turns on one connection. If the first is waiting for the second, add "
            f'@pytest.mark.db(isolation="commit") to the test.'
        )
        assert world.sandbox.failure is caught.value
    finally:
        world.end()
        world.threads.drive(world.sandbox.close())


def test_a_queue_is_no_deadlock(world: World, pool: ThreadPoolExecutor) -> None:
    """The bound is for one statement: many short ones may keep a thread waiting for longer."""
    world.sandbox._patience = 0.3

    def work() -> None:
        connection = world.connect()
        connection.autocommit = True
        connection.execute("SELECT pg_sleep(0.2)")

    for done in [pool.submit(work) for _ in range(5)]:
        done.result(10)
    assert world.sandbox.failure is None


def test_a_statement_within_a_copy(world: World) -> None:
    """Another connection of the same thread is told at once that it cannot have the turn."""
    one, two = world.connect(), world.connect()
    with (
        pytest.raises(SandboxDeadlockError, match="within another statement of the same thread"),
        one.cursor().copy("COPY author (name, notes) FROM STDIN") as copy,
    ):
        copy.write_row(["a", two.execute("SELECT '{}'").fetchone()])
    one.rollback()
    assert names(two) is None
    two.rollback()


def test_a_statement_that_is_running(world: World, until_asleep: Callable[[], None]) -> None:
    """While one thread's statement runs, another can cancel it, and then goes on."""
    one, other = world.connect(), world.connect()
    caught: list[BaseException] = []

    def sleep() -> None:
        try:
            one.execute("SELECT pg_sleep(100)")
        except psycopg.errors.QueryCanceled as error:
            caught.append(error)

    thread = world.run(sleep)
    until_asleep()
    other.cancel_safe()  # has no statement running, so it cancels none
    other.cancel()
    one.cancel_safe()
    thread.join(10)
    assert len(caught) == 1
    assert other.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        one.execute("SELECT 1")
    one.rollback()
    assert one.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_shared_by_threads(world: World, pool: ThreadPoolExecutor) -> None:
    """Threads may share one connection, whose statements run one after the other."""
    connection = world.connect()
    connection.execute(INSERT, ["first"])
    calls = [pool.submit(connection.execute, INSERT, [str(number)]) for number in range(20)]
    for call in calls:
        call.result(10)
    connection.commit()
    assert len(names(connection)) == 21
