"""The ways of isolating a test that `bench` compares: ours, and what conftests written by hand do.

Each is a function that pytest runs as a test. All do the same with an engine, on one event loop.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from .. import _settings
from .._plugin import _probe, _state
from .._template import _claims, _clones, _naming, _template
from ..errors import DBTestingError
from . import sample_row

if TYPE_CHECKING:
    import asyncio

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from .._plugin._probe import Subject
    from .._server._admin import Admin

NOTHING: Final = "nothing"
TRUNCATE: Final = "TRUNCATE of all tables"
ANEW: Final = "schema built for each test"

_SCHEMAS: Final = """
    SELECT string_agg(quote_ident(nspname), ', ') FROM pg_namespace
    WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'
    """


class BenchError(DBTestingError):
    """Not even a test without isolation passes."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way, as a test; as two, since pytest ends a test only before another."""

    name: str
    tests: tuple[pytest.Function, pytest.Function]
    is_ours: bool

    @property
    def is_quick(self) -> bool:
        """Whether the first test of a turn takes so much more that it must not count."""
        return self.is_ours or self.name == NOTHING


class Body:
    """What each test does: insert a row and read one, in two transactions, or nothing to one."""

    def __init__(
        self, runner: asyncio.Runner, tables: list[str], row: tuple[str, str] | None
    ) -> None:
        self._runner = runner
        self._numbers = itertools.count(3)  # two were tried
        self._insert = row[1] if row is not None else None
        table = row[0] if row is not None else next(iter(tables), None)
        # Without a table there is still a transaction.
        self._otherwise = f"DELETE FROM {table} WHERE false" if table else "SELECT"  # noqa: S608  # quoted
        self._select = f"SELECT * FROM {table} LIMIT 1" if table else "SELECT"  # noqa: S608  # quoted

    def run(self, engine: AsyncEngine, *afterwards: str) -> None:
        """Do it, and what is to be done after it."""
        self._runner.run(self._run(engine, afterwards))

    async def _run(self, engine: AsyncEngine, afterwards: tuple[str, ...]) -> None:
        insert = self._insert or self._otherwise
        arguments = sample_row.arguments(insert, next(self._numbers))
        async with engine.begin() as connection:
            await connection.exec_driver_sql(insert, arguments or None)
        async with engine.connect() as connection:
            (await connection.exec_driver_sql(self._select)).all()
        for statement in afterwards:
            async with engine.begin() as connection:
                await connection.exec_driver_sql(statement)


@contextlib.contextmanager
def made(
    subject: Subject, admin: Admin, runner: asyncio.Runner
) -> Iterator[tuple[list[Strategy], list[str], str | None]]:
    """Make the databases of all strategies; yield these, the tables and the one that is written to.

    Raises:
        SetupError: the schema cannot be applied.
    """
    with contextlib.ExitStack() as stack:
        plain, emptied, anew = (
            stack.enter_context(_database(subject, admin, name))
            for name in ("nothing", "truncate", "anew")
        )
        engines = [create_async_engine(url) for url in (plain, emptied)]
        for engine in engines:
            stack.callback(_dispose, engine, runner)
        tables, row = runner.run(_look(engines[0]))
        body = Body(runner, tables, row)
        rebuild = _Rebuild(subject, anew, runner)
        tests: dict[str, Callable[..., None]] = {NOTHING: lambda: body.run(engines[0])}
        for isolation in get_args(_settings.IsolationName):
            tests[isolation] = _ours(body)
        if tables:
            truncate = f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE"
            tests[TRUNCATE] = lambda: body.run(engines[1], truncate)
        tests[ANEW] = lambda: rebuild.run(body)
        yield (
            [_strategy(subject, name, test) for name, test in tests.items()],
            tables,
            row[0] if row is not None else None,
        )


def _dispose(engine: AsyncEngine, runner: asyncio.Runner) -> None:
    runner.run(engine.dispose())


def _ours(body: Body) -> Callable[..., None]:
    def test(db_engine: AsyncEngine) -> None:
        body.run(db_engine)

    return test


def _strategy(subject: Subject, name: str, test: Callable[..., None]) -> Strategy:
    is_ours = name in get_args(_settings.IsolationName)
    fixtures = ("db_engine",) if is_ours else ()
    first, second = (_probe.test_beside(subject.item, test, *fixtures) for _ in range(2))
    if is_ours:
        for each in (first, second):
            each.add_marker(pytest.mark.db(isolation=name))
    return Strategy(name, (first, second), is_ours)


@contextlib.contextmanager
def _database(subject: Subject, admin: Admin, purpose: str) -> Iterator[URL]:
    """Clone the schema's template; should this process die, the next run drops the clone."""
    print_of = _template.fingerprint(admin, subject.schema)
    name = _naming.worker_database(
        project=subject.settings.project,
        fingerprint=print_of,
        run=subject.settings.run,
        worker=purpose,
    )
    try:
        _clones.clone(admin, subject.schema, print_of, name)
        yield admin.url.set(database=name)
    finally:
        _claims.drop(admin, name)


async def _look(engine: AsyncEngine) -> tuple[list[str], tuple[str, str] | None]:
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        return await sample_row.tables(driver), await sample_row.find(driver)


class _Rebuild:
    """The schema dropped and applied, by an engine of the test's own, as types are others then."""

    def __init__(self, subject: Subject, url: URL, runner: asyncio.Runner) -> None:
        self._subject = subject
        self._url = url
        self._runner = runner

    def run(self, body: Body) -> None:
        self._runner.run(self._drop())
        _template.in_thread(lambda: self._subject.schema.apply(self._url))
        engine = create_async_engine(self._url)
        try:
            body.run(engine)
        finally:
            self._runner.run(engine.dispose())

    async def _drop(self) -> None:
        engine = create_async_engine(self._url)
        async with engine.begin() as connection:
            schemas = (await connection.exec_driver_sql(_SCHEMAS)).scalar_one()
            if schemas:
                await connection.exec_driver_sql(f"DROP SCHEMA {schemas} CASCADE")
            await connection.exec_driver_sql("CREATE SCHEMA public")
        await engine.dispose()


@contextlib.contextmanager
def without_worker(subject: Subject) -> Iterator[None]:
    """Let db-testing do for a test what it does in a run that has no database."""
    run = subject.item.config.stash[_state.RUN]
    worker, run.worker = run.worker, None
    try:
        yield
    finally:
        run.worker = worker
