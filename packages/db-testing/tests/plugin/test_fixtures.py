"""The fixtures, as tests of an application use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db_testing._server import _server

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Suite


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_each_fixture_starts_from_the_template(suite: Suite, mode: str) -> None:
    """Rows and ids of one test are gone in the next, whichever fixture made them."""
    result = suite("every_fixture", mode=mode).runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=11)


def test_database_is_gone_after_the_run(
    suite: Suite, databases_of: Callable[[], list[str]]
) -> None:
    """A run leaves no database of its own."""
    suite("every_fixture").runpytest().assert_outcomes(passed=11)
    assert databases_of() == []


def test_header_names_server_version_and_isolation(suite: Suite) -> None:
    """The header says what the tests run on."""
    result = suite("every_fixture").runpytest("--db-server=embedded")
    result.stdout.re_match_lines(
        [r"db-testing: PostgreSQL 18\.\d+ \(embedded\), rollback isolation"]
    )


def test_summary_counts_database_tests_and_their_cost(suite: Suite) -> None:
    """The summary says how many tests used the database and what undoing them took."""
    result = suite("every_fixture").runpytest()
    result.stdout.re_match_lines(
        [r"db-testing: 11 database tests, \d+\.\d\d s in isolation, \d+\.\d\d ms per test"]
    )


def test_summary_counts_tests_that_connect_by_themselves(suite: Suite) -> None:
    """A test that has only the URL is swept like another, and counted."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        from urllib.parse import urlsplit

        import asyncpg
        import pytest
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import create_async_engine

        @pytest.mark.parametrize("time", [1, 2])
        @pytest.mark.db(isolation="commit")
        async def test_connects(test_database_url, time):
            connection = await asyncpg.connect(test_database_url.replace("+asyncpg", ""))
            assert await connection.fetchval("SELECT count(*) FROM item") == 0
            await connection.execute("INSERT INTO item (name) VALUES ('x')")
            await connection.close()

        @pytest.mark.db(isolation="commit")
        async def test_takes_it_with_a_host(test_database_url):
            assert urlsplit(test_database_url).hostname  # pydantic's PostgresDsn wants one
            engine = create_async_engine(test_database_url)
            async with engine.connect() as connection:
                assert (await connection.execute(text("SELECT count(*) FROM item"))).scalar() == 0
            await engine.dispose()
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=3)
    result.stdout.re_match_lines([r"db-testing: 3 database tests, .*"])


@pytest.mark.usefixtures("afresh")
def test_run_without_database_tests_starts_nothing(pytester: pytest.Pytester) -> None:
    """A suite that never asks for the database neither prints a figure nor imports the driver."""
    pytester.makepyfile(
        """
        import sys

        def test_plain():
            assert "asyncpg" not in sys.modules
            assert "sqlalchemy" not in sys.modules
        """
    )
    result = pytester.runpytest_subprocess("-W", "ignore")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*database test*")


def test_connections_and_plans_outlive_tests(suite: Suite) -> None:
    """A test finds the connection of the one before, and with it all that was prepared."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import select, text

        STATEMENTS = text("SELECT array_agg(name || prepare_time) FROM pg_prepared_statements")
        seen = []

        @pytest.mark.parametrize("time", [1, 2, 3, 4])
        async def test_again(db, db_engine, time):
            db.add(Item(name="a"))
            await db.commit()
            await db.execute(select(Item))
            connection = (await (await db.connection()).get_raw_connection()).driver_connection
            prepared = (await db.execute(STATEMENTS)).scalar_one()
            seen.append((db_engine.pool, connection, prepared))
            assert len(seen) < 3 or seen[-1] == seen[-2]
        """
    )
    pytester.runpytest().assert_outcomes(passed=4)


