"""Telling who wants to know of each statement that the program sends, whatever the isolation.

While somebody listens, and only then, public methods of the drivers' connections, prepared
statements and cursors are replaced by ones that also tell. So nobody else pays, and connections
that have been open before are heard too. What tells is a connection of ours, virtual or real, not
what lies beneath: the sandbox's own savepoints, and what undoes a test, are not the program's.

A statement that steers a transaction does not count: in the sandbox the server never sees it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from .._origin import caller
from .._statements._statements import control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS: Final = f"{__name__.partition('.')[0]}."

_RUNS: Final = ("execute", "executemany", "fetch", "fetchval", "fetchrow", "fetchmany")
"""The methods of asyncpg's connections that run their first argument, given by place or name."""
_COPIES: Final = {
    "copy_from_table": "COPY {} TO STDOUT",
    "copy_from_query": "COPY ({}) TO STDOUT",
    "copy_to_table": "COPY {} FROM STDIN",
    "copy_records_to_table": "COPY {} FROM STDIN",
}
"""Those that make a statement of it."""


class Sent(NamedTuple):
    """A statement that the program has sent."""

    sql: str
    line: str
    """Of the program: `file:line`."""
    seconds: float
    """From the call to the answer, with the wait for a turn; 0 for a cursor of asyncpg's."""


Listener: TypeAlias = "Callable[[Sent], None]"
Of: TypeAlias = "Callable[[Any, Any], tuple[Any, str]]"
"""Returns the connection and the SQL of a call, given the object and the first argument.

What is no SQL is nothing: the call itself says what is wrong with it."""
Told: TypeAlias = "Callable[[Any, tuple[Any, ...], dict[str, Any]], tuple[Any, str]]"
"""Returns the same, given the object and all arguments."""

_listeners: Final[list[Listener]] = []
_replaced: Final[list[tuple[type, str, Any]]] = []


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call a listener after each statement that the program has sent, perhaps in another thread."""
    if not _listeners:
        _replace_asyncpg()
        if importlib.util.find_spec("psycopg") is not None:
            _replace_psycopg()
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
        while _replaced and not _listeners:
            setattr(*_replaced.pop())


def _replace_asyncpg() -> None:
    import asyncpg
    from asyncpg.prepared_stmt import PreparedStatement

    from .._sandbox._virtual import VirtualConnection
    from .._sandbox._virtual_statement import VirtualStatement

    for connection in (asyncpg.Connection, VirtualConnection):
        for name in _RUNS:
            _replace(connection, name, _coroutine, _first)
        for name, template in _COPIES.items():
            _replace(connection, name, _coroutine, functools.partial(_made, template))
        _replace(connection, "cursor", _function, _first)
    for statement in (PreparedStatement, VirtualStatement):
        for name in _RUNS[1:]:
            if name in vars(statement):
                _replace(statement, name, _coroutine, _prepared)
        _replace(statement, "cursor", _function, _prepared)


def _replace_psycopg() -> None:
    import psycopg

    for name in ("execute", "executemany"):
        _replace(psycopg.Cursor, name, _function, _of_cursor)
    _replace(psycopg.Cursor, "stream", _generator, _of_cursor)
    _replace(psycopg.Cursor, "copy", _context, _of_cursor)
    _replace(psycopg.ServerCursor, "execute", _function, _of_cursor)


def _replace(owner: type, name: str, kind: Callable[[Any, Told], Any], of: Of) -> None:
    method = vars(owner)[name]
    _, first, *_ = inspect.signature(method).parameters

    def told(self: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, str]:
        return of(self, args[0] if args else options.get(first))

    _replaced.append((owner, name, method))
    setattr(owner, name, functools.wraps(method)(kind(method, told)))


# --------------------------------------------------------------------- what the calls run


def _first(connection: Any, query: Any) -> tuple[Any, str]:
    return connection, query if isinstance(query, str) else ""


def _made(template: str, connection: Any, what: Any) -> tuple[Any, str]:
    return connection, template.format(what) if isinstance(what, str) else ""


def _prepared(statement: Any, _: Any) -> tuple[Any, str]:
    return statement._connection, statement._query  # noqa: SLF001  # asyncpg's and ours have both


def _of_cursor(cursor: Any, query: Any) -> tuple[Any, str]:
    from .._sandbox._psycopg_cursor import is_query, text_of

    return cursor.connection, text_of(query) if is_query(query) else ""


# --------------------------------------------------------------------- the methods that tell


def _coroutine(method: Any, told: Told) -> Any:
    async def telling(self: Any, *args: Any, **options: Any) -> Any:
        with _noted(*told(self, args, options)):
            return await method(self, *args, **options)

    return telling


def _function(method: Any, told: Told) -> Any:
    def telling(self: Any, *args: Any, **options: Any) -> Any:
        with _noted(*told(self, args, options)):
            return method(self, *args, **options)

    return telling


def _generator(method: Any, told: Told) -> Any:
    def telling(self: Any, *args: Any, **options: Any) -> Any:
        with _noted(*told(self, args, options)):
            yield from method(self, *args, **options)

    return telling


def _context(method: Any, told: Told) -> Any:
    @contextlib.contextmanager
    def telling(self: Any, *args: Any, **options: Any) -> Any:
        with (
            _noted(*told(self, args, options)),
            method(self, *args, **options) as copy,
        ):
            yield copy

    return telling


@contextlib.contextmanager
def _noted(connection: Any, sql: str) -> Iterator[None]:
    """Tell of what is done in the body of a `with` block, if it is a statement of the program's."""
    line = ""
    if type(connection).__module__.startswith(OURS) and sql.strip(" ;\n") and control(sql) is None:
        line = caller(beneath=_engine_file())
    started = time.perf_counter()
    try:
        yield
    finally:
        if line:  # else it is what an engine asks on its first connection
            sent = Sent(sql, line, time.perf_counter() - started)
            for listener in tuple(_listeners):
                listener(sent)


@functools.cache
def _engine_file() -> str:
    import sqlalchemy.engine.create

    return sqlalchemy.engine.create.__file__
