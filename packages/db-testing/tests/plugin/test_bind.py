"""`db_bind`: the application's own engines and sessionmakers lead to the tests' database."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from db_testing import Schema
from db_testing._isolation import _synchronous
from db_testing._plugin._bind import Bindings, Target
from db_testing.errors import SetupError

from .conftest import SUITES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from db_testing._isolation._isolation import Isolation

    from .conftest import Suite

OBJECTS = (
    "engine",
    "session_factory",
    "scoped",
    "unbound",
    "always_autocommit",
    "get_engine",
    "make_engine",
)
INI = "db_bind =\n" + "\n".join(f"    database:{name}" for name in OBJECTS)


@pytest.fixture(params=["host that answers"])
def production(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Name the application's real server, to which nobody may connect."""
    if request.param == "unknown host":
        monkeypatch.setenv("PRODUCTION", "postgresql+asyncpg://production.invalid/production")
        yield
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("PRODUCTION", f"postgresql+asyncpg://127.0.0.1:{port}/production")
        yield
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture
def application(suite: Suite, production: None) -> Callable[..., pytest.Pytester]:
    """Write a suite that tests an application with a module `database`."""

    def write(*names: str, more: str = INI) -> pytest.Pytester:
        pytester = suite(*names, mode="auto", more=more)
        pytester.makepyfile(database=(SUITES / "database.py").read_text())
        return pytester

    return write


@pytest.mark.parametrize("production", ["unknown host", "host that answers"], indirect=True)
@pytest.mark.parametrize("isolation", ["rollback", "commit"])
def test_objects_lead_to_the_tests_database(
    application: Callable[..., pytest.Pytester],
    databases_of: Callable[[], list[str]],
    isolation: str,
) -> None:
    """Objects of every kind, imported before, are isolated as the fixtures are."""
    result = application("bind").runpytest_subprocess(f"--db-isolation={isolation}")
    result.assert_outcomes(passed=22)
    assert databases_of() == []


@pytest.mark.parametrize("isolation", ["rollback", "commit"])
def test_synchronous_objects_lead_to_the_tests_database(
    application: Callable[..., pytest.Pytester],
    databases_of: Callable[[], list[str]],
    isolation: str,
) -> None:
    """So do those of synchronous code."""
    names = ("engine", "session_factory", "scoped", "unbound", "own_json", "make_engine")
    more = "db_bind =\n" + "\n".join(f"    database_sync:{name}" for name in names)
    pytester = application("bind_sync", more=more)
    pytester.makepyfile(database_sync=(SUITES / "database_sync.py").read_text())
    result = pytester.runpytest_subprocess(f"--db-isolation={isolation}")
    result.assert_outcomes(passed=16)
    assert databases_of() == []