def test_session_options_from_the_ini_key(suite: Suite) -> None:
    """Sessions get the options that the ini key names in the application's code."""
    pytester = suite(mode="auto", more="db_session_options = options:OPTIONS")
    pytester.makepyfile(
        options="OPTIONS = {'expire_on_commit': False, 'info': {'from': 'ini'}}",
        test_options="""
        async def test_options(db, db_sessionmaker):
            assert db.info == {"from": "ini"}
            assert db_sessionmaker.kw["expire_on_commit"] is False
        """,
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_session_options_of_the_applications_own_sessionmaker(suite: Suite) -> None:
    """The ini key may name the application's sessionmaker; its engine is not taken over."""
    pytester = suite(mode="auto", more="db_session_options = options:make_session")
    pytester.makepyfile(
        options="""
        from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
        from sqlalchemy.orm import Session, sessionmaker

        engine = create_async_engine("postgresql+asyncpg://production.invalid/x")

        class Own(AsyncSession):
            pass

        make_session = async_sessionmaker(engine, class_=Own, expire_on_commit=False)

        class OwnSync(Session):
            pass

        make_sync_session = sessionmaker(class_=OwnSync, expire_on_commit=False)
        """,
        test_options="""
        from sqlalchemy import text

        from options import Own

        async def test_options(db, db_engine, db_sessionmaker):
            assert db_sessionmaker.kw["expire_on_commit"] is False
            assert isinstance(db, Own)
            assert db.bind is db_engine
            assert (await db.execute(text("SELECT 1"))).scalar_one() == 1
        """,
    )
    pytester.runpytest().assert_outcomes(passed=1)
    pytester.makepyfile(
        test_options="""
        from options import OwnSync

        def test_options(db_sync, db_sync_engine):
            assert isinstance(db_sync, OwnSync)
            assert db_sync.bind is db_sync_engine
        """
    )
    option = "--override-ini=db_session_options=options:make_sync_session"
    pytester.runpytest(option).assert_outcomes(passed=1)


@pytest.mark.parametrize("made", ["async_scoped_session(maker, scopefunc=id)", "maker", "maker.kw"])
def test_session_options_of_what_a_function_returns(suite: Suite, made: str) -> None:
    """As db_bind takes one that makes an engine; sessions of a scope have a sessionmaker too."""
    pytester = suite(mode="auto", more="db_session_options = options:get_sessions")
    pytester.makepyfile(
        options=f"""
        from functools import lru_cache

        from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker

        @lru_cache
        def get_sessions():
            maker = async_sessionmaker(expire_on_commit=False)
            return {made}
        """,
        test_options="""
        async def test_options(db_sessionmaker):
            assert db_sessionmaker.kw["expire_on_commit"] is False
        """,
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_session_options_from_an_overridden_fixture(suite: Suite) -> None:
    """A conftest may return the options itself."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        test_options="""
        import pytest

        @pytest.fixture(scope="session")
        def db_session_options():
            return {"expire_on_commit": False}

        async def test_options(db_sessionmaker):
            assert db_sessionmaker.kw["expire_on_commit"] is False
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_schema_from_the_ini_key(suite: Suite) -> None:
    """The ini key names a schema, and no conftest is needed."""
    pytester = suite("every_fixture", conftest=None, more="db_schema = app_schema:SCHEMA")
    pytester.makepyfile(
        app_schema="""
        from models import Base
        from db_testing import Schema

        SCHEMA = Schema.from_metadata(Base.metadata)
        """
    )
    pytester.runpytest().assert_outcomes(passed=11)


@pytest.mark.parametrize("fixture", ["db", "db_connection", "db_asyncpg"])
def test_asynchronous_fixture_in_a_plain_function_is_refused(suite: Suite, fixture: str) -> None:
    """A plain function cannot await, and is told what to do instead."""
    pytester = suite()
    pytester.makepyfile(f"def test_plain({fixture}): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    why = f"test_plain is a plain function and asked for the fixture '{fixture}'"
    result.stdout.fnmatch_lines([f"E*FixtureError: {why}*Make it `async def`*`db_sync`*"])


def test_fixture_asked_for_while_the_test_runs(suite: Suite) -> None:
    """`getfixturevalue` in a test gives a session that is undone like any other."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item

        @pytest.mark.parametrize("time", [1, 2])
        async def test_dynamic(request, time):
            db = request.getfixturevalue("db")
            item = Item(name="a")
            db.add(item)
            await db.flush()
            assert item.id == 1
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_write_by_a_session_fixture_is_refused(suite: Suite) -> None:
    """Rows that a wider fixture writes would vanish with the first test; it may read."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import select

        @pytest.fixture(scope="session")
        async def reads(db_sessionmaker):
            async with db_sessionmaker() as session:
                return list(await session.execute(select(Item)))

        @pytest.fixture(scope="session")
        async def writes(db_sessionmaker):
            async with db_sessionmaker.begin() as session:
                session.add(Item(name="a"))

        async def test_reads(reads, db):
            assert reads == []

        async def test_writes(writes, db):
            pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*SandboxRefusedError*ran while no test was running*"])


@pytest.mark.parametrize("isolation", ["commit", "database"])
def test_write_by_a_wider_fixture_is_refused_after_any_test(suite: Suite, isolation: str) -> None:
    """What a fixture between two tests may do does not depend on how the test before was undone."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import select, text

        @pytest.fixture(scope="class")
        async def writes(db_sessionmaker):
            async with db_sessionmaker.begin() as session:
                session.add(Item(name="a"))

        @pytest.fixture(scope="class")
        async def reads(db_sessionmaker):
            async with db_sessionmaker.begin() as session:
                assert list(await session.scalars(select(Item))) == []

        @pytest.fixture(scope="class")
        async def writes_at_once(db_engine):
            async with db_engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(text("INSERT INTO item (name) VALUES ('a')"))

        @pytest.fixture(scope="class")
        def held(db_sync_engine):
            with db_sync_engine.connect() as connection:
                yield connection

        @pytest.fixture(scope="class")
        def writes_sync(db_sync_engine):
            with db_sync_engine.begin() as connection:
                connection.execute(text("INSERT INTO item (name) VALUES ('a')"))

        @pytest.fixture(scope="class")
        async def clears(db_sessionmaker):
            yield
            async with db_sessionmaker.begin() as session:
                session.add(Item(name="a"))

        async def test_before(db, db_sync_engine):
            db.add(Item(name="a"))
            await db.commit()

        @pytest.mark.usefixtures("writes")
        class TestAsync:
            async def test_async(self, db):
                pass

        async def test_between(db_sync):
            db_sync.add(Item(name="a"))
            db_sync.commit()

        @pytest.mark.usefixtures("writes_at_once")
        class TestAtOnce:
            async def test_at_once(self, db):
                pass

        class TestHeld:
            @pytest.mark.parametrize("time", [1, 2])
            def test_held(self, db_sync, held, time):
                assert list(db_sync.scalars(select(Item))) == []
                assert list(held.execute(select(Item))) == []
                held.rollback()

        @pytest.mark.usefixtures("writes_sync")
        class TestSync:
            def test_sync(self, db_sync):
                pass

        @pytest.mark.usefixtures("reads")
        class TestReads:
            async def test_reads(self, db):
                assert list(await db.scalars(select(Item))) == []

        @pytest.mark.usefixtures("clears")
        class TestEnd:
            async def test_end(self, db):
                db.add(Item(name="a"))
                await db.commit()

        async def test_nothing_is_there(db):
            assert list(await db.scalars(select(Item))) == []
        """
    )
    result = pytester.runpytest("-p", "no:randomly", f"--db-isolation={isolation}")
    result.assert_outcomes(passed=7, errors=4)
    result.stdout.fnmatch_lines(["*SandboxRefusedError*ran while no test was running*"] * 4)


def test_error_that_the_application_swallowed_fails_the_test(suite: Suite) -> None:
    """A conflict that a library logs and forgets does not pass for success."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        from models import Item

        async def test_swallows(db_sessionmaker):
            first = db_sessionmaker()
            first.add(Item(name="a"))
            await first.flush()
            async with db_sessionmaker.begin() as second:
                second.add(Item(name="b"))
            try:
                await first.rollback()
            except Exception:
                pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_*.py:6*was rolled back at*has written since*"])


def test_error_that_the_application_answered_is_told_with_the_failure(suite: Suite) -> None:
    """A conflict of which the application made an answer is told with what the test made of it."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        from models import Item

        async def answer(db_sessionmaker):
            async with db_sessionmaker() as first:
                first.add(Item(name="a"))
                await first.flush()
                async with db_sessionmaker.begin() as second:
                    second.add(Item(name="b"))
                try:
                    await first.rollback()
                except Exception:
                    return 500

        async def test_answer(db_sessionmaker):
            assert await answer(db_sessionmaker) == 200

        async def test_refusal(db):
            news = True
            try:
                await (await db.connection()).exec_driver_sql("LISTEN news")
            except Exception:
                news = False
            assert news

        def test_next(db_engine):
            assert False
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "*assert 500 == 200",
            "before, it met: *test_*.py:6*was rolled back at*has written since*",
            "before, it met: 'LISTEN news' at*",
        ]
    )
    assert str(result.stdout).count("before, it met") == 2


