"""Database tests need no event-loop configuration, and may have any."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Suite


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize("fixture_loop_scope", ["fixture-scope", "session"])
def test_nothing_configured(suite: Suite, mode: str, fixture_loop_scope: str) -> None:
    """Tests, their asynchronous fixtures of any scope and the engine share a loop by themselves."""
    pytester = suite("loops_open", mode=mode, fixture_loop_scope=fixture_loop_scope)
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=7)


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize("fixture_loop_scope", ["fixture-scope", "function"])
def test_loop_chosen_by_each_test(suite: Suite, mode: str, fixture_loop_scope: str) -> None:
    """A test may choose the loop of any scope; each loop gets a connection of its own."""
    pytester = suite("loops_chosen", mode=mode, fixture_loop_scope=fixture_loop_scope)
    pytester.runpytest().assert_outcomes(passed=5)


@pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
def test_loop_chosen_for_all(suite: Suite, scope: str) -> None:
    """One scope for all tests and fixtures, by pytest-asyncio's own two keys."""
    pytester = suite(
        "every_fixture",
        fixture_loop_scope=scope,
        more=f"asyncio_default_test_loop_scope = {scope}",
    )
    pytester.runpytest().assert_outcomes(passed=11)


def test_ids_while_others_commit(suite: Suite) -> None:
    """A loop that ends before its test, while others are at work, moves no id of the next test."""
    pytester = suite(
        mode="auto", fixture_loop_scope="class", more="asyncio_default_test_loop_scope = class"
    )
    pytester.makepyfile(
        """
        import asyncio
        import threading
        import asyncpg
        import pytest
        from models import Item
        from sqlalchemy.engine import make_url

        @pytest.fixture(scope="module")
        def others(test_database_url):
            host = make_url(test_database_url).query["host"]
            stop = threading.Event()

            async def commit():
                connection = await asyncpg.connect(user="postgres", host=host, database="postgres")
                while not stop.is_set():
                    await connection.execute("SELECT pg_current_xact_id()")
                await connection.close()

            thread = threading.Thread(target=lambda: asyncio.run(commit()))
            thread.start()
            yield
            stop.set()
            thread.join()

        @pytest.mark.parametrize("time", range(5))
        async def test_id(db, others, time):
            db.add(item := Item(name="a"))
            await db.flush()
            assert item.id == 1
        """
    )
    pytester.runpytest().assert_outcomes(passed=5)


def test_loops_that_do_not_match_are_explained(suite: Suite) -> None:
    """A fixture forced on another loop than its test is named, and no later test suffers."""
    pytester = suite()
    pytester.makepyfile(
        """
        import pytest
        import pytest_asyncio
        from models import Item

        @pytest_asyncio.fixture(loop_scope="module")
        async def item(db):
            db.add(Item(name="a"))
            await db.commit()

        @pytest.mark.asyncio(loop_scope="session")
        async def test_mismatch(item, db):
            db.add(Item(name="b"))
            await db.commit()

        @pytest.mark.asyncio
        async def test_next(db):
            item = Item(name="a")
            db.add(item)
            await db.flush()
            assert item.id == 1
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*SandboxLoopError: *test_mismatch used the database from two*"])


def test_wider_fixture_ends_on_another_loop(suite: Suite) -> None:
    """A module's fixture may use the database as it ends; the next test is on a loop of its own."""
    pytester = suite()
    pytester.makepyfile(
        test_a="""
        import pytest
        import pytest_asyncio
        from sqlalchemy import text

        @pytest_asyncio.fixture(scope="module", loop_scope="module")
        async def engine_of_module(db_engine):
            yield db_engine
            async with db_engine.connect() as connection:
                await connection.execute(text("SELECT * FROM item"))

        @pytest.mark.asyncio(loop_scope="module")
        async def test_first(engine_of_module):
            pass
        """,
        test_b="""
        import pytest
        from sqlalchemy import text

        @pytest.mark.asyncio(loop_scope="function")
        async def test_next(db):
            await db.execute(text("ALTER TABLE item ADD COLUMN more text"))
            await db.commit()
        """,
    )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=2)


UVLOOP = """
import asyncio
import pytest
import pytest_asyncio.plugin
import uvloop
from models import Base
from db_testing import Schema

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(Base.metadata)

@pytest.fixture(autouse=True)
async def on_uvloop(request):
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)

if hasattr(pytest_asyncio.plugin, "PytestAsyncioSpecs"):
    def pytest_asyncio_loop_factories(config, item):
        return {"uvloop": uvloop.new_event_loop}
else:
    @pytest.fixture(scope="session")
    def event_loop_policy():
        return uvloop.EventLoopPolicy()
"""


@pytest.mark.parametrize("chosen", ["loops_chosen", "every_fixture"])
def test_uvloop(suite: Suite, chosen: str) -> None:
    """Loops may be uvloop's, by pytest-asyncio's own hook, whoever chooses their scope."""
    pytester = suite(chosen, conftest=None, mode="auto", fixture_loop_scope="function")
    pytester.makeconftest(UVLOOP)
    passed = {"loops_chosen": 5, "every_fixture": 11}[chosen]
    # Before 1.5 pytest-asyncio left the policy, by which others' loops would be uvloop's too.
    pytester.runpytest_subprocess().assert_outcomes(passed=passed)


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_fixtures_of_the_loops_scope(suite: Suite, scope: str) -> None:
    """An asynchronous fixture as wide as its loop may keep the engine, and read with it."""
    pytester = suite(mode="auto")
    pytester.mkpydir("package")
    (pytester.path / "package" / "test_scope.py").write_text(
        textwrap.dedent(
            f"""
            import pytest
            import pytest_asyncio
            from models import Item
            from sqlalchemy import func, select

            COUNT = select(func.count()).select_from(Item)

            @pytest_asyncio.fixture(scope={scope!r}, loop_scope={scope!r})
            async def sessions(db_sessionmaker):
                async with db_sessionmaker() as session:
                    assert (await session.execute(COUNT)).scalar_one() == 0
                yield db_sessionmaker
                async with db_sessionmaker() as session:
                    assert (await session.execute(COUNT)).scalar_one() == 0

            @pytest_asyncio.fixture(loop_scope={scope!r})
            async def item(sessions, db_connection):
                async with sessions.begin() as session:
                    item = Item(name="fixture")
                    session.add(item)
                    await session.flush()
                    return item.id

            @pytest.mark.asyncio(loop_scope={scope!r})
            class TestClass:
                async def test_first(self, item, db, db_asyncpg):
                    assert item == 1
                    assert (await db.execute(COUNT)).scalar_one() == 1
                    assert await db_asyncpg.fetchval("SELECT count(*) FROM item") == 1

                test_second = test_first
            """
        )
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_cancelled_again_while_its_loop_ends(suite: Suite) -> None:
    """A task that a test has not awaited may cost the connection, which is then no more needed."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from sqlalchemy import text

        async def asks(engine, begun):
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
                begun.set()
                await connection.execute(text("SELECT pg_sleep(60)"))

        async def leaves(engine):
            begun = asyncio.Event()
            task = asyncio.create_task(asks(engine, begun))
            await begun.wait()
            while not task.cancel() or task.cancelling() < 2:
                await asyncio.sleep(0)
            await asyncio.wait([task], timeout=0)

        @pytest.mark.parametrize("time", range(3))
        def test_leaves(db_engine, time):
            with asyncio.Runner() as runner:
                runner.run(leaves(db_engine))
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*the server closed*")
