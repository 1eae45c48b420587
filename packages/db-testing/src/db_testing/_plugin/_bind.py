"""The application's own engines and sessionmakers, led to a test's database while tests run.

They are changed in place, since other modules have imported them: an engine gets another pool, and
a `url` that is looked up when asked for. All that SQLAlchemy builds on an engine follows: sessions,
copies by `execution_options()`, listeners; `dispose()` makes a new pool from the one it finds. The
original pool, which alone knows how to reach the original database, is put aside until the end.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from sqlalchemy import create_engine, event
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import ThreadLocalRegistry

from .. import _settings
from .._isolation._pool import LoopPool
from .._server._admin import Place, connect_options, place_of, url_for
from ..errors import DBTestingError, SchemaError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.pool import Pool

    from .._isolation._isolation import Isolation
    from ..schema import SchemaLike

KINDS: Final = (
    "an AsyncEngine or Engine, an async_sessionmaker or sessionmaker, an async_scoped_session or "
    "scoped_session, or a function without arguments that returns one of these"
)

DRIVERS: Final = {"asyncpg": PGDialect_asyncpg, "psycopg": PGDialect_psycopg}
"""Those of asynchronous and of synchronous engines."""

PATIENCE: Final = 60.0
"""Seconds that a thread waits for the database that another one is making."""

_making: contextvars.ContextVar[bool] = contextvars.ContextVar("db_testing_making", default=False)


class Target:
    """The database that objects are led to: made when one of them connects."""

    def __init__(self, make: Callable[[], Isolation], schema: SchemaLike) -> None:
        """Make nothing yet. The schema says in errors what the database is of."""
        self.name = repr(schema)
        self._schema = schema
        self._make = make
        self._lock = threading.Lock()
        self._isolation: Isolation | None = None

    def leads_where(self, other: Target) -> bool:
        """Tell whether another leads to the same database, perhaps by a schema made anew.

        Raises:
            SetupError: as the schemas' fingerprints.
        """
        return self is other or self._schema.fingerprint() == other._schema.fingerprint()

    def isolation(self) -> Isolation:
        """Return the database's isolation.

        Raises:
            SchemaError: the schema itself is built through a bound engine.
        """
        if _making.get():
            raise SchemaError(
                "the schema's apply() connected by an engine that db_bind leads to the database "
                "which is being made. It must connect to the URL it is given; an Alembic env.py "
                'finds it as config.get_main_option("sqlalchemy.url"), and one that reads the '
                "application's own settings where Schema.from_alembic(..., url_setting=...) says."
            )
        if not self._lock.acquire(timeout=PATIENCE):
            raise DBTestingError(
                f"an engine of db_bind waited {PATIENCE:g} s for the database of {self.name}, "
                f"which another thread is making."
            )
        try:
            if self._isolation is None:
                token = _making.set(True)
                try:
                    self._isolation = self._make()
                finally:
                    _making.reset(token)
            return self._isolation
        finally:
            self._lock.release()


@dataclass(frozen=True, slots=True)
class _Original:
    """What a bound engine had. The engine itself keeps it, so that both can go together."""

    kind: type[Engine]
    pool: Pool
    target: Target

    def restore(self, engine: Engine) -> None:
        engine.__class__ = self.kind
        engine.pool = self.pool


_ORIGINAL: Final = "_db_testing_original"


class Bindings:
    """The objects that lead to a test's database, until :meth:`close`."""

    def __init__(self) -> None:
        """Bind nothing yet, but watch for engines that are made or connect."""
        self._undo = contextlib.ExitStack()
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._makers: dict[int, Target] = {}
        self._places: dict[Place, Target] = {}
        """Where bound engines led: nothing may connect there, and new engines are bound."""
        self._scoped: list[scoped_session[Any]] = []
        self._watch()

    def bind(self, named: object, target: Target) -> None:
        """Lead an object, or what `module:attribute` names, to a database.

        Raises:
            SetupError: it cannot be imported, is of another type or driver, or is bound already.
        """
        name = named if isinstance(named, str) else repr(named)
        value = (
            _settings.load(named, what="the ini key db_bind") if isinstance(named, str) else named
        )
        kinds = (Engine, AsyncEngine, sessionmaker, async_sessionmaker)
        scoped = (scoped_session, async_scoped_session)
        if callable(value) and not isinstance(value, kinds + scoped):
            value = _product(value, name)
        if isinstance(value, scoped):
            # Which session belongs to another scope is known within that alone.
            if _keeps_one_for_each_thread(value):
                self._scoped.append(value)
            value = value.session_factory
        if isinstance(value, Engine | AsyncEngine):
            self._bind_engine(value, target, name)
        elif isinstance(value, sessionmaker | async_sessionmaker):
            self._bind_maker(value, target, name)
        else:
            raise SetupError(f"db_bind: {name} is {value!r}. It must be {KINDS}.")

    def end_sessions(self) -> list[str]:
        """End the session that a thread keeps, as frameworks do after each request.

        It would go on in the next test, with objects and a transaction that are undone. Return
        what could not be ended, and why.
        """
        said = []
        for scoped in self._scoped:
            try:
                scoped.remove()
            except Exception as error:  # noqa: BLE001  # the application's listeners may raise any
                said.append(f"a scoped session: closing it raised {type(error).__name__}: {error}")
                scoped.registry.clear()
        return said

    def close(self) -> None:
        """Give every object back what it had."""
        self._undo.close()
        for engine in self._engines:
            original: _Original = engine.__dict__.pop(_ORIGINAL)
            original.restore(engine)

    # ----------------------------------------------------------------- engines

    def _bind_engine(self, value: Engine | AsyncEngine, target: Target, name: str) -> None:
        engine = value.sync_engine if isinstance(value, AsyncEngine) else value
        while (copied := getattr(engine, "_proxied", None)) is not None:
            engine = copied  # what execution_options() returned has the pool of its origin
        self._redirect(engine, target, name)

    def _redirect(self, engine: Engine, target: Target, name: str) -> None:
        known: _Original | None = engine.__dict__.get(_ORIGINAL)
        if known is not None:
            _check_same(known.target, target, name)
            return
        _check_driver(engine, name)
        place = _place(engine.url)
        if place[2]:
            self._places[place] = target
        self._engines.add(engine)
        engine.__dict__[_ORIGINAL] = _Original(engine.__class__, engine.pool, target)
        engine.__class__ = _led(engine.__class__, target)
        engine.pool = _pool(engine, target)

    def _watch(self) -> None:
        """Bind engines that are made from now on for a bound one's database, and guard that."""

        def engine_created(_: type, engine: Engine) -> None:
            target = self._places.get(_place(engine.url))
            if target is not None:
                self._redirect(engine, target, repr(engine))

        def do_connect(_: Any, __: Any, ___: Any, options: dict[str, Any]) -> None:
            place = place_of(options)
            if place in self._places and "async_creator_fn" not in options:
                raise DBTestingError(
                    f"an engine that is not listed in db_bind was about to connect to {place[2]!r} "
                    f"on {place[0]}, the database of one that is. List it too, or the "
                    f"sessionmaker that uses it."
                )

        for dialect in DRIVERS.values():
            inherited = dialect.__dict__.get("engine_created")
            dialect.engine_created = classmethod(engine_created)  # type: ignore[attr-defined]
            if inherited is None:
                self._undo.callback(delattr, dialect, "engine_created")
            else:
                self._undo.callback(setattr, dialect, "engine_created", inherited)
        event.listen(Engine, "do_connect", do_connect)
        self._undo.callback(event.remove, Engine, "do_connect", do_connect)

    # ----------------------------------------------------------------- sessionmakers

    def _bind_maker(
        self, maker: sessionmaker[Any] | async_sessionmaker[Any], target: Target, name: str
    ) -> None:
        known = self._makers.get(id(maker))
        if known is not None:
            _check_same(known, target, name)
            return
        self._makers[id(maker)] = target
        self._undo.callback(maker.kw.update, dict(maker.kw))
        if maker.kw.get("bind") is None and not maker.kw.get("binds"):
            maker.kw["bind"] = _unbound(maker, name)
        self._bind_engines_of(maker, target, name)
        configure = maker.configure

        def configure_and_bind(**options: Any) -> None:
            configure(**options)
            self._bind_engines_of(maker, target, name)

        # An application that makes its engine at start-up hands it to its sessionmaker then.
        maker.configure = configure_and_bind  # type: ignore[method-assign]
        self._undo.callback(delattr, maker, "configure")

    def _bind_engines_of(
        self, maker: sessionmaker[Any] | async_sessionmaker[Any], target: Target, name: str
    ) -> None:
        binds: Mapping[Any, Any] = maker.kw.get("binds") or {}
        for bind in (maker.kw.get("bind"), *binds.values()):
            if bind is None:
                continue
            if not isinstance(bind, Engine | AsyncEngine):
                raise SetupError(
                    f"db_bind: {name} is bound to {bind!r}, which is no engine. Bind it to an "
                    f"engine, or list another object."
                )
            self._bind_engine(bind, target, f"the engine of {name}")


