"""The pools of the engines that lead to a test's database."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from sqlalchemy.pool import Pool

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import ConnectionPoolEntry

OURS: Final = ("sqlalchemy.", f"{__name__.partition('.')[0]}.")


class LoopPool(Pool):
    """A pool without a limit, which keeps idle connections apart by event loop.

    Without a limit nobody waits for a connection that a test has lost, also where the pool of the
    application's engine has one. A connection of asyncpg
    works on the loop that opened it and on no other, and a test may run several: Starlette's
    `TestClient` brings one of its own.
    """

    def __init__(self, creator: Any, **options: Any) -> None:
        super().__init__(creator, **options)
        self._idle: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, list[ConnectionPoolEntry]
        ] = weakref.WeakKeyDictionary()
        self._used = 0
        self._records: weakref.WeakSet[ConnectionPoolEntry] = weakref.WeakSet()
        self.has_grown = False
        """Whether it has opened a connection since this was last set to false."""

    def _create_connection(self) -> ConnectionPoolEntry:
        record = super()._create_connection()
        self._records.add(record)
        self.has_grown = True
        return record

    def _do_get(self) -> ConnectionPoolEntry:
        idle = self._idle.get(asyncio.get_running_loop())
        record = idle.pop() if idle else self._create_connection()
        self._used += 1
        return record

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._used -= 1
        # What the garbage collector returns, on whatever thread, is empty.
        if record.dbapi_connection is not None:
            self._idle.setdefault(asyncio.get_running_loop(), []).append(record)

    def idle(self) -> dict[Any, ConnectionPoolEntry]:
        """Return the running loop's idle connections of the driver."""
        idle = self._idle.get(asyncio.get_running_loop(), [])
        return {record.driver_connection: record for record in idle}

    def held(self) -> set[Any]:
        """Return the connections of the driver that have been given out."""
        idle = {record for records in self._idle.values() for record in records}
        return {record.driver_connection for record in set(self._records) - idle}

    def recreate(self) -> LoopPool:
        """Return an empty pool with the same options and listeners."""
        return LoopPool(
            self._creator,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def dispose(self) -> None:
        """Close the running loop's idle connections; those of others, only they can close."""
        try:
            idle = self._idle.pop(asyncio.get_running_loop(), [])
        except RuntimeError:
            return  # no loop runs here
        for record in idle:
            record.close()

    def status(self) -> str:
        """Say how many connections are idle."""
        return f"Pool of db-testing, {self.checkedin()} idle connections"

    def size(self) -> int:
        """Return how many connections are kept at most; 0, as SQLAlchemy has it, for no limit."""
        return 0

    def overflow(self) -> int:
        """Count the connections beyond that."""
        return self.checkedin() + self.checkedout()

    def checkedin(self) -> int:
        """Count the idle connections, of all loops."""
        return sum(len(records) for records in self._idle.values())

    def checkedout(self) -> int:
        """Count the connections that have been given out."""
        return self._used


def has_listeners_of_its_own(pool: Pool) -> bool:
    """Tell whether something besides SQLAlchemy itself, and us, prepares each new connection."""
    modules = [getattr(listener, "__module__", "") for listener in pool.dispatch.connect]
    return any(
        not module.startswith(OURS) or module.startswith("sqlalchemy.event.")
        for module in modules  # sqlalchemy.event wraps the listeners of others
    )


class Pooled(NamedTuple):
    """Connections of the driver that pools know."""

    idle: dict[Any, ConnectionPoolEntry]
    """Those that lie in a pool for the running loop."""
    held: set[Any]
    """Those that are out of one."""


class Pools:
    """The pools of all engines that lead to one database: each a :class:`LoopPool`."""

    def __init__(self) -> None:
        """Begin without an engine."""
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._put_away: weakref.WeakKeyDictionary[Engine, dict[object, Pool]]
        self._put_away = weakref.WeakKeyDictionary()
        """Pools with connections of another kind than those in use."""

    def add(self, engine: Engine) -> bool:
        """Note an engine; tell whether it was not known."""
        known = engine in self._engines
        self._engines.add(engine)
        return not known

    def _present(self) -> list[LoopPool]:
        return [cast("LoopPool", engine.pool) for engine in self._engines]

    @property
    def in_use(self) -> int:
        """How many connections have been given out."""
        return sum(pool.checkedout() for pool in self._present())

    def connections(self) -> Pooled:
        """Return what is in the pools, without connections that listeners have prepared."""
        idle: dict[Any, ConnectionPoolEntry] = {}
        for pool in self._present():
            if not has_listeners_of_its_own(pool):
                idle |= pool.idle()
        return Pooled(idle, {wire for pool in self._present() for wire in pool.held()})

    def exchange(self, before: object, after: object) -> None:
        """Put the pools with connections of one kind away, and take those of another."""
        for engine in list(self._engines):
            put_away = self._put_away.setdefault(engine, {})
            put_away[before] = engine.pool
            found = after in put_away
            engine.pool = put_away.pop(after) if found else engine.pool.recreate()

    def forget(self) -> None:
        """Empty the pools: virtual connections need no closing, and real ones have been closed."""
        self._put_away.clear()
        for engine in list(self._engines):
            engine.pool = engine.pool.recreate()

    def forget_of_listeners(self) -> None:
        """Empty those whose connections listeners have prepared, such as with SET."""
        for engine in list(self._engines):
            pool = cast("LoopPool", engine.pool)
            grown, pool.has_grown = pool.has_grown, False
            if grown and has_listeners_of_its_own(pool):
                engine.pool = pool.recreate()
