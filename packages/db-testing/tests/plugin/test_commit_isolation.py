"""Commit isolation: real connections, and a sweep after the test."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

from db_testing._plugin import _worker
from db_testing._server._admin import Admin
from db_testing.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from db_testing._settings import IsolationName

    from .conftest import Suite


def test_marked_tests_have_real_connections_and_a_clean_database(
    suite: Suite, databases_of: Callable[[], list[str]]
) -> None:
    """What rollback isolation refuses works, and the next test sees nothing of it."""
    pytester = suite("commits", "every_fixture")
    # In a process of its own: what the suite lost on purpose is garbage of that process.
    pytester.runpytest_subprocess().assert_outcomes(passed=26)
    assert databases_of() == []


@pytest.mark.parametrize("by", ["flag", "ini"])
def test_whole_suite_under_commit_isolation(suite: Suite, by: str) -> None:
    """A suite written for rollback passes on real connections, chosen by flag or ini key."""
    pytester = suite("every_fixture", more="db_isolation = commit" if by == "ini" else "")
    result = pytester.runpytest(*(["--db-isolation=commit"] if by == "flag" else []))
    result.assert_outcomes(passed=11)
    result.stdout.fnmatch_lines(["db-testing: *, commit isolation"])


def test_commit_through_the_url_is_undone(suite: Suite) -> None:
    """Code that connects by itself may commit in a test marked so."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import select
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

        @pytest.mark.db(isolation="commit")
        @pytest.mark.parametrize("time", [1, 2])
        async def test_url(db_engine, test_database_url, time):
            engine = create_async_engine(test_database_url)
            async with AsyncSession(engine) as session:
                session.add(Item(name="a"))
                await session.commit()
            async with AsyncSession(db_engine) as session:
                assert (await session.execute(select(Item.id))).scalar_one() == 1
            await engine.dispose()
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_after_a_test_whose_loop_is_gone(suite: Suite) -> None:
    """A sequence that a closed loop's connection has moved is back where the next test begins."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from models import Item

        async def insert(sessions):
            async with sessions.begin() as session:
                item = Item(name="a")
                session.add(item)
                await session.flush()
                assert item.id == 1

        def test_rollback_on_a_loop_of_its_own(db_sessionmaker):
            asyncio.run(insert(db_sessionmaker))

        @pytest.mark.db(isolation="commit")
        async def test_commit(db_sessionmaker):
            await insert(db_sessionmaker)
        """
    )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=2)