def test_fixture_that_rolls_back_beneath_what_others_wrote(suite: Suite) -> None:
    """It ends with the test, which undoes both; only who looks afterwards gets the conflict."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item
        from sqlalchemy import select
        from sqlalchemy.ext.asyncio import AsyncSession

        @pytest.fixture
        async def session(db_sessionmaker):
            async with db_sessionmaker() as session:
                yield session

        async def interleave(session, sessionmaker):
            session.add(Item(name="a"))
            await session.flush()
            async with sessionmaker.begin() as other:
                other.add(Item(name="b"))

        async def test_session(session, db_sessionmaker):
            await interleave(session, db_sessionmaker)

        async def test_db(db, db_sessionmaker):
            await interleave(db, db_sessionmaker)

        @pytest.fixture
        async def recipe(db_engine):
            async with db_engine.connect() as connection:
                await connection.begin()
                mode = {"join_transaction_mode": "create_savepoint"}
                async with AsyncSession(connection, **mode) as session:
                    yield session

        async def test_recipe(recipe, db_sessionmaker):
            await interleave(recipe, db_sessionmaker)

        async def test_next(db):
            assert (await db.scalars(select(Item))).all() == []

        @pytest.fixture
        async def who_looks(db_sessionmaker):
            session = db_sessionmaker()
            yield session
            await session.rollback()
            await session.scalars(select(Item))

        async def test_seen(who_looks, db_sessionmaker):
            await interleave(who_looks, db_sessionmaker)
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=5, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_seen*", "*was rolled back at*has written since*"]
    )


def test_failed_test_is_reported_once(suite: Suite) -> None:
    """A test that fails with the sandbox's error is not failed a second time at its end."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        from models import Item

        async def test_fails(db_sessionmaker):
            first = db_sessionmaker()
            first.add(Item(name="a"))
            await first.flush()
            async with db_sessionmaker.begin() as second:
                second.add(Item(name="b"))
            await first.rollback()
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*before, it met*")


