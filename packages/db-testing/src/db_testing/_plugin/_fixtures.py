"""The fixtures. Each hands out what the worker, the isolation or SQLAlchemy has made.

pytest makes a new `request` for each fixture that asks for one, in each test, also when the value
is there already. Six of them took as long as undoing a test, so those that every database test
needs take it from `REQUESTS` instead.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pytest

from .. import _settings
from ..errors import FixtureError, SchemaError, SetupError
from ..schema import SchemaLike
from . import _loops, _state

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    import asyncpg
    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import (
        AsyncConnection,
        AsyncEngine,
        AsyncSession,
        async_sessionmaker,
    )
    from sqlalchemy.orm import Session

    from ._worker import Application


REQUESTS: Final[list[pytest.FixtureRequest]] = []
"""Those of the fixtures that are being set up, the innermost last."""


@pytest.fixture(scope="session")
def db_schema() -> SchemaLike:
    """Return the application's schema. To be overridden, or named by the ini key `db_schema`."""
    dotted = _state.settings(REQUESTS[-1].config).schema
    if dotted is None:
        raise SchemaError(
            "no schema: a test asked for the database, and nothing says what is in it. Define in "
            "conftest.py\n\n"
            '    @pytest.fixture(scope="session")\n'
            "    def db_schema():\n"
            "        return Schema.from_metadata(Base.metadata)  # or Schema.from_alembic(...)\n\n"
            'or set the ini key db_schema = "package.module:attribute".'
        )
    schema: SchemaLike = _settings.load(dotted, what="the ini key db_schema")
    return schema


@pytest.fixture(scope="session")
def db_session_options() -> Mapping[str, Any]:
    """Return the options of the application's sessions: those of the ini key of the same name."""
    request = REQUESTS[-1]
    dotted = _state.settings(request.config).session_options
    if dotted is None:
        return {}
    try:
        return _options_of(_settings.load(dotted, what="the ini key db_session_options"), dotted)
    except SetupError as error:
        _state.stop(request.session, error)


def _options_of(value: Any, dotted: str) -> Mapping[str, Any]:
    """Return the options of a sessionmaker but for its engine; a mapping of them is one already."""
    from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker
    from sqlalchemy.orm import scoped_session, sessionmaker

    kinds = (Mapping, sessionmaker, async_sessionmaker, scoped_session, async_scoped_session)
    if callable(value) and not isinstance(value, (type, *kinds)):
        value = _settings.load(f"{dotted}()", what="the ini key db_session_options")
    if isinstance(value, scoped_session | async_scoped_session):
        value = value.session_factory
    if isinstance(value, sessionmaker | async_sessionmaker):  # which keeps the class apart
        kind = "class_" if isinstance(value, async_sessionmaker) else "sync_session_class"
        value = {**value.kw, kind: value.class_}
    if not isinstance(value, Mapping):
        raise SetupError(
            f"the ini key db_session_options = {dotted!r} is {value!r}. It must be a sessionmaker, "
            f"a mapping of the options of one, or a function without arguments that returns one of "
            f"these."
        )
    return {name: option for name, option in value.items() if name != "bind"}


@pytest.fixture(scope="session")
def db_bind() -> Sequence[object]:
    """Return the application's own engines and sessionmakers: those of the ini key of this name.

    To be overridden by applications that share a run; it may return the objects themselves.
    """
    return _state.settings(REQUESTS[-1].config).bind


def _schema(request: pytest.FixtureRequest) -> object:
    test = request._pyfuncitem  # noqa: SLF001  # request.node is a collector in wider scopes
    definitions = request._fixturemanager.getfixturedefs("db_schema", test)  # noqa: SLF001
    if definitions and definitions[-1].params:
        raise SchemaError(
            "the fixture db_schema has parameters, and every test would get the database of the "
            "first. Define a db_schema for each schema instead, in the conftest.py, module or "
            "class of its tests."
        )
    try:
        return request.getfixturevalue("db_schema")
    except (SetupError, pytest.FixtureLookupError):
        raise
    except Exception as error:
        # The application's own code, which may raise anything; said once, not by every test.
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise SchemaError(
            f"the fixture db_schema raised {type(error).__name__}: {error} "
            f"({where.filename}:{where.lineno})"
        ) from error


def _checked_schema(request: pytest.FixtureRequest) -> SchemaLike:
    schema = _schema(request)
    if not isinstance(schema, SchemaLike):
        raise SchemaError(
            f"the fixture db_schema returned {schema!r}, which is no schema: it has no "
            f"fingerprint() and apply(). Return Schema.from_metadata(Base.metadata), "
            f"Schema.from_alembic(...) or an object of your own with these two methods."
        )
    return schema


def _db_application() -> Application:
    request = REQUESTS[-1]
    try:
        return _state.application(request.config, _checked_schema(request))
    except SetupError as error:
        _state.stop(request.session, error)


def _db_bound(db_bind: Sequence[object]) -> None:
    """Lead the application's own objects to the tests' database."""
    if not db_bind:
        return
    request = REQUESTS[-1]
    try:
        _state.bind(request.session, db_bind, _checked_schema(request))
    except SetupError as error:
        _state.stop(request.session, error)


def spare_fixtures(item: pytest.Item) -> None:
    """Take from a test what others ask for, and the automatic fixture that binds where none does.

    pytest looks each of them up again in every test, though they have nothing to do.
    """
    fixtures = getattr(item, "_fixtureinfo", None)
    if fixtures is None:
        return
    closure: list[str] = fixtures.names_closure
    spared = {_db_application.__name__}
    if not _loops.is_bound(item):
        spared |= {_db_bound.__name__, _loops.BIND}
    spared.difference_update(fixtures.argnames)
    closure[:] = [name for name in closure if name not in spared]


