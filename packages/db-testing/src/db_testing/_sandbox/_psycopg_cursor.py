"""Cursors of virtual connections: psycopg's own, which wait for their turn at each operation."""

from __future__ import annotations

import contextlib
import functools
import re
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from .._statements import _statements
from .._statements._setting_statements import Many, args_of_many
from ..errors import FixtureError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from ._psycopg import VirtualConnection
    from ._psycopg_wire import PsycopgWire
    from ._transaction import Transaction

C = TypeVar("C", bound=psycopg.Cursor[Any])

_PLACEHOLDER: Final = re.compile(r"%%|%(?:\((?P<name>[^)]+)\))?[sbt]")
EXECUTE: Final = "_execute_gen"
"""The coroutine, so to speak, of psycopg's `Cursor.execute`."""

_PRIVATE: Final = {
    psycopg.Cursor: ("_reset", EXECUTE),
    psycopg.ServerCursor: ("_described",),
}
"""What is used of psycopg that it does not promise to keep."""

for _owner, _names in _PRIVATE.items():
    for _name in _names:
        if not hasattr(_owner, _name):
            raise FixtureError(
                f"psycopg {psycopg.__version__} has no {_owner.__name__}.{_name}, which rollback "
                f"isolation needs. Install an earlier release of psycopg, or a later one of "
                f"db-testing."
            )


def is_query(query: Any) -> bool:
    """Tell whether psycopg takes something for a query: text, what it composes, or a template."""
    composed = hasattr(query, "as_string") or hasattr(query, "interpolations")
    return isinstance(query, str | bytes) or composed


def text_of(query: Any) -> str:
    """Return the text of whatever psycopg takes for a query."""
    if isinstance(query, str):
        return query
    if isinstance(query, bytes):
        return query.decode(errors="replace")
    return psycopg.sql.as_string(query) if hasattr(psycopg.sql, "as_string") else query.as_string()


def numbered(sql: str, params: Any) -> tuple[str, Sequence[Any]]:
    """Return a query and its arguments as the server gets them, with `$1` for the first."""
    if params is None:
        return sql, ()
    text, names = _numbered(sql)
    if isinstance(params, Mapping):
        return text, [params.get(name) for name in names]  # psycopg says which are missing
    return text, list(params)


@functools.lru_cache(maxsize=2048)
def _numbered(sql: str) -> tuple[str, Sequence[str]]:
    """Return a query with numbers for its placeholders, and the names of those that have one."""
    places: dict[str, int] = {}
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        if match[0] == "%%":
            return "%"
        if match["name"] is not None:
            return f"${places.setdefault(match['name'], len(places) + 1)}"
        count += 1
        return f"${count}"

    return _PLACEHOLDER.sub(number, sql), tuple(places)


@functools.cache
def virtual_class(factory: Hashable) -> Any:
    """Return a class of cursors that wait for their turn, made of any class of psycopg's."""
    if not (isinstance(factory, type) and issubclass(factory, psycopg.Cursor)):
        return factory  # whatever it makes, the connection refuses what it does past the sandbox
    mixin = _ServerCursor if issubclass(factory, psycopg.ServerCursor) else _Cursor
    return type(f"Virtual{factory.__name__}", (mixin, factory), {})


class _Cursor(psycopg.Cursor[Any]):
    """A cursor whose rows all come at once."""

    _steered: str | None = None
    """The status of the last statement, if that never reached the server."""

    @property
    def _virtual(self) -> VirtualConnection:
        return self.connection  # type: ignore[return-value]  # cursors of no other have this class

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        sql, args = numbered(text_of(query), params)
        control = _statements.control(sql)
        if control is not None:
            status = self._virtual.steer(control)
            self._reset()
            self._steered = status
            return self
        with self._virtual.operation(sql, args):
            return super().execute(query, params, **options)

    @property
    def statusmessage(self) -> str | None:
        return self._steered or super().statusmessage

    def _reset(self, *args: Any, **options: Any) -> None:
        """Forget the last statement. psycopg does so before each."""
        self._steered = None
        super()._reset(*args, **options)

    def executemany(self, query: Any, params_seq: Iterable[Any], **options: Any) -> None:
        sql = text_of(query)
        rows = args_of_many(sql, params_seq)
        numbers = [numbered(sql, row) for row in rows] if isinstance(rows, Many) else []
        args = Many(each for _, each in numbers)
        with self._virtual.operation(numbers[0][0] if numbers else sql, args):
            super().executemany(query, rows, **options)

    def stream(self, query: Any, params: Any = None, **options: Any) -> Iterator[Any]:
        """Return the rows when all have come: others may use the connection between two of them."""
        with self._virtual.operation(*numbered(text_of(query), params)):
            rows = list(super().stream(query, params, **options))
        yield from rows

    @contextlib.contextmanager
    def copy(self, statement: Any, params: Any = None, **options: Any) -> Iterator[psycopg.Copy]:
        with self._virtual.operation(*numbered(text_of(statement), params)) as wire:
            with super().copy(statement, params, **options) as copy:
                yield copy
            if wire.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # Rows were left unread. That makes this connection useless, and no other.
                while copy.read():
                    pass
                self._virtual.stuck = True