def test_first_use_by_several_threads(
    application: Callable[..., pytest.Pytester], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They get connections of one sandbox, and so see each other's rows."""
    both = threading.Barrier(2)
    make = _synchronous.Synchronous.__init__

    def make_slowly(*arguments: object, **options: object) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1)  # for the other thread, which must not come as far
        make(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(_synchronous.Synchronous, "__init__", make_slowly)
    pytester = application(more="db_bind = database_sync:engine")
    pytester.makepyfile(
        database_sync=(SUITES / "database_sync.py").read_text(),
        test_threads="""
        from concurrent.futures import ThreadPoolExecutor
        from database_sync import engine
        from models import Item
        from sqlalchemy import func, insert, select

        def write(name):
            with engine.begin() as connection:
                connection.execute(insert(Item).values(name=name))

        def test_both_are_seen():
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(write, ["a", "b"]))
            with engine.connect() as connection:
                assert connection.scalar(select(func.count()).select_from(Item)) == 2
        """,
    )
    pytester.runpytest().assert_outcomes(passed=1)


@pytest.mark.parametrize("ending", ["pass", "raise KeyboardInterrupt"])
def test_objects_are_given_back(application: Callable[..., pytest.Pytester], ending: str) -> None:
    """After the run, however it ended, engines and sessionmakers are what they were."""
    pytester = application()
    pytester.makeconftest(
        (SUITES / "app_conftest.py").read_text()
        + """
import database
from sqlalchemy import create_engine, event
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import create_async_engine

@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    made = database.make_engine()
    print("pool", database.engine.pool is database.ORIGINAL_POOL)
    print("url", database.engine.url.database, type(database.engine.sync_engine).__module__)
    print("unbound", database.unbound.kw["bind"], "configure" in vars(database.unbound))
    print("copy", database.autocommit.pool is database.ORIGINAL_POOL, made.url.database)
    print("hook", "engine_created" in vars(PGDialect_asyncpg))
"""
    )
    pytester.makepyfile(
        f"""
        from database import COUNT, engine, make_engine, unbound
        from sqlalchemy.ext.asyncio import create_async_engine

        async def test_bound():
            unbound.configure(bind=make_engine())
            async with unbound() as session, engine.connect() as connection:
                await session.execute(COUNT)
                await connection.execute(COUNT)
            {ending}
        """
    )
    result = pytester.runpytest_subprocess("-s")
    result.stdout.fnmatch_lines(
        [
            "pool True",
            "url production sqlalchemy.engine.base",
            "unbound None False",
            "copy True production",
            "hook False",
        ]
    )


def test_plain_unit_tests_make_no_database(application: Callable[..., pytest.Pytester]) -> None:
    """Where no test connects, no server is asked for anything: not even one that is not there."""
    pytester = application()
    pytester.makepyfile(
        """
        from database import engine, session_factory

        def test_plain():
            assert session_factory.kw["bind"] is engine

        async def test_session_that_is_not_used():
            async with session_factory():
                pass
        """
    )
    result = pytester.runpytest("--db-server=postgresql://127.0.0.1:1/x")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("db-testing: * database test*")


def test_server_that_is_not_there_is_said_once(application: Callable[..., pytest.Pytester]) -> None:
    """What keeps the database from being made ends the run, though the application met it."""
    pytester = application("bind")
    result = pytester.runpytest("--db-server=postgresql://127.0.0.1:1/x")
    assert result.stdout.str().count("cannot connect to postgresql://127.0.0.1:1/x") == 1
    outcomes = result.parseoutcomes()
    # Of a test, or of its fixture: whichever comes first.
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) == 1