@pytest.mark.parametrize("options", [[], ["-n", "2"]])
def test_schema_fixture_that_raises_is_shown_once(suite: Suite, options: list[str]) -> None:
    """Whatever the application's own fixture raises is said once, with its line."""
    pytester = suite("every_fixture", conftest=None)
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def db_schema():
            raise KeyError("no such table")
        """
    )
    result = pytester.runpytest_subprocess(*options)
    text = result.stdout.str()
    assert text.count("the fixture db_schema raised KeyError: 'no such table'") == 1
    assert "conftest.py:5" in text
    assert result.ret != 0


@pytest.mark.parametrize("asks", ["db", "db, db_schema"])
def test_schema_fixture_with_parameters_is_refused(suite: Suite, asks: str) -> None:
    """One engine per definition is all there is, so a second schema would silently be the first."""
    pytester = suite(conftest=None, mode="auto")
    pytester.makeconftest(
        """
        import pytest
        from db_testing import Schema
        from models import Base

        @pytest.fixture(scope="session", params=["one", "two"])
        def db_schema(request):
            return Schema.from_metadata(Base.metadata)
        """
    )
    pytester.makepyfile(f"async def test_any({asks}): pass\n\nasync def test_other(db): pass")
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the fixture db_schema has parameters*"])


def test_session_options_that_are_not_there_are_shown_once(suite: Suite) -> None:
    """A typing error in the ini key ends the run with one message."""
    _shown_once(suite, "models:MISSING", "module 'models' has no attribute 'MISSING'")


@pytest.mark.parametrize(
    ("dotted", "why"),
    [
        ("models:Item", "is <class 'models.Item'>. It must be a sessionmaker, a mapping of"),
        ("os:getcwd", "is '"),
        ("json:loads", "missing 1 required positional argument: 's'. What it needs"),
    ],
)
def test_session_options_that_are_none_are_shown_once(suite: Suite, dotted: str, why: str) -> None:
    """So does something else that the key names."""
    _shown_once(suite, dotted, why)


def _shown_once(suite: Suite, dotted: str, why: str) -> None:
    result = suite("every_fixture", more=f"db_session_options = {dotted}").runpytest()
    assert result.stdout.str().count(why) == 1
    assert result.parseoutcomes()["errors"] == 1


@pytest.mark.parametrize("fixture", ["db_sessionmaker", "db_sync", "test_database_url"])
def test_server_starts_before_its_first_test(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, fixture: str
) -> None:
    """It starts while what the tests need is imported, so that a start takes no longer."""
    begun = starts(monkeypatch)
    pytester = suite()
    pytester.makepyfile(f"def test_it({fixture}): pass")
    pytester.runpytest("--db-server=auto").assert_outcomes(passed=1)
    assert begun == ["auto", "taken"]


@pytest.mark.parametrize(
    ("more", "source", "options"),
    [
        ("", "def test_it(): pass", ()),
        ("db_bind = models:Item", "def test_it(): pass", ()),
        ("", "def test_it(db): pass", ("--collect-only",)),
        ("", "def test_it(db): pass", ("--setup-plan",)),
        ("", "def test_it(db): pass", ("-k", "not test_it")),
        ("", "def test_it(db): pass\nraise OSError", ()),
        ("", "def test_it(db): pass", ("--db-server=postgresql://127.0.0.1:1/x",)),
    ],
)
def test_server_that_no_test_will_ask_for(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, more: str, source: str, options: tuple[str, ...]
) -> None:
    """None is started ahead for tests without the database, nor where no test is run."""
    begun = starts(monkeypatch)
    pytester = suite(more=more)
    pytester.makepyfile(source)
    pytester.runpytest("--db-server=auto", *options)
    assert begun == []


def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which servers are started ahead."""
    begun: list[str] = []

    class Noted(_server.Ahead):
        def __init__(self, server: str, *, keepalive: float = 0) -> None:
            begun.append(server)
            super().__init__(server, keepalive=keepalive)

        def take(self, say: Callable[[str], None]) -> _server.Server:
            begun.append("taken")
            return super().take(say)

    monkeypatch.setattr(_server, "Ahead", Noted)
    return begun


def test_body_goes_on_after_a_subtest(suite: Suite) -> None:
    """A subtest is reported as a call; a conflict after it is still one of the body's."""
    pytester = suite(mode="auto")
    pytester.makepyfile(
        """
        import pytest
        from models import Item

        async def test_conflict(db, db_sessionmaker, request):
            subtest = pytest.CallInfo.from_call(lambda: None, "call")
            request.node.ihook.pytest_runtest_makereport(item=request.node, call=subtest)
            db.add(Item(name="a"))
            await db.flush()
            async with db_sessionmaker.begin() as other:
                other.add(Item(name="b"))
            await db.rollback()
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*SandboxConflictError: *was rolled back at*has written since*"])
