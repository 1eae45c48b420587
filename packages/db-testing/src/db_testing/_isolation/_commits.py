"""Commits by engines that db-testing has not made, and the lines that called them.

SQLAlchemy tells a listener on the class of all engines, and from then on asks for listeners at each
step of every engine; so there is none before somebody really connects. What it tells is no proof: a
transaction that has only read is committed too. The proof is the database's.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from .._origin import caller
from ._checkouts import is_virtual

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.pool import ConnectionPoolEntry


class Commits:
    """What engines of this process have committed for real in one database, during a test."""

    def __init__(self, database: str) -> None:
        """Listen to every engine that really connects, until closed."""
        self.seen: list[str] = []
        """The lines that committed."""
        self._database = database
        self._pools: weakref.WeakSet[Pool] = weakref.WeakSet()
        self._listening = False
        event.listen(Pool, "connect", self._connect)

    def _connect(self, connection: object, record: ConnectionPoolEntry) -> None:
        del connection
        if not self._listening and not is_virtual(record.driver_connection):
            self._listening = True
            event.listen(Engine, "commit", self._commit)

    def _commit(self, connection: Connection) -> None:
        engine = connection.engine
        if engine.url.database == self._database and not is_virtual(
            connection.connection.driver_connection
        ):
            self.seen.append(caller())
            self._pools.add(engine.pool)

    def clear(self) -> None:
        """Forget what was seen: it was not the next test's."""
        self.seen.clear()

    def disconnected(self) -> None:
        """Let the engines connect again: the server has ended their connections."""
        for pool in self._pools:
            pool._invalidate_time = time.time()  # noqa: SLF001  # as at a disconnection it notices

    def close(self) -> None:
        """Listen no more."""
        event.remove(Pool, "connect", self._connect)
        if self._listening:
            event.remove(Engine, "commit", self._commit)