def test_bound_engines_outside_of_tests(application: Callable[..., pytest.Pytester]) -> None:
    """In a session fixture an engine reads the tests' database, and is refused what would go."""
    pytester = application()
    pytester.makepyfile(
        """
        import pytest
        from database import COUNT, get_engine
        from sqlalchemy import text

        engine = get_engine()

        @pytest.fixture(scope="session", autouse=True)
        async def reads():
            async with engine.connect() as connection:
                assert (await connection.execute(COUNT)).scalar_one() == 0

        @pytest.fixture(scope="session")
        async def writes():
            async with engine.begin() as connection:
                await connection.execute(text("INSERT INTO item (name) VALUES ('a')"))

        async def test_reads():
            pass

        async def test_writes(writes):
            pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*SandboxRefusedError*ran while no test was running*"])


def test_unlisted_engine_of_the_same_database_is_refused(
    application: Callable[..., pytest.Pytester],
) -> None:
    """An engine made before the run, and not listed, does not reach the application's database."""
    pytester = application(more="db_bind = database:make_engine")
    pytester.makepyfile(
        """
        from database import engine

        async def test_unlisted():
            async with engine.connect():
                pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*an engine that is not listed in db_bind was about to connect to 'production' on *"]
    )


@pytest.mark.parametrize("override", ["fixture with names", "fixture with objects"])
def test_applications_of_one_run_have_their_own_objects(
    suite: Suite, databases_of: Callable[[], list[str]], override: str
) -> None:
    """Each conftest binds its application's objects to its own database."""
    pytester = suite(conftest=None, mode="auto", more="addopts = --import-mode=importlib")
    for name in ("one", "two"):
        pytester.makepyfile(
            **{
                f"app_{name}": f"""
                from sqlalchemy.ext.asyncio import create_async_engine

                engine = create_async_engine("postgresql+asyncpg://production.invalid/{name}")
                """
            }
        )
        bound = '"app_{}:engine"' if override == "fixture with names" else "app_{}.engine"
        folder = pytester.mkdir(name)
        (folder / "conftest.py").write_text(APPLICATION.format(name=name, bound=bound.format(name)))
        (folder / "test_app.py").write_text(
            f"""
from app_{name} import engine
from sqlalchemy import inspect, text

async def test_tables():
    async with engine.begin() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        assert tables == ["{name}"]
        insert = text("INSERT INTO {name} VALUES (default) RETURNING id")
        assert (await connection.execute(insert)).scalar_one() == 1

test_tables_again = test_tables
"""
        )
    pytester.runpytest().assert_outcomes(passed=4)
    assert databases_of() == []


APPLICATION = """
import app_{name}
import pytest
from sqlalchemy import Column, Integer, MetaData, Table
from db_testing import Schema

METADATA = MetaData()
Table("{name}", METADATA, Column("id", Integer, primary_key=True))

@pytest.fixture(scope="session")
def db_schema():
    return Schema.from_metadata(METADATA)

@pytest.fixture(scope="session")
def db_bind():
    return [{bound}]
"""


def test_binding_of_a_module_without_a_schema(application: Callable[..., pytest.Pytester]) -> None:
    """A fixture `db_bind` may stand in a test module, beside the conftest's schema."""
    pytester = application(more="")
    pytester.makepyfile(
        """
        import pytest
        from database import COUNT, session_factory

        @pytest.fixture(scope="session")
        def db_bind():
            return ["database:session_factory"]

        async def test_bound(db):
            async with session_factory() as session:
                assert (await session.execute(COUNT)).scalar_one() == 0
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_object_of_two_schemas_is_refused(application: Callable[..., pytest.Pytester]) -> None:
    """One object leads to one database in a run; the error says what to define, which works."""
    pytester = application()
    module = """
        import pytest
        from sqlalchemy import MetaData
        from db_testing import Schema

        @pytest.fixture(scope="session")
        def db_schema():
            return Schema.from_metadata(MetaData())

        async def test_other_schema():
            pass
        """
    pytester.makepyfile(test_1="async def test_schema(): pass", test_2=module)
    result = pytester.runpytest("-p", "no:randomly")
    assert result.parseoutcomes() == {"passed": 1, "errors": 1}
    result.stdout.fnmatch_lines(["*database:engine leads to the database of * already*"])

    pytester.makepyfile(
        test_2=module
        + """
        @pytest.fixture(scope="session")
        def db_bind():
            return []
        """
    )
    pytester.runpytest("-p", "no:randomly").assert_outcomes(passed=2)


def test_schema_that_is_made_anew(application: Callable[..., pytest.Pytester]) -> None:
    """Who ends session fixtures in the midst of a run, as a rerun does, finds objects led alike."""
    pytester = application()
    pytester.makepyfile(
        """
        import pytest
        from database import COUNT, session_factory

        async def test_bound(db, request):
            async with session_factory() as session:
                assert (await session.execute(COUNT)).scalar_one() == 0
            if not hasattr(pytest, "ended"):
                pytest.ended = True
                pytest.fail("once")
        """
    )
    pytester.makepyfile(
        reruns="""
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            runtestprotocol(item, nextitem=None, log=False)  # ends what the session has
            item._initrequest()
            return None
        """
    )
    pytester.runpytest("-p", "reruns").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("nowhere:engine", "No module named 'nowhere'"),
        ("database:URL", "It must be an AsyncEngine or Engine, an async_sessionmaker"),
    ],
)
def test_entry_that_cannot_be_bound_is_said_once(
    application: Callable[..., pytest.Pytester], entry: str, why: str
) -> None:
    """A wrong entry ends the run with one error."""
    result = application("bind", more=f"db_bind = {entry}").runpytest()
    text = result.stdout.str()
    assert (text.count(why), text.count(entry)) == (1, 1), text
    assert result.parseoutcomes() == {"errors": 1}


def test_fixture_that_returns_no_list_is_explained(
    application: Callable[..., pytest.Pytester],
) -> None:
    """A name alone is not taken for a list of letters."""
    pytester = application(more="")
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def db_bind():
            return "database:engine"

        async def test_nothing():
            pass
        """
    )
    result = pytester.runpytest()
    result.stdout.fnmatch_lines(["*the fixture db_bind returned 'database:engine'. Return a l*"])


async def dependency() -> AsyncIterator[AsyncSession]:
    """Yield a session, as a dependency of FastAPI does."""
    yield AsyncSession()


def settings_are_missing() -> AsyncEngine:
    """Fail as a factory does that reads settings."""
    raise KeyError("DATABASE_URL")


class OtherDriver(PGDialect_asyncpg):
    """An asynchronous driver that db-testing does not know."""

    driver = "other"


class SynchronousDriver(PGDialect):
    """A synchronous driver."""

    driver = "synchronous"

    @classmethod
    def import_dbapi(cls) -> SimpleNamespace:  # type: ignore[override]
        """Stand for the driver's module."""
        return SimpleNamespace(paramstyle="pyformat")


registry.register("postgresql.other", __name__, "OtherDriver")
registry.register("postgresql.synchronous", __name__, "SynchronousDriver")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: "no:such.attribute", "cannot be imported: ModuleNotFoundError"),
        (lambda: 1, "db_bind: 1 is 1. It must be an AsyncEngine or Engine, an async_sessionmaker"),
        (lambda: dependency, "is asynchronous. It must be an AsyncEngine"),
        (
            lambda: settings_are_missing,
            "raised KeyError: 'DATABASE_URL'. It is called without arguments, and must return an",
        ),
        (
            lambda: AsyncSession,
            "AsyncSession'> is <sqlalchemy.ext.asyncio.session.AsyncSession",
        ),
        (lambda: async_sessionmaker(cast("Any", "x")), "is bound to 'x', which is no engine"),
        (lambda: create_engine("sqlite://"), "sqlite+pysqlite, and db-testing tests on PostgreSQL"),
        (
            lambda: create_engine("postgresql+synchronous://"),
            "for postgresql+synchronous. Of synchronous drivers db-testing knows psycopg",
        ),
        (
            lambda: scoped_session(sessionmaker(create_engine("postgresql+synchronous://"))),
            "+synchronous. Of synchronous drivers db-testing knows psycopg",
        ),
        (
            lambda: create_async_engine("postgresql+other://"),
            "is an engine for postgresql+other. Of asynchronous drivers db-testing knows asyncpg",
        ),
    ],
)
def test_object_that_cannot_be_bound(make: Callable[[], object], why: str) -> None:
    """The error says what the object is, and what can be bound."""
    bindings = Bindings()
    try:
        with pytest.raises(SetupError) as caught:
            bindings.bind(make(), Target(never, Schema.from_metadata()))
    finally:
        bindings.close()
    assert why in str(caught.value)


