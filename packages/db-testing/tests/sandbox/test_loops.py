"""Event loops: a connection lives on one, a run has many."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from db_testing._sandbox._sandbox import Sandbox
from db_testing._sandbox._virtual import VirtualConnection
from db_testing._server._admin import connect_options
from db_testing.errors import SandboxLoopError

if TYPE_CHECKING:
    from collections.abc import Callable

INSERT = "INSERT INTO author (name, notes) VALUES ('a', '{}') RETURNING id"
PID = "SELECT pg_backend_pid()"


@pytest.fixture
def new_sandbox(test_database_url: str) -> Sandbox:
    """Return a sandbox that belongs to no loop yet."""
    options = connect_options(make_url(test_database_url))
    sandbox = Sandbox(lambda: asyncpg.connect(**options), patience=5)
    sandbox.begin_test("the test")
    return sandbox


@pytest.fixture
def backends(connect_plainly: Callable[[], Any]) -> Callable[[int], int]:
    """Return a function that counts the server processes of a number; 0 when it is gone."""

    async def count(pid: int) -> int:
        connection = await connect_plainly()
        found = 1
        try:
            async with asyncio.timeout(5):
                while found:  # the event is the server's
                    found = await connection.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid
                    )
        except TimeoutError:
            pass
        finally:
            await connection.close()
        return found

    return lambda pid: asyncio.run(count(pid))


async def insert(sandbox: Sandbox) -> tuple[Any, Any]:
    """Write a row; return its id and the server process."""
    connection = VirtualConnection(sandbox)
    return await connection.fetchval(INSERT), await connection.fetchval(PID)


def test_two_loops_in_one_test(new_sandbox: Sandbox) -> None:
    """The second loop is refused, with the reason and the marker, and the first goes on."""
    with asyncio.Runner() as first:
        assert first.run(insert(new_sandbox))[0] == 1
        with asyncio.Runner() as second, pytest.raises(SandboxLoopError) as caught:
            second.run(insert(new_sandbox))
        assert "the test used the database from two event loops" in str(caught.value)
        assert '@pytest.mark.db(isolation="commit")' in str(caught.value)
        assert __file__ in str(caught.value)
        assert new_sandbox.failure is caught.value
        count = VirtualConnection(new_sandbox).fetchval("SELECT count(*) FROM author")
        assert first.run(_await(count)) == 1
        first.run(new_sandbox.end_test())


def test_two_loops_outside_of_tests(new_sandbox: Sandbox) -> None:
    """Fixtures of a wider scope must share a loop, too."""
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(new_sandbox.end_test())
        connection = VirtualConnection(new_sandbox)
        assert first.run(_await(connection.fetchval("SELECT 1"))) == 1
        with pytest.raises(SandboxLoopError, match="no test did used the database"):
            second.run(_await(connection.fetchval("SELECT 1")))
        first.run(new_sandbox.end_test())


async def _await(awaitable: Any) -> Any:
    return await awaitable


def test_a_loop_for_each_test(new_sandbox: Sandbox) -> None:
    """With a loop of its own each test finds a clean database, and no connection is left."""
    pids = set()
    for number in range(3):
        new_sandbox.begin_test(f"test {number}")
        with asyncio.Runner() as runner:
            first_id, pid = runner.run(insert(new_sandbox))
            assert new_sandbox.loop is runner.get_loop()
            assert new_sandbox.loops == [runner.get_loop()]
            runner.run(new_sandbox.end_test())
        assert first_id == 1
        assert new_sandbox.loops == []
        pids.add(pid)
    assert len(pids) == 3


def test_a_loop_that_is_closed_before_the_end(
    new_sandbox: Sandbox, backends: Callable[[int], int]
) -> None:
    """A test that ran `asyncio.run` itself is undone when its loop closes."""
    _, pid = asyncio.run(insert(new_sandbox))
    assert backends(pid) == 0
    new_sandbox.abandon_test()
    new_sandbox.begin_test("the next test")
    with asyncio.Runner() as runner:
        assert runner.run(insert(new_sandbox))[0] == 1
        runner.run(new_sandbox.end_test())


def test_two_loops_take_turns(new_sandbox: Sandbox) -> None:
    """Loops of wider scope keep their connections from test to test."""
    with asyncio.Runner() as one, asyncio.Runner() as other:
        pids = []
        for runner in (one, other, one, other):
            new_sandbox.begin_test("a test")
            first_id, pid = runner.run(insert(new_sandbox))
            assert first_id == 1
            pids.append(pid)
            runner.run(new_sandbox.end_test())
        assert pids[:2] == pids[2:]
        assert len(new_sandbox.loops) == 2


def test_close(new_sandbox: Sandbox, backends: Callable[[int], int]) -> None:
    """Closing the sandbox on a loop closes that loop's connection, twice without harm."""
    with asyncio.Runner() as runner:
        _, pid = runner.run(insert(new_sandbox))
        runner.run(new_sandbox.end_test())
        runner.run(new_sandbox.close())
        runner.run(new_sandbox.close())
        assert backends(pid) == 0
        assert new_sandbox.loops == []


def test_an_abandoned_loop(new_sandbox: Sandbox) -> None:
    """A test abandoned while its loop lives on loses its connection, and the next keeps its own."""
    with asyncio.Runner() as runner:
        runner.run(insert(new_sandbox))
        new_sandbox.abandon_test()
        assert new_sandbox.loops == []
        pids = []
        for name in ("the next test", "the one after"):
            new_sandbox.begin_test(name)
            first_id, pid = runner.run(insert(new_sandbox))
            assert first_id == 1
            pids.append(pid)
            runner.run(new_sandbox.end_test())
            gc.collect()  # finalises what closes the lost connection with its loop
            runner.run(asyncio.sleep(0))
        assert pids[0] == pids[1]


def test_an_unused_sandbox(new_sandbox: Sandbox) -> None:
    """A test without statements needs no loop to end."""
    assert new_sandbox.loop is None
    new_sandbox.abandon_test()
    assert not new_sandbox.used