class _ServerCursor(psycopg.ServerCursor[Any]):
    """A cursor with a name, of the transaction that declared it."""

    _declared: Transaction | None = None
    _page: deque[Any] | None = None
    """The rows that an iteration has fetched and not yet returned."""
    _full: bool = False
    """Whether the last page was full, so that another may follow."""

    @property
    def _virtual(self) -> VirtualConnection:
        return self.connection  # type: ignore[return-value]  # cursors of no other have this class

    @property
    def _gone(self) -> bool:
        """Whether its transaction has ended, and it with it."""
        return (
            self._declared is not None
            and not self.withhold
            and (self._declared is not self._virtual.current or not self._declared.open)
        )

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        connection = self._virtual
        if connection.autocommit and connection.current is None and not self.withhold:
            message = "DECLARE CURSOR can only be used in transaction blocks"
            raise psycopg.errors.NoActiveSqlTransaction(message)
        if self._gone:
            self._described = False
        self._page = None
        reads = False if self.withhold else None  # such a one outlives its transaction
        with connection.operation(
            *numbered(text_of(query), params), reads=reads, cursor=True
        ) as wire:
            self._make_room(wire)
            super().execute(query, params, **options)
            self._declared = wire.cursors[self.name] = connection.current
            if self._declared is not None and not self.withhold:
                self._declared.endings |= {("cursor", self.name)}
        return self

    def _make_room(self, wire: PsycopgWire) -> None:
        """Close a cursor of this name whose transaction has ended, which its rows may survive."""
        other = wire.cursors.get(self.name)
        if other is None or other is self._virtual.current:
            return
        if other.open:
            raise self._virtual.sandbox.refuse(
                f"the cursor {self.name!r}",
                f"would have the name of one that is open in {other}, and both are on one "
                f"connection",
            )
        name = psycopg.sql.Identifier(self.name).as_string(None)
        pgconn = wire.pgconn
        found = pgconn.exec_params(b"SELECT FROM pg_cursors WHERE name = $1", [self.name.encode()])
        if found.ntuples:
            pgconn.exec_(f"CLOSE {name}".encode())

    @contextlib.contextmanager
    def _fetching(self) -> Iterator[None]:
        if self._gone:
            message = f'cursor "{self.name}" does not exist'
            raise psycopg.errors.InvalidCursorName(message)
        with self._virtual.operation("FETCH", reads=True, begins=False):
            yield

    def fetchone(self) -> Any:
        with self._fetching():
            return super().fetchone()

    def fetchmany(self, size: int = 0) -> list[Any]:
        with self._fetching():
            return super().fetchmany(size)

    def fetchall(self) -> list[Any]:
        with self._fetching():
            return super().fetchall()

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self._page is None or (not self._page and self._full):
            rows = self.fetchmany(self.itersize)
            self._page, self._full = deque(rows), len(rows) >= self.itersize
        if not self._page:
            raise StopIteration
        return self._page.popleft()

    def scroll(self, value: int, mode: str = "relative") -> None:
        with self._fetching():
            super().scroll(value, mode)

    def close(self) -> None:
        connection = self._virtual
        if self.closed:
            return
        current = connection.current
        declared = self._declared is not None or (self.withhold and self._described)
        idle = current is None and not declared
        if connection.closed or self._gone or idle or (current is not None and current.failed):
            psycopg.Cursor.close(self)
            return
        with connection.operation("CLOSE", reads=True, begins=False) as wire:
            if wire.cursors.get(self.name, current) is current or self.withhold:
                super().close()
            else:
                psycopg.Cursor.close(self)  # the name is another connection's