def test_database_url(_db_application: Application) -> str:  # noqa: PT019  # no test: a fixture
    """Return the URL of this worker's database, for code that connects by itself.

    It is SQLAlchemy's, `postgresql+asyncpg://...`, and pydantic's `PostgresDsn` takes it; asyncpg
    itself and PostgreSQL's programs take it without `+asyncpg`. Open
    connections in each test anew: the database may be another in the next. What such code commits
    is undone under commit and database isolation only.
    """
    from .._server._admin import url_with_host

    url = url_with_host(_db_application.isolation.url)
    return url.render_as_string(hide_password=False)


def db_engine(_db_application: Application) -> AsyncEngine:
    """Return the engine of this worker's database: the same for the whole session."""
    return _db_application.isolation.engine


def db_sessionmaker(
    db_engine: AsyncEngine, db_session_options: Mapping[str, Any]
) -> async_sessionmaker[AsyncSession]:
    """Return a factory of sessions on `db_engine`, with the application's own options."""
    from sqlalchemy.ext.asyncio import async_sessionmaker

    return async_sessionmaker(db_engine, **db_session_options)


def db_layer(
    _db_application: Application,
    db_sessionmaker: async_sessionmaker[AsyncSession],
) -> Callable[[], AbstractAsyncContextManager[AsyncSession]]:
    """Return the context manager of data layers, to be called: `db_layer()` gives a session.

    In a fixture of class, module, package or session scope that yields inside the block
    (`async with db_layer() as session`), what the fixture commits is there for the tests of that
    scope: each of them begins with it, and is undone to it. The session itself is committed and
    closed when the fixture yields; its objects are detached then.

    In a test, as for one example of Hypothesis, the state at the block's beginning is restored at
    its end. Connections that are used inside must be given back inside.

    Raises:
        DataLayerError: under commit isolation, a connection is in use at the beginning or end;
            or the block is a plain `with`, for which there is no synchronous form.
        SandboxConflictError: a transaction begun before the block was rolled back in it.
    """
    return lambda: _db_application.isolation.layers.begin(db_sessionmaker)


def db_sync_engine(_db_application: Application) -> Engine:
    """Return the engine of this worker's database for synchronous code, on psycopg 3."""
    return _db_application.isolation.synchronous().engine


test_database_url.__test__ = False  # type: ignore[attr-defined]  # a fixture, not a test

PER_SCHEMA: Final = {
    function.__name__: function
    for function in (
        _db_application,
        _db_bound,
        test_database_url,
        db_engine,
        db_sessionmaker,
        db_layer,
        db_sync_engine,
    )
}
"""Session fixtures that exist once for each `db_schema`, not once for each session.

pytest caches a session fixture by its definition. Each conftest that defines a `db_schema` gets
definitions of its own, so that two applications in one run never share a database.
"""


@pytest.fixture
def _db_loop(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoop:
    """Return the event loop that the test will run on."""
    return _loops.loop_of_test(request)


@pytest.fixture
def db(
    db_sessionmaker: async_sessionmaker[AsyncSession], _db_application: Application
) -> AsyncSession:
    """Return a session. It is closed after the test, and what it did is undone."""
    _needs_async(REQUESTS[-1])
    session = db_sessionmaker()
    _db_application.isolation.at_end(session.close)
    return session


@pytest.fixture
def db_connection(db_engine: AsyncEngine, _db_application: Application) -> AsyncConnection:
    """Return an open connection. It is closed after the test, and what it did is undone."""
    request = REQUESTS[-1]
    _needs_async(request)
    loop: asyncio.AbstractEventLoop = request.getfixturevalue("_db_loop")

    async def connect() -> AsyncConnection:
        return await db_engine.connect()

    connection = loop.run_until_complete(connect())
    _db_application.isolation.at_end(connection.close)
    return connection


@pytest.fixture
def db_asyncpg(
    db_engine: AsyncEngine, _db_application: Application
) -> asyncpg.Connection[asyncpg.Record]:
    """Return a connection of the driver. It is closed after the test, and what it did is undone."""
    del db_engine  # asked for so that the test counts as a database test
    request = REQUESTS[-1]
    _needs_async(request)
    loop: asyncio.AbstractEventLoop = request.getfixturevalue("_db_loop")
    connection: asyncpg.Connection[asyncpg.Record]
    connection = loop.run_until_complete(_db_application.isolation.connect())
    _db_application.isolation.at_end(connection.close)
    return connection


@pytest.fixture
def db_sync(
    db_sync_engine: Engine, db_session_options: Mapping[str, Any], _db_application: Application
) -> Session:
    """Return a synchronous session. It is closed after the test, and what it did is undone."""
    from sqlalchemy.orm import Session

    options = {
        name: option
        for name, option in db_session_options.items()
        if name not in ("class_", "sync_session_class")
    }
    kind: type[Session] = db_session_options.get("sync_session_class", Session)
    session = kind(db_sync_engine, **options)
    _db_application.isolation.synchronous().at_end(session.close)
    return session


def _needs_async(request: pytest.FixtureRequest) -> None:
    """Refuse to hand an asynchronous object to a test that cannot await."""
    name = request.fixturename
    function = request.function
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    if inspect.iscoroutinefunction(inner) or name not in inspect.signature(inner).parameters:
        return
    raise FixtureError(
        f"{request.node.name} is a plain function and asked for the fixture {name!r}, whose "
        f"methods must be awaited. Make it `async def` (with @pytest.mark.asyncio in "
        f"pytest-asyncio's strict mode), or take `db_sync` or `db_sync_engine`, which are "
        f"synchronous."
    )
