"""What a test leaves behind is listed, and is gone before the next test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Suite

IN_ORDER = ("-p", "no:randomly")
ISOLATIONS = pytest.mark.parametrize("isolation", ["rollback", "commit"])


def line_of(suite: str, pytester: pytest.Pytester, text: str) -> str:
    """Return `file:line` of a text in a suite."""
    path = pytester.path / f"test_{suite}.py"
    number = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)
    return f"{path.name}:{number}"


@ISOLATIONS
def test_connections_are_listed_and_cut_loose(suite: Suite, isolation: str) -> None:
    """Each is listed with the line that took it; no warning follows, and the next test is clean."""
    pytester = suite("left_connections", mode="auto")
    result = pytester.runpytest(*IN_ORDER, f"--db-isolation={isolation}")
    result.assert_outcomes(passed=12)
    name = "test_left_connections.py::test"
    flush = "await session.flush()  # left in a transaction"
    taken = line_of("left_connections", pytester, flush)
    begun = f"the transaction begun at {taken}" if isolation == "rollback" else "in a transaction"
    cycle = line_of("left_connections", pytester, "# left to the collector")
    unused = line_of("left_connections", pytester, "# left without a statement")
    detached = line_of("left_connections", pytester, "# left detached")
    result.stdout.no_fnmatch_line("*garbage collector*")
    result.stdout.fnmatch_lines(
        [
            "*= left behind by tests =*",
            f"{name}_session: the connection taken at {taken} was never given back, *{begun}",
            f"{name}_cycle: the connection taken at {cycle} was never given back*",
            f"{name}_unused: the connection taken at {unused} was never given back",
            f"{name}_detached: the connection taken at {detached} was detached, never closed*",
            "db-testing: *",
        ],
    )
    assert sum("the connection taken" in line for line in result.outlines) == 4


@ISOLATIONS
def test_synchronous_connections_are_listed(suite: Suite, isolation: str) -> None:
    """So are psycopg's, and nothing is logged when the garbage collector meets one later."""
    pytester = suite("left_connections_sync")
    result = pytester.runpytest(*IN_ORDER, f"--db-isolation={isolation}")
    result.assert_outcomes(passed=9)
    name = "test_left_connections_sync.py::test"
    taken = line_of("left_connections_sync", pytester, "session.flush()  # left in a transaction")
    begun = f", with the transaction begun at {taken}" if isolation == "rollback" else ""
    cycle = line_of("left_connections_sync", pytester, "# left to the collector")
    detached = line_of("left_connections_sync", pytester, "# left detached")
    expected = [
        f"{name}_session: the connection taken at {taken} was never given back{begun}",
        f"{name}_cycle: the connection taken at {cycle} was never given back*",
        f"{name}_detached: the connection taken at {detached} was detached*",
    ]
    result.stdout.fnmatch_lines(["*= left behind by tests =*", *expected, "db-testing: *"])
    assert sum("the connection taken" in line for line in result.outlines) == len(expected)


@ISOLATIONS
def test_tasks_are_listed_and_ended(suite: Suite, isolation: str) -> None:
    """Each is listed with where it was; a wider fixture's task runs on; the next test is clean."""
    pytester = suite("left_tasks", mode="auto")
    result = pytester.runpytest(*IN_ORDER, f"--db-isolation={isolation}")
    result.assert_outcomes(passed=11)
    name = "test_left_tasks.py::test"
    waits = line_of("left_tasks", pytester, "await asyncio.Event().wait()")
    result.stdout.fnmatch_lines(
        [
            "*= left behind by tests =*",
            f"{name}_waiting: task 'waiting' (test_waiting.*listener) was still running at {waits}",
            f"{name}_writing: task 'writing' (test_writing.*writer) was still running at *",
            f"{name}_stubborn: task 'stubborn' *at {waits} and has survived its cancellation for*",
            f"{name}_raising: task 'raising' *; its cancellation made it raise ValueError: no",
            "db-testing: *",
        ],
    )
    result.stdout.no_fnmatch_line(f"{name}_generator*")
    shielded = [line for line in result.outlines if f"{name}_shielded" in line]
    assert len(shielded) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_leaking_test_fails_if_so_wished(suite: Suite, workers: int) -> None:
    """With db_leaks = error the test that leaks fails at its end, and no other."""
    pytester = suite("left_connections", mode="auto", more="db_leaks = error")
    run = pytester.runpytest_subprocess if workers else pytester.runpytest
    result = run(*IN_ORDER, *(["-n", str(workers), "--dist", "loadfile"] if workers else []))
    result.assert_outcomes(passed=12, errors=4)
    result.stdout.fnmatch_lines(
        [
            "*db-testing: test_left_connections.py::test_session left behind",
            "*  the connection taken at * was never given back, with the transaction begun at *",
            "*= left behind by tests =*",
            "test_left_connections.py::test_session: the connection taken *",
        ]
    )