def never() -> Isolation:
    """Make no database."""
    raise AssertionError


def test_schema_that_is_built_through_a_bound_engine(
    application: Callable[..., pytest.Pytester],
) -> None:
    """An `apply()` that connects by the application's engine is told to use the URL it is given."""
    pytester = application()
    pytester.makeconftest(
        """
        import asyncio
        import pytest
        from database import engine
        from models import Base

        class Schema:
            def fingerprint(self):
                return repr(self)

            def apply(self, url):
                asyncio.run(self.create())

            async def create(self):
                async with engine.begin() as connection:
                    await connection.run_sync(Base.metadata.create_all)

        @pytest.fixture(scope="session")
        def db_schema():
            return Schema()
        """
    )
    pytester.makepyfile(
        """
        from database import COUNT, engine

        async def test_connects():
            async with engine.connect():
                pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*apply() connected by an engine that db_bind leads to*the URL *"])


def test_schema_that_needs_a_loop_of_its_own(application: Callable[..., pytest.Pytester]) -> None:
    """An `apply()` may call asyncio.run(), though the application connects on a running loop."""
    pytester = application()
    pytester.makeconftest(
        """
        import asyncio
        import pytest
        from models import Base
        from sqlalchemy.ext.asyncio import create_async_engine

        class Schema:
            def fingerprint(self):
                return repr(self)

            def apply(self, url):
                asyncio.run(self.create(create_async_engine(url)))

            async def create(self, engine):
                async with engine.begin() as connection:
                    await connection.run_sync(Base.metadata.create_all)
                await engine.dispose()

        @pytest.fixture(scope="session")
        def db_schema():
            return Schema()
        """
    )
    pytester.makepyfile(
        """
        from database import COUNT, engine

        async def test_connects():
            async with engine.connect() as connection:
                assert (await connection.execute(COUNT)).scalar_one() == 0
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_nothing_is_bound_where_there_is_no_bind(pytester: pytest.Pytester) -> None:
    """A test without a bind does not set up what binds, but may still ask what is bound."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = session")
    pytester.makepyfile("""
        def test_of_no_application(request):
            assert not {"_db_bound", "db_bind"} & set(request.fixturenames)

        def test_that_asks(request, db_bind):
            assert not db_bind
            assert "_db_bound" not in request.fixturenames
    """)
    pytester.runpytest().assert_outcomes(passed=2)


@pytest.mark.parametrize("isolation", ["rollback", "commit"])
def test_limit_of_the_applications_pool(suite: Suite, isolation: str) -> None:
    """It is ignored, so that nobody waits for what a test has lost; another engine has its own."""
    pytester = suite(mode="auto", more="db_bind = database:engine")
    pytester.makepyfile(
        database="""
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(
            "postgresql+asyncpg://production.invalid/shop",
            pool_size=1, max_overflow=0, pool_timeout=3600,
        )
        """,
        test_limit="""
        import pytest
        from database import engine
        from sqlalchemy import text
        from sqlalchemy.exc import TimeoutError
        from sqlalchemy.ext.asyncio import create_async_engine

        async def test_ignored():
            async with engine.connect() as one, engine.connect() as two:
                assert await one.scalar(text("SELECT 1")) == 1
                assert await two.scalar(text("SELECT 1")) == 1
                # As an application says how it is.
                assert engine.pool.size() + engine.pool.overflow() == engine.pool.checkedout() == 2

        @pytest.mark.db(isolation="commit")
        async def test_exhausted(test_database_url):
            own = create_async_engine(
                test_database_url, pool_size=1, max_overflow=0, pool_timeout=0.1
            )
            async with own.connect():
                with pytest.raises(TimeoutError):
                    await own.connect()
            await own.dispose()
        """,
    )
    pytester.runpytest(f"--db-isolation={isolation}").assert_outcomes(passed=2)


def test_thread_whose_session_cannot_be_ended() -> None:
    """What closing it raises is listed; the thread has a new session in the next test."""

    class Stubborn(Session):
        def close(self) -> None:
            raise LookupError("not now")

    engine = create_engine("postgresql+psycopg://")
    sessions = scoped_session(sessionmaker(engine, class_=Stubborn))
    bindings = Bindings()
    try:
        bindings.bind(sessions, Target(never, Schema.from_metadata()))
        sessions()
        said = bindings.end_sessions()
        assert said == ["a scoped session: closing it raised LookupError: not now"]
        assert not sessions.registry.has()
    finally:
        bindings.close()


def test_task_that_a_test_without_the_database_leaves(
    application: Callable[..., pytest.Pytester],
) -> None:
    """The test is on the session's loop since objects are bound: what it left ends with it."""
    pytester = application()
    pytester.makepyfile(
        """
        import asyncio

        async def for_ever():
            await asyncio.Event().wait()

        async def test_leaves():
            leaves.task = asyncio.create_task(for_ever())

        async def test_next():
            assert leaves.task.done()

        class leaves:
            task = None
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_leaves: task * (for_ever) was still running at *"])


def test_task_on_a_loop_that_was_chosen(application: Callable[..., pytest.Pytester]) -> None:
    """Tests that share a loop of their module may share a task, and leave no leak."""
    pytester = application()
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        pytestmark = pytest.mark.asyncio(loop_scope="module")

        async def for_ever():
            await asyncio.Event().wait()

        async def test_begins():
            shared.task = asyncio.create_task(for_ever())

        async def test_goes_on():
            assert not shared.task.done()
            shared.task.cancel()

        class shared:
            task = None
        """
    )
    result = pytester.runpytest("-p", "no:randomly")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*still running*")