@pytest.mark.parametrize("marker", ["isolation='committed'", "'commit'", "", "commit=True"])
def test_wrong_marker_is_explained(suite: Suite, marker: str) -> None:
    """A marker that means nothing is no silent rollback."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.db({marker})
        async def test_marked(db): pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*UsageError: *test_marked: the marker db takes isolation=*"])


def test_wrong_marker_is_no_other_tests(suite: Suite) -> None:
    """Fixtures that the test has not come to are there for those that follow it."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.db(isolation="committed")
        async def test_marked(db): pass

        @pytest.mark.parametrize("time", [1, 2])
        async def test_after(db, time): pass
        """
    )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=2, errors=1)


def test_wrong_ini_key_is_explained(suite: Suite) -> None:
    """An unknown isolation ends the run before it begins."""
    result = suite("every_fixture", more="db_isolation = none").runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: db-testing: the ini key db_isolation = 'none' is none of*"]
    )


@pytest.mark.since(15)  # by a sweep
def test_sweep_undoes_whatever_the_test_does(
    suite: Suite, databases_of: Callable[[], list[str]]
) -> None:
    """Connections are used again, the next test is clean, and what was left is named."""
    pytester = suite("swept", mode="auto")
    result = pytester.runpytest_subprocess("-p", "no:randomly", timeout=120)
    result.assert_outcomes(passed=28)
    result.stdout.fnmatch_lines(
        [
            (
                "*test_stranger_left_in_a_transaction: a connection that is not db_engine's *"
                "left idle in transaction, in 'LOCK TABLE item'; its process was ended"
            ),
            (
                "*test_stranger_left_with_a_lock: a connection that is not db_engine's * left idle "
                "with the advisory lock 7, in 'SELECT pg_advisory_lock(7)'; its process was ended"
            ),
            "*test_task_that_still_writes: task 'writer' *",
            "db-testing: a new database after tests under commit isolation (2): the schema was *",
        ]
    )
    result.stdout.no_fnmatch_line("*isolation (*): rows of*")
    assert databases_of() == []


@pytest.mark.since(15)  # by a sweep
def test_new_database_leaves_no_task(suite: Suite) -> None:
    """Connections to the old one are gone when the next test begins, with what waits for them."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncio
        from sqlalchemy import text

        async def test_changes_the_schema(db):
            await db.execute(text("CREATE TABLE more ()"))
            await db.commit()

        async def test_next(db):
            assert asyncio.all_tasks() == {asyncio.current_task()}
        """
    )
    result = pytester.runpytest("--db-isolation=commit", "-p", "no:randomly")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*a new database after tests under commit isolation (1): the *"])


@pytest.mark.since(15)  # by a sweep
def test_role_that_stays_is_named(suite: Suite, test_database_url: str) -> None:
    """No new database would undo it; another run on the server may have made it as well."""
    role = f"role_{uuid.uuid4().hex}"
    pytester = suite(mode="auto")
    pytester.makepyfile(
        f"""
        from sqlalchemy import text

        async def test_makes_a_role(db):
            await db.execute(text("CREATE ROLE {role}"))
            await db.commit()
        """
    )
    admin = Admin(make_url(test_database_url).set(database="postgres"))
    try:
        result = pytester.runpytest_subprocess("--db-isolation=commit", "-n", "1")
    finally:
        admin.run(admin.connection.execute, f"DROP ROLE {role}")
        admin.close()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [f"db-testing: made or changed while * ran, and staying: *role {role}*. They belong *"]
    )
    result.stdout.no_fnmatch_line("*a new database after*")


@pytest.mark.since(15)  # by a sweep
def test_writer_that_is_there_before_the_next_test(suite: Suite) -> None:
    """What it writes into a new database is gone when it is: it is not taken for the template's."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import psycopg
        import pytest
        from sqlalchemy import text

        URLS = []
        COUNT = text("SELECT count(*) FROM item")

        async def test_ddl(db, test_database_url):
            URLS.append(test_database_url.replace("+asyncpg", ""))
            await db.execute(text("CREATE TABLE n (x int)"))
            await db.commit()

        async def test_beside_the_writer(db):
            assert (await db.execute(COUNT)).scalar_one() == 1

        async def test_after_it(db):
            assert (await db.execute(COUNT)).scalar_one() == 0
        """
    )
    pytester.makeconftest(
        f"""{(pytester.path / "conftest.py").read_text()}
import psycopg
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if item.name == "test_beside_the_writer":  # as a process that the first has left might
        with psycopg.connect(item.module.URLS[0]) as stranger:
            stranger.execute("INSERT INTO item (name) VALUES ('of a stranger')")
"""
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly", "--db-isolation=commit")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        ["*a new database after*(1): somebody wrote to public.item before the test had begun"]
    )


def test_wider_fixtures_end_in_a_clean_database(suite: Suite) -> None:
    """A sweep, which may go on between two tests, has ended before fixtures of a class do."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncio
        import asyncpg
        import pytest
        from sqlalchemy import make_url, text

        KEPT = []

        async def connect(url):
            url = make_url(url).set(drivername="postgresql")
            return await asyncpg.connect(url.render_as_string(hide_password=False))

        @pytest.fixture(scope="class")
        def looks(test_database_url):
            yield

            async def count():
                connection = await connect(test_database_url)
                try:
                    return await connection.fetchval("SELECT count(*) FROM item")
                finally:
                    await connection.close()

            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                assert runner.run(count()) == 0

        @pytest.mark.usefixtures("looks")
        class TestCommits:
            async def test_commits(self, db, test_database_url):
                await db.execute(text("INSERT INTO item (name) VALUES ('a')"))
                await db.commit()
                stranger = await connect(test_database_url)
                await stranger.execute("BEGIN; SELECT 1")  # half a second of waiting
                KEPT.append(stranger)

        async def test_of_another_class(db):
            await db.execute(text("SELECT 1"))
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly", "--db-isolation=commit")
    result.assert_outcomes(passed=2)


def test_sweep_in_random_order_and_in_parallel(suite: Suite) -> None:
    """Tests of both isolations alternate; the order and the worker do not matter."""
    pytester = suite("commits", "every_fixture", mode="strict")
    pytester.runpytest_subprocess("-n", "2", "--dist", "worksteal").assert_outcomes(passed=26)


@pytest.mark.since(15)  # by a sweep
def test_queue_again_and_again(suite: Suite) -> None:
    """Eight workers of a queue with notifications, and one that dies, leave nothing behind."""
    pytester = suite("job_queue", mode="auto")
    result = pytester.runpytest_subprocess("--count=10", timeout=240)
    result.assert_outcomes(passed=20)
    result.stdout.no_fnmatch_line("*a new database after*")