@pytest.mark.parametrize(
    ("marker", "scope"), [("asyncio", "fixture-scope"), ("asyncio", "function"), ("anyio", "")]
)
def test_task_of_the_first_test(suite: Suite, marker: str, scope: str) -> None:
    """It is listed and ended, also on a loop that nobody knew, and before it used the database."""
    pytester = suite(fixture_loop_scope=scope or "fixture-scope")
    pytester.makepyfile(
        f"""
        import asyncio
        import pytest
        from models import Item

        pytestmark = pytest.mark.{marker}

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def writes_late(sessions):
            await asyncio.Event().wait()  # for ever

        KEPT = []  # else the garbage collector may be faster

        async def test_first(db_sessionmaker):
            KEPT.append(asyncio.create_task(writes_late(db_sessionmaker)))

        async def test_next(db):
            assert not any(
                "writes_late" in repr(task.get_coro()) for task in asyncio.all_tasks()
            )
        """
    )
    result = pytester.runpytest("-p", "anyio", *IN_ORDER)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_first: task * (writes_late) was still running at *"])


def test_block_that_is_being_ended_is_listed_once(suite: Suite) -> None:
    """SQLAlchemy ends it in a task of its own, which is not the program's."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncio
        from models import Item
        from sqlalchemy import text

        async def test_left(db_sessionmaker):
            before = len(asyncio.all_tasks())
            read = asyncio.Event()

            async def writes():
                async with db_sessionmaker.begin() as session:
                    await session.execute(text("SELECT 1"))
                    session.add(Item(name="b"))
                    read.set()
                    await holds.wait()

            holds = asyncio.Event()
            task = asyncio.create_task(writes(), name="writes")
            await read.wait()
            holder = db_sessionmaker()
            KEPT.append(holder)
            holder.add(Item(name="a"))
            await holder.flush()
            holds.set()
            while len(asyncio.all_tasks()) < before + 2:  # its own, and SQLAlchemy's
                await asyncio.sleep(0)
            await asyncio.sleep(0)

        KEPT = []
        """
    )
    result = pytester.runpytest(*IN_ORDER)
    result.assert_outcomes(passed=1)
    ended = line_of("block_that_is_being_ended_is_listed_once", pytester, "as session:")
    (listed,) = (line for line in result.outlines if "was still running at" in line)
    assert listed.endswith(
        f"task 'writes' (test_left.<locals>.writes) was still running at {ended}"
    )


def test_leaks_of_all_workers_are_listed(suite: Suite) -> None:
    """Under xdist the process that prints has them from every worker, and says how many more."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        KEPT = []

        @pytest.mark.parametrize("time", range(13))
        async def test_leak(db_engine, time):
            KEPT.append(await db_engine.connect())
        """
    )
    result = pytester.runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=13)
    shown = [line for line in result.outlines if "the connection taken at" in line]
    assert len(shown) == 10
    result.stdout.fnmatch_lines(["... and 3 more"])


def test_loop_of_the_tests_own(suite: Suite) -> None:
    """Tasks on a loop that ends with the test are ended and listed before it does."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from sqlalchemy import text

        @pytest.fixture
        async def task_of_a_fixture():
            task = asyncio.create_task(asyncio.Event().wait())
            yield
            assert not task.done()
            task.cancel()

        @pytest.mark.asyncio(loop_scope="function")
        @pytest.mark.parametrize("time", [1, 2])
        async def test_own(db, task_of_a_fixture, time):
            async def left():
                await asyncio.Event().wait()
            await db.execute(text("SELECT 1"))
            asyncio.create_task(left(), name="left")
            await asyncio.sleep(0)
        """
    )
    result = pytester.runpytest(
        *IN_ORDER, "-o", "asyncio_default_fixture_loop_scope=function", "-W", "error"
    )
    result.assert_outcomes(passed=2)
    shown = [line for line in result.outlines if "task 'left' (test_own.<locals>.left)" in line]
    assert len(shown) == 2


def test_what_began_with_wider_fixtures_is_no_leak(suite: Suite) -> None:
    """Connections and tasks of a session's fixture live on, also one asked for during a test."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from sqlalchemy import text

        @pytest.fixture(scope="session")
        async def session_wide(db_engine):
            async def left():
                await asyncio.Event().wait()
            task = asyncio.create_task(left())
            connection = await db_engine.connect()
            yield task
            assert not task.done()
            task.cancel()
            await connection.close()

        @pytest.mark.parametrize("time", [1, 2])
        def test_late(request, time):
            assert not request.getfixturevalue("session_wide").done()
        """,
    )
    result = pytester.runpytest(*IN_ORDER)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*left behind*")


def test_unknown_choice_is_explained(suite: Suite, databases_of: Callable[[], list[str]]) -> None:
    """An unknown value of db_leaks ends the run before it begins."""
    result = suite("every_fixture", more="db_leaks = fail").runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: db-testing: the ini key db_leaks = 'fail' is none of*"])