def _keeps_one_for_each_thread(scoped: Any) -> TypeGuard[scoped_session[Any]]:
    """Tell whether a scoped session is one that `remove()` ends, and for its thread alone."""
    made: Any = getattr(scoped.session_factory, "class_", None)
    synchronous = isinstance(made, type) and issubclass(made, Session)
    return synchronous and isinstance(scoped.registry, ThreadLocalRegistry)


def _product(function: Callable[..., object], name: str) -> object:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise SetupError(f"db_bind: {name} is asynchronous. It must be {KINDS}.")
    try:
        return function()
    except Exception as error:
        # Code of the application, which may raise anything.
        raise SetupError(
            f"db_bind: {name}() raised {type(error).__name__}: {error}. It is called without "
            f"arguments, and must return an engine or a sessionmaker. {_settings.ENVIRONMENT}"
        ) from error


def _check_driver(engine: Engine, name: str) -> None:
    what = f"an engine for {engine.dialect.name}+{engine.dialect.driver}"
    if engine.dialect.name != "postgresql":
        raise SetupError(f"db_bind: {name} is {what}, and db-testing tests on PostgreSQL.")
    family, driver = ("a", "asyncpg") if engine.dialect.is_async else ("", "psycopg")
    if engine.dialect.driver != driver:
        raise SetupError(
            f"db_bind: {name} is {what}. Of {family}synchronous drivers db-testing knows "
            f"{driver}: use postgresql+{driver}:// in tests."
        )