@pytest.mark.parametrize(
    "order", [("rollback", "commit", "database"), ("commit", "rollback", "database", "rollback")]
)
def test_isolations_alternate(suite: Suite, order: tuple[str, ...]) -> None:
    """Whatever came before, a test's connections are those of its own isolation."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        f"""
        import pytest
        from models import Item

        ORDER = {order} * 3

        @pytest.mark.parametrize("time, kind", [
            pytest.param(time, kind, marks=pytest.mark.db(isolation=kind))
            for time, kind in enumerate(ORDER)
        ])
        async def test_in_turn(db, db_engine, time, kind):
            db.add(item := Item(name="a"))
            await db.flush()
            assert item.id == 1
            await db.commit()
            async with db_engine.connect() as other:
                raw = await other.get_raw_connection()
                real = type(raw.driver_connection).__name__ == "RealConnection"
            assert real is (kind != "rollback")
        """
    )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=3 * len(order))


def test_isolations_take_turns(suite: Suite) -> None:
    """What a fixture has begun under one is over when a test begins under another."""
    pytester = suite("one_after_another", mode="auto")
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=10)


def test_two_loops_that_wait(suite: Suite) -> None:
    """A session is closed on the loop that has its connection; what it did is swept."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import func, select

        COUNT = select(func.count(Item.id))

        async def test_on_the_loop_of_the_session(db):
            assert await db.scalar(COUNT) == 0

        @pytest.mark.asyncio(loop_scope="class")
        class TestOnAnother:
            async def test_commits(self, db):
                db.add(Item(name="a"))
                await db.commit()
                assert await db.scalar(COUNT) == 1

        @pytest.mark.db(isolation="rollback")
        async def test_after(db):
            assert await db.scalar(COUNT) == 0
        """
    )
    result = pytester.runpytest("-p", "no:randomly", "--db-isolation=commit")
    result.assert_outcomes(passed=3)


def test_failing_to_close_leaves_nothing_behind(suite: Suite) -> None:
    """What the application's own session raises as it is closed fails its test, and no other."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import func, select
        from sqlalchemy.ext.asyncio import AsyncSession

        class Stubborn(AsyncSession):
            async def close(self):
                raise RuntimeError("not now")

        @pytest.fixture(scope="session")
        def db_session_options():
            return {"class_": Stubborn}

        async def test_commits(db):
            db.add(Item(name="a"))
            await db.commit()

        async def test_after(db_connection):
            assert await db_connection.scalar(select(func.count(Item.id))) == 0
        """
    )
    result = pytester.runpytest("-p", "no:randomly", "--db-isolation=commit")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*RuntimeError: not now*"])


@pytest.mark.since(15)  # by a sweep
def test_name_of_a_setting_lives_as_long_as_its_session(suite: Suite) -> None:
    """The server gives no way to forget it: null is what a session of a test's own sees."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from sqlalchemy import text

        SEEN = {"commit": [], "database": []}

        @pytest.mark.parametrize("time", [1, 2])
        @pytest.mark.parametrize("isolation", [
            pytest.param(name, marks=pytest.mark.db(isolation=name)) for name in SEEN
        ])
        async def test_tenant(db, isolation, time):
            SEEN[isolation].append(
                await db.scalar(text("SELECT current_setting('app.tenant', true)"))
            )
            await db.execute(text("SET LOCAL app.tenant = '7'"))

        def test_seen():
            assert SEEN == {"commit": [None, ""], "database": [None, None]}
        """
    )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=5)


def test_test_that_could_not_begin_begins_again(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rerun is isolated as the first attempt was to be, and undone."""
    told = [ServerError("no connection is to be had")]
    begin = _worker.Worker.begin

    def may_fail(worker: _worker.Worker, test: str, kind: IsolationName) -> None:
        if kind == "commit" and told:
            raise told.pop()
        begin(worker, test, kind)

    monkeypatch.setattr(_worker.Worker, "begin", may_fail)
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import func, select, text

        async def test_before(db):
            await db.execute(text("SELECT 1"))

        @pytest.mark.db(isolation="commit")
        async def test_commits(db):
            await db.execute(text("LISTEN something"))  # which no sandbox does
            db.add(Item(name="a"))
            await db.commit()

        async def test_after(db):
            assert (await db.execute(select(func.count()).select_from(Item))).scalar_one() == 0
        """
    )
    result = pytester.runpytest("-p", "no:randomly", "--reruns", "1")
    assert result.parseoutcomes()["rerun"] == 1
    assert result.parseoutcomes()["passed"] == 3
    assert not told