def _unbound(maker: sessionmaker[Any] | async_sessionmaker[Any], name: str) -> Engine | AsyncEngine:
    """Make an engine for a sessionmaker that has none, to be led to the tests' database."""
    if isinstance(maker, async_sessionmaker):
        return create_async_engine("postgresql+asyncpg://")
    try:
        return create_engine("postgresql+psycopg://")
    except ImportError as error:
        raise SetupError(
            f"db_bind: {name} is synchronous, and psycopg 3 cannot be imported ({error}). Install "
            f'it: pip install "db-testing[sync]".'
        ) from error


def _check_same(known: Target, target: Target, name: str) -> None:
    if not known.leads_where(target):
        raise SetupError(
            f"db_bind: {name} leads to the database of {known.name} already, and cannot lead to "
            f"that of {target.name} in the same run. Define the fixture db_bind next to each "
            f"db_schema, with the objects of that application; [] where it has none."
        )


def _pool(engine: Engine, target: Target) -> Pool:
    """Return a pool for a bound engine, with the listeners of the one it has."""
    mine = engine.pool

    def connect() -> Any:
        isolation = target.isolation()
        isolation.serve(engine)
        return engine.dialect.connect(async_creator_fn=isolation.connect)

    def connect_synchronously() -> Any:
        synchronous = target.isolation().synchronous()
        synchronous.serve(engine)
        return synchronous.connect(engine.dialect)

    options: dict[str, Any] = {
        "echo": mine.echo,
        "logging_name": mine._orig_logging_name,  # noqa: SLF001  # as Pool.recreate() has it
        "reset_on_return": mine._reset_on_return,  # noqa: SLF001
        "_dispatch": mine.dispatch,
        "dialect": engine.dialect,
    }
    if engine.dialect.is_async:
        return LoopPool(connect, **options)
    return QueuePool(connect_synchronously, pool_size=0, **options)  # 0: without a limit


def _led(kind: type[Engine], target: Target) -> type[Engine]:
    """Return a class of engines whose URL is that of a database not made yet."""
    url = property(lambda engine: url_for(engine.dialect.driver, target.isolation().url))
    return type(kind.__name__, (kind,), {"url": url, "__module__": kind.__module__})


def _place(url: URL) -> Place:
    return place_of(connect_options(url))
